"""PyTorch's adapter. Models are made in `pytorch_model`, trained in `pytorch_learner`."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from netinnet.frameworks.learner import Learner, LearnerSettings, pick_device
from netinnet.frameworks.pytorch_learner import PyTorchLearner
from netinnet.frameworks.pytorch_model import block, build, read
from netinnet.frameworks.pytorch_shards import ShardedLearner
from netinnet.weights import Array

__all__ = ["block", "build", "devices", "learner", "read", "version"]


def version() -> str:
    return str(torch.__version__)


def devices() -> tuple[str, ...]:
    names = ["cpu"]
    if torch.backends.mps.is_available():
        names.insert(0, "mps")
    if torch.cuda.is_available():
        names = [f"cuda:{i}" for i in range(torch.cuda.device_count())] + names
    return tuple(names)


def learner(settings: LearnerSettings, weights: Mapping[str, Array]) -> Learner:
    device = pick_device("PyTorch", settings.device, devices())
    kind = ShardedLearner if settings.shards else PyTorchLearner
    return kind(settings, weights, device)
