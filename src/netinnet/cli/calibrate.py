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
    """Make a model's probabilities hold, and let it refuse pictures of other things.

    A run that holds pictures out (`nin train --validation 0.1`, or a folder with a validation
    split) is calibrated at its end. This does it again, otherwise, or for a model file: on its
    validation pictures, never on the test split. What is found is stored in the model: its
    weights stay as they are.

    Parameters
    ----------
    model
        A run folder or a model file that `nin` wrote (.safetensors or .onnx).
    dataset
        Take training and validation pictures from this data set, a name or the path of a folder;
        those of the model's own training if not given.
    refuse
        The share of good pictures that may be refused, from above 0 to below 1.
    none_of_these
        A folder with pictures of other things: they choose the score, and it is said how many of
        them are refused.
    like
        Take temperature and threshold from this calibrated run: trained the same way, but with
        pictures held out. For a model that learnt all pictures.
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
    before, after = values["ece"]
    text = f"calibrated on {values['pictures']:,} pictures: temperature {values['temperature']:.3f}"
    text += f", expected calibration error {before:.4f} → {after:.4f}, "
    share = units.percent(values["refuse"])
    if values["threshold"] is None:
        return f"{text}too few to refuse at most {share} of good ones: none is refused"
    return f"{text}none of these below {values['threshold']:.2f} ({share} of good ones)"
