"""Exporting a model: the kind of file follows from its name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from netinnet.data.source import Progress, silent
from netinnet.errors import ModelError, NetinnetError
from netinnet.export.options import Exported, Options
from netinnet.inference import model_files
from netinnet.training.run import Run
from netinnet.weights import Model

GRAPH = ("plain", "batch", "precision")
MEASURED = ("calibrate", "pictures", "seed", "test_pictures", "data_dir")
PAGE = ("title", "examples")
TAKEN = {
    ".onnx": (*GRAPH, *MEASURED),
    ".tflite": ("batch", "precision", *MEASURED),
    ".md": (),
    ".html": (*PAGE, "precision"),
}
"""By its suffix what a file may be asked for, beside `licence` and `force`."""
STUDY_FILE = "study.toml"


def export(
    source: Path | Model | None,
    path: Path,
    options: Options | None = None,
    on_progress: Progress = silent,
) -> Exported:
    """Write another form of a model, by the name of its file.

    `.onnx` is an ONNX graph, `.tflite` a TFLite file, `.md` a model card, `.html` a page. Graphs
    are compared with the NumPy oracle before they take their name.

    Args:
        source: A model, a run folder or a model file; the model shipped with netinnet if None.
        path: The file to write.
        options: How; `Options()` if None.
        on_progress: Called with what happens, and how much of it is done.

    Returns:
        What was written, and what was measured of it.

    Raises:
        ModelError: Where there is no model, the file is there, or the export is not the network.
        NetinnetError: For options that do not go with the kind of file, or are missing.

    Example:
        >>> export(None, Path("small.onnx"), Options(plain=True)).kind
        'ONNX, plain graph of 1, float32'
    """
    options = options or Options()
    file = None if isinstance(source, Model) else source
    _check(file, path, options)
    model = source if isinstance(source, Model) else model_files.find(file)
    options = dataclasses.replace(options, run=options.run or _run_of(file))
    match path.suffix.lower():
        case ".onnx":
            from netinnet.export import onnx_files

            return onnx_files.write(path, model, options, on_progress)
        case ".tflite":
            from netinnet.export import tflite

            return tflite.write(path, model, options, on_progress)
        case ".md":
            from netinnet.export import card

            card.write(path, model, options.run, options.licence)
            return Exported(path, "model card", path.stat().st_size)
    from netinnet.export import page

    return page.export(path, model, options, on_progress)


def _check(source: Path | None, path: Path, options: Options) -> None:
    """Refuse what can't be written, before anything is loaded."""
    suffix = path.suffix.lower()
    if suffix not in TAKEN or path.is_dir():
        raise ModelError(
            f"{path}: its name must end in .onnx (graph), .tflite, "
            f".md (model card) or .html (page); nin convert writes frameworks' own files"
        )
    for field in dataclasses.fields(Options):
        given = getattr(options, field.name) != field.default
        if given and field.name in (*GRAPH, *MEASURED, *PAGE) and field.name not in TAKEN[suffix]:
            flag = field.name.replace("_", "-")
            raise NetinnetError(f"--{flag} is not for {suffix} files; leave it out")
        if given and field.name in MEASURED and options.numbers == "float32":
            flag = field.name.replace("_", "-")
            raise NetinnetError(f"--{flag} goes with --precision float16 or int8")
    if options.batch != 1 and suffix == ".onnx" and not options.plain:
        raise NetinnetError("--batch goes with --plain: the other graph takes any number")
    _check_place(source, path, options.force)


def _check_place(source: Path | None, path: Path, force: bool) -> None:
    folder = path.resolve().parent
    if path.exists() and source is not None and source.exists() and path.samefile(source):
        raise ModelError(f"{path}: the model itself; give the export another name")
    run = Run(folder)
    own = {run.onnx_file.name, run.report_file.name}
    is_run = run.recipe_file.exists() or (folder / STUDY_FILE).exists()
    if is_run and path.resolve().name in own:
        raise ModelError(f"{path}: a run's own file; give the export another name or folder")
    if path.exists() and not force:
        raise ModelError(f"{path} already exists; give another name, or --force to write over it")


def _run_of(source: Path | None) -> Run | None:
    """The finished run that a model is of: its folder, or that of its model.safetensors."""
    if source is None:
        return None
    run = Run(source if source.is_dir() else source.parent)
    is_its = source.is_dir() or source.name == run.model_file.name
    return run if is_its and run.recipe_file.is_file() and run.is_finished else None
