"""JAX's adapter. Models are made in `jax_model`, trained in `jax_learner`."""

from __future__ import annotations

import os
from collections.abc import Mapping

import jax

from netinnet import process_memory
from netinnet.errors import FrameworkError
from netinnet.frameworks.jax_learner import JaxLearner
from netinnet.frameworks.jax_model import block, build, read
from netinnet.frameworks.learner import Learner, LearnerSettings, check_setting, pick_device
from netinnet.fresh_process import cores
from netinnet.weights import Array

__all__ = ["block", "build", "devices", "learner", "read", "version"]


def version() -> str:
    return str(jax.__version__)


def devices() -> tuple[str, ...]:
    names = ["cpu"]
    if jax.default_backend() != "cpu":
        names = [f"{device.platform}:{device.id}" for device in jax.devices()] + names
    return tuple(names)


USUAL = {
    "jax_enable_x64": False,
    "jax_disable_jit": False,
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
}
"""JAX's settings on which a model's last digits, or what dropout draws, depend."""


def learner(settings: LearnerSettings, weights: Mapping[str, Array]) -> Learner:
    for name, wanted in USUAL.items():
        cure = f"jax.config.update({name!r}, {wanted!r})"
        check_setting(name, getattr(jax.config, name), wanted, cure)
    # Both before XLA starts its threads, as it does when it is asked for its devices.
    process_memory.keep_all_freed_memory()
    threads = _use_threads(settings.threads)
    device = pick_device("JAX", settings.device, devices())
    return JaxLearner(settings, weights, device, threads)


_threads: int | None = None


def _use_threads(wanted: int | None) -> int:
    """Number of CPU threads; XLA fixes it when it starts. Raises FrameworkError if too late."""
    global _threads  # noqa: PLW0603
    if _threads is None:
        if wanted:
            os.environ["NPROC"] = str(wanted)
        _threads = int(os.environ.get("NPROC") or cores())
    if wanted and wanted != _threads:
        raise FrameworkError(
            f"JAX has started with {_threads} threads in this process and can't change to {wanted};"
            f" start another process"
        )
    return _threads
