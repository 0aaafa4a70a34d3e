"""`nin calibrate`: probabilities that hold, and "none of these", for a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netinnet import units
from netinnet.cli.console import Switch, console, print_json


def calibrate(
    model: Path,
    /,
    *,
    dataset: str | None = None,
    refuse: float = 0.01,
    none_of_these: Path | None = None,
    like: Path | None = None,
    data_dir: Path | None = None,
    framework: str | None = None,
    json: Switch = False,
) -> None:
    """Calibrate a model's probabilities, and let it refuse pictures of other things.

    Training does this at its end where pictures are held out (`nin train --validation 0.1`, or a
    folder with a validation split). This command does it again with other settings, or for a model
    file. It uses validation pictures, never the test split. The result is stored in the model,
    whose weights do not change.

    Parameters
    ----------
    model
        A run folder or a model file that `nin` wrote (.safetensors or .onnx).
    dataset
        Data set, a name or the path of a folder, that training and validation pictures are taken
        from; the one that the model was trained on if not given.
    refuse
        The share of good pictures that may be refused, above 0 and below 1.
    none_of_these
        A folder with pictures of other things. They are used to choose the score, and the share of
        them that is refused is printed.
    like
        Take temperature and threshold from this calibrated run, which was trained the same way but
        with pictures held out. For a model that was trained on all pictures.
    data_dir
        Folder with the data set's files.
    framework
        Compute with this framework (`nin frameworks` lists them) instead of onnxruntime.
    json
        Print JSON.
    """
    from netinnet.cli.progress import show_data_progress
    from netinnet.reports import html
    from netinnet.training.calibrate import calibrate as store

    with show_data_progress(console(stderr=True)) as on_progress:
        found = store(
            model,
            dataset=dataset,
            refuse=refuse,
            none_of_these=none_of_these,
            like=like,
            data_dir=data_dir,
            framework=framework,
            on_progress=on_progress,
            report=html.write,
        )
    values = found.to_dict()
    if json:
        print_json({"model": str(model), **values})
        return
    print(calibration_line(values))
    if more := values["counter_examples"]:
        print(
            f"of {more['pictures']:,} counter-examples {units.percent(more['refused'])} "
            f"are refused (AUROC {more['auroc']:.3f})"
        )


def calibration_line(values: Mapping[str, Any] | None, reason: str = "") -> str:
    """What was found, or why nothing was, in one line."""
    if values is None:
        return f"not calibrated: {reason or 'by an earlier netinnet; nin calibrate does it'}"
    from netinnet.calibration import is_at_limit

    before, after = values["ece"]
    text = f"calibrated on {values['pictures']:,} pictures: temperature {values['temperature']:.3f}"
    if is_at_limit(values["temperature"]):
        text += " (at the limit of the search)"
    text += f", expected calibration error {before:.4f} → {after:.4f}, "
    share = units.percent(values["refuse"])
    if values["threshold"] is None:
        return f"{text}too few for a threshold that refuses {share} of good ones: none is refused"
    return f"{text}none of these below score {values['threshold']:.2f} ({share} of good ones)"
