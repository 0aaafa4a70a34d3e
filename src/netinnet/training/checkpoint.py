"""Checkpoints: the state of a training between two steps, in one file that is whole or absent."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netinnet import weights
from netinnet.errors import ModelError
from netinnet.files import writing
from netinnet.frameworks.learner import Learner

KEPT = 2
"""The newest, and the one before it in case the newest is damaged."""
GOOD = "good.safetensors"
"""The state that a rollback goes back to, between two epochs. Other checkpoints are saved when the
clock says so: what they decided could not be repeated."""


@dataclass
class Progress:
    """How far a training is, beside its weights: plain numbers, saved with every checkpoint."""

    step: int = 0
    """Steps done."""
    seconds: float = 0.0
    """Seconds spent in steps, over all sittings."""
    wall_seconds: float = 0.0
    """Seconds spent altogether, evaluations included, over all sittings."""
    epoch_loss: float = 0.0
    """Sum of the losses in this epoch, one per picture."""
    epoch_correct: int = 0
    epoch_seen: int = 0
    alive: list[bool] = field(default_factory=list)
    """For each class, whether its logit was other than 0 in this epoch."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """The train, validation and test figures of each whole epoch."""
    rollbacks: int = 0
    """How often the learning rate was halved since the numbers were no longer finite."""
    discarded: int = 0
    """Steps that were done and, since a rollback, do not count."""


def save(folder: Path, learner: Learner, progress: Progress, identity: str) -> Path:
    """Write a checkpoint named by its step and remove all but the newest few.

    `identity` says which training it belongs to (`run.identity`).
    """
    path = folder / f"step-{progress.step:08d}.safetensors"
    _write(path, learner, progress, identity)
    _remove(_files(folder)[:-KEPT])
    return path


def save_good(folder: Path, learner: Learner, progress: Progress, identity: str) -> None:
    """Keep the state for a rollback."""
    _write(folder / GOOD, learner, progress, identity)


def restore_good(folder: Path, learner: Learner, identity: str) -> Progress:
    """Load the state that was kept for a rollback into the learner. Raises ModelError."""
    progress, tensors, of = _read(folder / GOOD)
    if of != identity:
        raise ModelError(f"{folder / GOOD}: not of this training; start a new run")
    _put(learner, tensors)
    return progress


def remove_after(folder: Path, step: int) -> None:
    """Remove checkpoints of later steps, the newest first: a kill leaves one to go on from."""
    _remove([path for path in reversed(_files(folder)) if int(path.stem[len("step-") :]) > step])


def restore(folder: Path, learner: Learner, identity: str) -> tuple[Progress, list[str]]:
    """Load the newest checkpoint that is whole into the learner; step 0 where there is none.

    Returns the progress, and a line for each newer one that is damaged. Those are removed: the
    space is for whole ones. Raises ModelError where there are checkpoints but none can be read, or
    where they belong to another recipe or network.
    """
    files, damaged = _files(folder), []
    for path in reversed(files):
        try:
            progress, tensors, of = _read(path)
        except ModelError:
            damaged.append(path)
            continue
        if of != identity:
            raise ModelError(
                f"{path}: made by another recipe, network or version; undo the change to "
                f"recipe.toml, or start a new run"
            )
        _put(learner, tensors)
        _remove(damaged)
        return progress, [f"the checkpoint {other.name} is damaged" for other in damaged]
    if files:
        raise ModelError(f"{folder}: no checkpoint in it can be read; start a new run")
    return Progress(), []


def _write(path: Path, learner: Learner, progress: Progress, identity: str) -> None:
    tensors = {f"weights/{name}": array for name, array in learner.own_weights().items()}
    tensors |= {f"optimizer/{name}": array for name, array in learner.optimizer_state().items()}
    tensors |= {f"averages/{name}": array for name, array in learner.average_weights().items()}
    metadata = {"progress": json.dumps(vars(progress)), "identity": identity}
    weights.save_tensors(path, tensors, metadata)


def _read(path: Path) -> tuple[Progress, dict[str, Any], str | None]:
    """Progress, tensors and identity in a checkpoint. Raises ModelError where it is damaged."""
    tensors, metadata = weights.load_tensors(path)
    try:
        progress = Progress(**json.loads(metadata["progress"]))
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: damaged, no checkpoint ({error})") from error
    return progress, tensors, metadata.get("identity")


def _put(learner: Learner, tensors: dict[str, Any]) -> None:
    learner.set_weights(_part(tensors, "weights/"))
    learner.set_optimizer_state(_part(tensors, "optimizer/"))
    learner.set_averages(_part(tensors, "averages/"))


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.safetensors"))


def _remove(files: list[Path]) -> None:
    for path in files:
        with writing(path):
            path.unlink(missing_ok=True)


def _part(tensors: dict[str, Any], prefix: str) -> dict[str, Any]:
    names = (name for name in tensors if name.startswith(prefix))
    return {name.removeprefix(prefix): tensors[name] for name in names}
