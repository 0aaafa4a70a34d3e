"""Calibrating a trained model on the pictures that its training held out, and storing it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from netinnet import calibration, weights
from netinnet.calibration import Calibration
from netinnet.data.source import Dataset, Pictures, Progress, Source, silent
from netinnet.errors import ModelError, NetinnetError
from netinnet.files import write_text
from netinnet.inference import calibrating, model_files, onnx_graph
from netinnet.inference.predictor import Predictor
from netinnet.training import learnt
from netinnet.training.recipe import Recipe
from netinnet.training.run import Run
from netinnet.training.splits import splits
from netinnet.weights import Model

NOTHING_HELD_OUT = "no pictures were held out from training: validation = 0.1 holds out a tenth"


def after_training(
    model: Model, recipe: Recipe, data: Dataset, threads: int | None
) -> tuple[Calibration | None, dict[str, Any]]:
    """The calibration of a model that was just trained, and what its run's metrics say of that.

    A run that can't be calibrated is one that says why.
    """
    train, validation = learnt.held_out(recipe, data)
    if validation is None:
        return None, {"calibration": None, "not_calibrated": NOTHING_HELD_OUT}
    try:
        framework = recipe.framework if onnx_graph.too_large(model.network) else None
        found = calibrating.calibrate(Predictor(model, threads, framework), train, validation)
    except Exception as error:  # noqa: BLE001 - nothing that is derived ends hours of training
        reason = str(error) if isinstance(error, NetinnetError) else repr(error)
        return None, {"calibration": None, "not_calibrated": reason}
    return found.calibration, {"calibration": found.to_dict()}


def calibrate(
    path: Path,
    *,
    dataset: str | Dataset | None = None,
    refuse: float = calibration.REFUSE,
    none_of_these: Path | None = None,
    like: Path | None = None,
    data_dir: Path | None = None,
    framework: str | None = None,
    on_progress: Progress = silent,
    report: Callable[[Path, Source, Source], object] | None = None,
) -> calibrating.Calibrated:
    """Calibrate the model at `path` and store that in it: see `netinnet.calibrate`.

    Its weights stay as they are. A run gets it in model.safetensors, metrics.json and model.onnx,
    and `report` is called with it, the pictures that judge and those trained on.
    """
    calibration.check_share(refuse)
    if like is not None and none_of_these is not None:
        raise ModelError(
            "--like takes the threshold of another model: leave out --none-of-these here, and "
            "give it when that model is calibrated"
        )
    if like is not None and refuse != calibration.REFUSE:
        raise ModelError("--like takes the threshold of another model: leave out --refuse")
    model = model_files.find(path)
    promised = None if like is None else _promises(model, model_files.find(like), path, like)
    predictor = Predictor(model, framework=framework)
    shape = model.network.input
    examples: Sequence[Pictures] = ()
    if none_of_these is not None:
        examples = calibrating.read_counter_examples(none_of_these, shape.channels, on_progress)
    if isinstance(dataset, Dataset):
        data = dataset
    else:
        data = learnt.load(model, dataset, data_dir, on_progress)
    learnt.check_classes(model, data)
    data = data.sized(shape, on_progress, model.network.preprocessing)
    if dataset is None:
        train, validation = learnt.held_out(learnt.recipe_of(model), data)
    else:
        train, validation = data.train, data.validation
    if promised is not None:
        own = calibrating.distances(predictor, train)
        found = calibrating.Calibrated(
            dataclasses.replace(promised, means=own[0], whitening=own[1])
        )
    elif validation is None:
        raise ModelError(
            f"{path}: {NOTHING_HELD_OUT}; or name a --dataset with a validation split, or with "
            f"--like the run of the same recipe that held some out"
        )
    else:
        found = calibrating.calibrate(predictor, train, validation, refuse, examples)
    _store(path, dataclasses.replace(model, calibration=found.calibration), found)
    run = Run(path)
    if report is not None and run.is_finished and dataset is None:
        recipe = run.recipe()
        train, evaluated = splits(recipe, data)
        report(path, evaluated[recipe.judged], train)
    return found


def _promises(model: Model, other: Model, path: Path, like: Path) -> Calibration:
    """The calibration of a model that was trained as this one was, on less. Raises ModelError."""
    kept = dataclasses.asdict(Recipe())
    free = ("validation", "evaluate", "threads", "device", "checkpoint_seconds")
    same = [
        {k: v for k, v in {**kept, **learnt.recipe_values(m)}.items() if k not in free}
        for m in (model, other)
    ]
    if other.calibration is None:
        raise ModelError(f"{like}: not calibrated itself; nin calibrate does that")
    if model.network != other.network or same[0] != same[1]:
        raise ModelError(
            f"{like}: not trained as {path} was: its network and recipe must be the same but for "
            f"validation"
        )
    return other.calibration


def _store(path: Path, model: Model, found: calibrating.Calibrated) -> None:
    run = Run(path)
    if not path.is_dir():
        write = onnx_graph.write if path.suffix == ".onnx" else weights.save
        write(path, model)
        return
    weights.save(run.model_file, model)
    if run.is_finished:
        metrics = {**run.metrics(), "calibration": found.to_dict()}
        metrics.pop("not_calibrated", None)
        write_text(run.metrics_file, json.dumps(metrics, indent=1) + "\n")
    if run.onnx_file.is_file():
        onnx_graph.write(run.onnx_file, model)
