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


def save(folder: Path, learner: Learner, progress: Progress, identity: str) -> Path:
    """Write a checkpoint named by its step and remove all but the newest few.

    `identity` says which training it belongs to (`run.identity`).
    """
    path = folder / f"step-{progress.step:08d}.safetensors"
    tensors = {f"weights/{name}": array for name, array in learner.weights().items()}
    tensors |= {f"optimizer/{name}": array for name, array in learner.optimizer_state().items()}
    metadata = {"progress": json.dumps(vars(progress)), "identity": identity}
    weights.save_tensors(path, tensors, metadata)
    for old in _files(folder)[:-KEPT]:
        with writing(old):
            old.unlink(missing_ok=True)
    return path


def restore(folder: Path, learner: Learner, identity: str) -> tuple[Progress, list[str]]:
    """Load the newest checkpoint that is whole into the learner; step 0 where there is none.

    Returns the progress, and a line for each newer one that is damaged. Those are removed: the
    space is for whole ones. Raises ModelError where there are checkpoints but none can be read, or
    where they belong to another recipe or network.
    """
    files, damaged = _files(folder), []
    for path in reversed(files):
        try:
            tensors, metadata = weights.load_tensors(path)
            progress = Progress(**json.loads(metadata["progress"]))
        except (ModelError, KeyError, ValueError, TypeError):
            damaged.append(path)
            continue
        if metadata.get("identity") != identity:
            raise ModelError(
                f"{path}: made by another recipe, network or version; undo the change to "
                f"recipe.toml, or start a new run"
            )
        learner.set_weights(_part(tensors, "weights/"))
        learner.set_optimizer_state(_part(tensors, "optimizer/"))
        for other in damaged:
            with writing(other):
                other.unlink()
        return progress, [f"the checkpoint {other.name} is damaged" for other in damaged]
    if files:
        raise ModelError(f"{folder}: no checkpoint in it can be read; start a new run")
    return Progress(), []


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.safetensors"))


def _part(tensors: dict[str, Any], prefix: str) -> dict[str, Any]:
    names = (name for name in tensors if name.startswith(prefix))
    return {name.removeprefix(prefix): tensors[name] for name in names}
