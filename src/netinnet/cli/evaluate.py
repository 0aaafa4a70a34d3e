"""`nin evaluate`: accuracy, loss, recall and confusion of a trained model."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from netinnet.cli.console import WholeNumber, console, print_json, print_table
from netinnet.errors import ModelError

if TYPE_CHECKING:
    from netinnet.data.source import Dataset, Progress
    from netinnet.weights import Model


def evaluate(
    model: Path | None = None,
    /,
    *,
    dataset: str | None = None,
    split: Literal["test", "train"] = "test",
    examples: WholeNumber | None = None,
    data_dir: Path | None = None,
    framework: str | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Measure a trained model on a data set: accuracy, loss, a table by class, the confusion.

    Parameters
    ----------
    model
        A run folder or model file; the model shipped with netinnet if not given.
    dataset
        Data set to measure on, a name (`nin data` lists them) or the path of a folder; the one
        that the model learnt if not given.
    split
        Which pictures.
    examples
        Only the first so many pictures.
    data_dir
        Folder with the data set's files.
    framework
        Compute with this framework (`nin frameworks` lists them) instead of onnxruntime.
    json
        Print JSON.
    """
    from netinnet.cli.progress import show_data_progress
    from netinnet.data.loader import logits_of
    from netinnet.inference import model_files
    from netinnet.inference.predictor import Predictor
    from netinnet.metrics import evaluate as measure

    if examples is not None and examples < 1:
        raise ModelError(f"--examples must be at least 1, got {examples}")
    trained = model_files.find(model)
    names = trained.network.classes
    with show_data_progress(console(stderr=True)) as on_progress:
        data = _data(trained, dataset, data_dir, on_progress)
        data = data.sized(trained.network.input, on_progress, trained.network.preprocessing)
    if names != data.facts.classes:
        raise ModelError(
            f"the model's classes ({', '.join(names)}) are not those of {data.name} "
            f"({', '.join(data.facts.classes)}); choose another --dataset"
        )
    pictures = data.limited(examples, examples).splits[split]
    result = measure(
        logits_of(pictures, Predictor(trained, framework=framework).logits), pictures.labels
    )
    if json:
        print_json(
            {"network": trained.network.name, "dataset": data.name, "split": split}
            | {"count": result.count, "classes": list(names)}
            | result.to_dict()
        )
        return
    print(f"{trained.network.name} on {data.name}, {split}: {result.count:,} pictures")
    low, high = result.accuracy_interval
    print(f"accuracy {result.accuracy:.4f} ({low:.4f} to {high:.4f}: 95 %, Wilson)", end="")
    print(f", loss {result.loss:.4f}")
    recall = ["-" if r is None else f"{r:.3f}" for r in result.recall]
    print_table(
        ("true \\ taken for", *(str(i) for i in range(len(names))), "recall"),
        [
            (f"{i} {name}", *(str(n) if n else "·" for n in result.confusion[i]), recall[i])
            for i, name in enumerate(names)
        ],
        right=tuple(range(1, len(names) + 2)),
    )


def _data(model: Model, name: str | None, data_dir: Path | None, on_progress: Progress) -> Dataset:
    """The data set that is named, or the one that the model learnt, checked to be that one."""
    from netinnet.data import datasets
    from netinnet.data.source import DatasetRecord

    if name is not None:
        return datasets.load(name, data_dir, on_progress)
    try:
        recipe = tomllib.loads(model.notes.get("recipe", ""))
    except ValueError as error:
        raise ModelError(f"the model's recipe is damaged ({error})") from error
    kept = model.notes.get("dataset")
    record = DatasetRecord.from_dict(kept, "the model's data set") if kept else None
    learnt = str(recipe.get("dataset", "fashion-mnist"))
    options = {name: recipe.get(name) for name in datasets.READING}
    return datasets.load(learnt, data_dir, on_progress, record, **options)
