"""`nin export`: a model in a form that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from netinnet import units
from netinnet.cli.console import Switch, WholeNumber, choice, console, print_json
from netinnet.export.options import PICTURES, PRECISIONS, Exported, Options


def export(
    model: Path,
    file: Path | None = None,
    /,
    *,
    plain: Switch = False,
    batch: WholeNumber = 1,
    precision: Annotated[
        str | None,
        choice(PRECISIONS, "Of the weights; a page has float16, others float32, if not given."),
    ] = None,
    calibrate: str | None = None,
    pictures: WholeNumber = PICTURES,
    seed: WholeNumber = 0,
    test_pictures: WholeNumber | None = None,
    title: str | None = None,
    examples: Annotated[list[Path] | None, Parameter(negative=(), consume_multiple=True)] = None,
    data_dir: Path | None = None,
    licence: str | None = None,
    force: Switch = False,
    json: Switch = False,
) -> None:
    """Write a model as a page, or in a form that other programs read: a graph, a model card.

    The kind follows from the file's name: `.html` (one page that shows the model and computes its
    answers itself, for any browser), `.onnx` (a graph from uint8 pictures to probabilities),
    `.tflite` (TensorFlow Lite; needs TensorFlow), `.md` (a model card). Every graph is compared
    with the network before it takes its name, and what a smaller precision changes is measured
    and said. An export is not read back, but for a whole `.onnx` in float32.

    Parameters
    ----------
    model
        A run folder or model file. With one argument it is the file, of the model shipped with
        netinnet.
    file
        The file to write.
    plain
        For .onnx: a graph of fixed size and simple operators that takes preprocessed pictures,
        batch×channels×height×width in float32, for OpenCV, TensorRT and the like.
    batch
        Pictures at a time, with --plain and for .tflite.
    calibrate
        Data set or folder whose pictures int8's ranges are measured on, and the loss; what the
        model learnt if not given.
    pictures
        Of them so many, drawn by the seed, for the ranges.
    seed
        Which ones.
    test_pictures
        Test pictures that the loss is measured on; all, 10,000 at most, if not given.
    title
        A page's heading; the network's name if not given.
    examples
        Picture files and folders that a page offers to try, 24 at most; nothing but their pixels
        is kept.
    data_dir
        Folder with the data set's files.
    licence
        The model's licence, to be written into the file; an SPDX name for instance.
    force
        Write over the file.
    json
        Print JSON.
    """
    from netinnet.cli.progress import show_data_progress
    from netinnet.export.writing import export as write

    source, path = (None, model) if file is None else (model, file)
    options = Options(
        plain=plain,
        batch=batch,
        precision=precision,
        calibrate=calibrate,
        pictures=pictures,
        seed=seed,
        test_pictures=test_pictures,
        title=title,
        examples=tuple(examples or ()),
        licence=licence,
        data_dir=data_dir,
        force=force,
    )
    with show_data_progress(console(stderr=True)) as on_progress:
        done = write(source, path, options, on_progress)
    if json:
        print_json(_plain(done))
        return
    for line in lines(done):
        print(line)


def lines(done: Exported) -> list[str]:
    """What was written, in words."""
    text = f"{done.path}: {done.kind}, {done.size:,} bytes"
    if done.float32_size is not None:
        share = units.percent(done.size / done.float32_size)
        text += f", {share} of float32's {done.float32_size:,}"
    said = [text]
    if done.difference is not None:
        said.append(f"checked: logits within {done.difference:.2g} of the largest from NumPy's")
    if done.loss is not None:
        said.append(str(done.loss))
    return [*said, *done.notes]


def _plain(done: Exported) -> dict[str, Any]:
    return {**vars(done), "loss": done.loss and vars(done.loss)}
