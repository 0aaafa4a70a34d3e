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
        choice(
            PRECISIONS,
            "Precision of the weights; if not given, float16 for a page, else float32.",
        ),
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
    """Write a model as a page, as a graph for other programs, or as a model card.

    The kind follows from the file's name: `.html` (one page that shows the model and computes its
    answers itself, for any browser), `.onnx` (a graph from uint8 pictures to probabilities),
    `.tflite` (TensorFlow Lite; needs TensorFlow), `.md` (a model card). Every graph is compared
    with the network before the file is put in its place, and the effect of a smaller precision is
    measured and printed. Of these files, `nin` reads back only a whole `.onnx` in float32.

    Parameters
    ----------
    model
        A run folder or model file. A single argument is FILE, and the model shipped with netinnet
        is exported.
    file
        The file to write.
    plain
        For .onnx: a graph of fixed size and simple operators that takes preprocessed pictures,
        batch×channels×height×width in float32, for OpenCV, TensorRT and the like.
    batch
        Pictures in a batch, with --plain and for .tflite.
    calibrate
        Data set or folder on whose pictures the ranges of int8 and the loss of accuracy are
        measured; the one that the model was trained on if not given.
    pictures
        How many of them, drawn by --seed, measure the ranges.
    seed
        Decides which pictures these are.
    test_pictures
        Number of test pictures for measuring the loss of accuracy; all, but at most 10,000, if not
        given.
    title
        A page's heading; the network's name if not given.
    examples
        Picture files and folders that a page offers to try; of more than 24 pictures, 24 are
        taken, evenly from their folders. Only the pixels are kept.
    data_dir
        Folder with the data set's files.
    licence
        The model's licence, which is written into the file; for instance an SPDX name.
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
        said.append(
            f"checked: logits differ from NumPy's by at most {done.difference:.2g} of the largest"
        )
    if done.loss is not None:
        said.append(str(done.loss))
    return [*said, *done.notes]


def _plain(done: Exported) -> dict[str, Any]:
    return {**vars(done), "loss": done.loss and vars(done.loss)}
