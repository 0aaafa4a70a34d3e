"""`nin evaluate`: accuracy, loss, recall and confusion of a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from netinnet import units
from netinnet.cli.console import WholeNumber, console, print_json, print_table, say
from netinnet.errors import ModelError

if TYPE_CHECKING:
    from netinnet.metrics import Evaluation


def evaluate(
    model: Path | None = None,
    /,
    *,
    dataset: str | None = None,
    split: Literal["test", "validation", "train"] = "test",
    examples: WholeNumber | None = None,
    data_dir: Path | None = None,
    framework: str | None = None,
    views: WholeNumber = 1,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Measure a trained model on a data set: accuracy, loss, recall by class, confusion matrix.

    Parameters
    ----------
    model
        A run folder or model file; the model shipped with netinnet if not given.
    dataset
        Data set to measure on, a name (`nin data` lists them) or the path of a folder; the one that
        the model was trained on if not given.
    split
        Which pictures; validation: those that the model's recipe held out from training, or the
        named data set's own.
    examples
        Use only this many pictures, from the first on.
    data_dir
        Folder with the data set's files.
    framework
        Compute with this framework (`nin frameworks` lists them) instead of onnxruntime.
    views
        2: also measure with the logits of each picture and of its mirror image averaged, which
        takes twice as long; it is reported apart, beside the usual figures.
    json
        Print JSON.
    """
    from netinnet import calibration
    from netinnet.cli.progress import show_data_progress
    from netinnet.data.loader import logits_of
    from netinnet.data.source import first
    from netinnet.inference import calibrating, model_files
    from netinnet.inference.predictor import Predictor
    from netinnet.inference.views import averaged
    from netinnet.metrics import evaluate as measure
    from netinnet.training import learnt

    if examples is not None and examples < 1:
        raise ModelError(f"--examples must be at least 1, got {examples}")
    trained = model_files.find(model)
    if views not in (1, 2):
        raise ModelError(f"--views must be 1 or 2 (each picture and its mirror image), got {views}")
    names = trained.network.classes
    with show_data_progress(console(stderr=True)) as on_progress:
        data = learnt.load(trained, dataset, data_dir, on_progress)
        data = data.sized(trained.network.input, on_progress, trained.network.preprocessing)
    learnt.check_classes(trained, data)
    pictures = learnt.split_of(trained, data, split, is_own=dataset is None)
    pictures = first(pictures, examples)
    predictor, labels = Predictor(trained, framework=framework), pictures.labels
    calibrated: dict[str, Any] = {}
    if (kept := trained.calibration) is not None:
        logits, features = calibrating.evidence(predictor, pictures)
        bins = (calibration.reliability(logits, labels, t) for t in (1.0, kept.temperature))
        refused = float(kept.refuses(kept.scores(logits, features)).mean())
        calibrated = {"ece": [calibration.calibration_error(b) for b in bins], "refused": refused}
    else:
        logits = logits_of(pictures, predictor.logits)
    result = measure(logits, labels)
    both = None
    if views == 2:
        both = measure(averaged(logits, predictor, pictures), labels)
    if json:
        print_json(
            {"network": trained.network.name, "dataset": data.name, "split": split}
            | {"count": result.count, "classes": list(names)}
            | result.to_dict()
            | ({"calibration": calibrated} if calibrated else {})
            | ({"two_views": _of_views(both)} if both else {})
        )
        return
    say(f"{trained.network.name} on {data.name}, {split}: {result.count:,} pictures")
    low, high = result.accuracy_interval
    print(f"accuracy {result.accuracy:.4f} ({low:.4f} to {high:.4f}: 95 %, Wilson)", end="")
    print(f", loss {result.loss:.4f}")
    if both is not None:
        low, high = both.accuracy_interval
        print(
            f"of two views (each picture and its mirror image, logits averaged): accuracy "
            f"{both.accuracy:.4f} ({low:.4f} to {high:.4f}), loss {both.loss:.4f}"
        )
    if calibrated:
        print(
            f"expected calibration error {calibrated['ece'][1]:.4f} "
            f"({calibrated['ece'][0]:.4f} before scaling), "
            f"refused as none of these {units.percent(calibrated['refused'], 2)}"
        )
    recall = ["-" if r is None else f"{r:.3f}" for r in result.recall]
    print_table(
        ("true \\ taken for", *(str(i) for i in range(len(names))), "recall"),
        [
            (f"{i} {name}", *(str(n) if n else "·" for n in result.confusion[i]), recall[i])
            for i, name in enumerate(names)
        ],
        right=tuple(range(1, len(names) + 2)),
    )


def _of_views(both: Evaluation) -> dict[str, Any]:
    """The figures of each picture and its mirror image together, for JSON."""
    figures = both.to_dict()
    return {name: figures[name] for name in ("accuracy", "accuracy_interval", "loss")}
