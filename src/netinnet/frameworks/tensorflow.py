"""TensorFlow's adapter. Models are made in `tensorflow_model`, trained in `tensorflow_learner`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import cast

# Before the import: TensorFlow's notes would stand between the lines of the progress.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

from netinnet.errors import FrameworkError
from netinnet.frameworks.learner import Learner, LearnerSettings, pick_device
from netinnet.frameworks.tensorflow_learner import TensorFlowLearner
from netinnet.frameworks.tensorflow_model import block, build, read
from netinnet.fresh_process import cores
from netinnet.weights import Array

__all__ = ["block", "build", "devices", "learner", "read", "version"]


def version() -> str:
    return str(tf.__version__)


def devices() -> tuple[str, ...]:
    count = len(tf.config.list_physical_devices("GPU"))
    return (*(f"gpu:{i}" for i in range(count)), "cpu")


def learner(settings: LearnerSettings, weights: Mapping[str, Array]) -> Learner:
    device = pick_device("TensorFlow", settings.device, devices())
    if device != "cpu":
        tf.config.experimental.enable_op_determinism()
    return TensorFlowLearner(settings, weights, device, _set_threads(settings.threads))


def _set_threads(wanted: int | None) -> int:
    """Set the threads of one operation; returns how many it is. Raises FrameworkError."""
    threading = tf.config.threading
    # Left alone, TensorFlow takes this variable's number, else a thread for each usable core.
    setting = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
    usual = (setting.isdigit() and int(setting)) or cores()
    current = threading.get_intra_op_parallelism_threads() or usual
    if wanted in (None, current):
        return current
    try:
        threading.set_intra_op_parallelism_threads(wanted)
    except RuntimeError as error:
        raise FrameworkError(
            f"TensorFlow already runs with {current} threads in this process and cannot change to "
            f"{wanted}: set threads before anything else uses TensorFlow"
        ) from error
    return cast(int, threading.get_intra_op_parallelism_threads())
