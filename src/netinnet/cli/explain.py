"""`nin explain`: where in these pictures did the model see what it says?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from netinnet import units
from netinnet.cli.console import Switch, json_text, say
from netinnet.cli.pictures import Array, Images, each
from netinnet.errors import NetinnetError


def explain(
    images: Images,
    /,
    *,
    model: Path | None = None,
    classes: Annotated[list[str] | None, Parameter(negative=())] = None,
    output: Path | None = None,
    grid: Switch = False,
    npy: Switch = False,
    json: Switch = False,
    force: Switch = False,
    framework: str | None = None,
) -> None:
    """Show which places of a picture decided a model's answer.

    A class map says how much each place of a picture added to the class's logit or took from it;
    the logit is the map's mean. A folder is written: the maps drawn over the pictures, with their
    peaks and the boxes around these, and a page, index.html.

    Parameters
    ----------
    images
        Picture files (PNG, JPEG, WebP, BMP, GIF or TIFF), folders of them, or - for one on standard
        input.
    model
        A run folder or model file; the model shipped with netinnet if not given. Its logits must
        come from global average pooling, alone or followed by one Linear layer.
    classes
        A class to show; repeat the flag for more. The most probable class of each picture if not
        given.
    output
        The folder to write. If not given: `explained`, or with --json no folder.
    grid
        Also write a contact sheet, sheet.png.
    npy
        Also write the maps of all classes, as NumPy arrays classes × rows × columns.
    json
        Print JSON Lines: one object for each picture, with its maps as numbers or its error.
    force
        Write over files that are already in the folder.
    framework
        Compute with this framework (`nin frameworks` lists them) instead of onnxruntime.
    """
    from netinnet.inference import explanation, model_files
    from netinnet.inference.predictor import Predictor
    from netinnet.reports.explained import Folder

    if json and output is None and (grid or npy or force):
        raise NetinnetError("--grid, --npy and --force need --output")
    predictor = Predictor(model_files.find(model), framework=framework)
    explanation.check(predictor, classes or ())
    path = Path("explained") if output is None else output
    folder = None
    if output is not None or not json:
        folder = Folder(path, predictor.network, force=force, raw=npy, grid=grid)

    def ask(name: str, picture: Array) -> tuple[explanation.Explanation, list[Path]]:
        result = explanation.explain(predictor, picture, classes or ())
        return result, folder.add(name, result) if folder else []

    failed = False
    _, answers = each(images, ask, path if folder else None)
    for name, answer, error in answers:
        if answer is None:
            failed = True
            if folder:
                folder.failed.append(error)
            if json:
                print(json_text({"file": name, "error": error}))
            continue
        result, files = answer
        if json:
            row = {"file": name, **result.to_dict(), "overlays": [str(file) for file in files]}
            print(json_text(row))
            continue
        if result.refusal:
            say(f"{name}: {result.refusal}; what it would be:")
        for shown, file in zip(result.classes, files, strict=True):
            (x, y), box = shown.peak, ", ".join(map(str, shown.box))
            say(f"{name}: {shown.name} {units.percent(shown.probability)}, logit", end=" ")
            say(f"{shown.logit:.3f}, peak {x:.1f}, {y:.1f}, box {box}: {file}")
    page = folder.close() if folder else None
    if page and not json:
        say(f"page: {page}")
    if failed:
        raise SystemExit(2)
