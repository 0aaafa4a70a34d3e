"""`nin evaluate`: accuracy, loss, recall and confusion of a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from netinnet.cli.console import WholeNumber, console, print_json, print_table
from netinnet.errors import ModelError


def evaluate(
    model: Path | None = None,
    /,
    *,
    dataset: str = "fashion-mnist",
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
        Data set to measure on; `nin data` lists them.
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
    from netinnet.data import datasets
    from netinnet.inference import model_files
    from netinnet.inference.predictor import Predictor
    from netinnet.metrics import evaluate as measure

    if examples is not None and examples < 1:
        raise ModelError(f"--examples must be at least 1, got {examples}")
    found = model_files.find(model)
    names = found.network.classes
    with show_data_progress(console(stderr=True)) as on_progress:
        data = datasets.load(dataset, data_dir, on_progress=on_progress)
    if names != data.classes:
        raise ModelError(
            f"the model's classes ({', '.join(names)}) are not those of {dataset} "
            f"({', '.join(data.classes)}); choose another --dataset"
        )
    pictures = (data.test if split == "test" else data.train).take(slice(examples))
    result = measure(Predictor(found, framework=framework).logits(pictures.images), pictures.labels)
    if json:
        print_json(
            {"network": found.network.name, "dataset": dataset, "split": split}
            | {"count": result.count, "classes": list(names)}
            | result.to_dict()
        )
        return
    print(f"{found.network.name} on {dataset}, {split}: {result.count:,} pictures")
    print(f"accuracy {result.accuracy:.4f}, loss {result.loss:.4f}")
    recall = ["-" if r is None else f"{r:.3f}" for r in result.recall]
    print_table(
        ("true \\ taken for", *(str(i) for i in range(len(names))), "recall"),
        [
            (f"{i} {name}", *(str(n) if n else "·" for n in result.confusion[i]), recall[i])
            for i, name in enumerate(names)
        ],
        right=tuple(range(1, len(names) + 2)),
    )
