"""MXNet's adapter. Models are made in `mxnet_model`, trained in `mxnet_learner`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from netinnet.fresh_process import cores

# MXNet takes half of the processors on x86, unless this says otherwise when it is imported.
if _tell := sys.platform == "linux" and "OMP_NUM_THREADS" not in os.environ:
    os.environ["OMP_NUM_THREADS"] = str(cores())
import mxnet as mx

if _tell:
    del os.environ["OMP_NUM_THREADS"]

from netinnet.frameworks.learner import Learner, LearnerSettings, pick_device
from netinnet.frameworks.mxnet_learner import MXNetLearner
from netinnet.frameworks.mxnet_model import block, build, read
from netinnet.weights import Array

__all__ = ["block", "build", "devices", "learner", "read", "version"]


def version() -> str:
    return str(mx.__version__)


def devices() -> tuple[str, ...]:
    return (*(f"gpu:{i}" for i in range(mx.context.num_gpus())), "cpu")


def learner(settings: LearnerSettings, weights: Mapping[str, Array]) -> Learner:
    return MXNetLearner(settings, weights, pick_device("MXNet", settings.device, devices()))
