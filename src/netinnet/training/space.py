"""The space that a run takes on the disk, and whether it is there before the first step."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from netinnet import files, weights
from netinnet.errors import NetinnetError
from netinnet.frameworks.learner import Learner
from netinnet.training.checkpoint import KEPT

REPORT_BYTES = 2 << 20
"""Of the report, the log and the small files: most of it is pictures in the report."""


def needed(learner: Learner, on_nan: str | None = None) -> int:
    """Bytes that a run takes at most: checkpoints, one more while it is written, and the model."""
    checkpoints = KEPT + 1 + (on_nan == "rollback")
    model = state = 0
    for name, shape in weights.shapes(learner.settings.network).items():
        size = 4 * int(np.prod(shape))
        model += size
        state += size * (1 + bool(learner.averages) + len(learner.state.get(name, ())))
    # The model twice, as model.safetensors and model.onnx, and a new one beside an old one.
    return checkpoints * state + 3 * model + REPORT_BYTES


def check(learner: Learner, folder: Path, on_nan: str | None = None) -> None:
    """Raise NetinnetError where the folder's disk has not the space that a run needs."""
    size, free = needed(learner, on_nan), files.free_bytes(folder)
    if free is not None and free < size:
        raise NetinnetError(
            f"{folder}: {free:,} bytes are free there, and the run needs about {size:,} (two "
            f"checkpoints, a third while it is written, the model and its report); free some space"
        )
