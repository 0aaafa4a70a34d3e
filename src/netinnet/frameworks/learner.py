"""What every adapter offers: a native model to look at, and a learner that the loop drives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from netinnet.errors import FrameworkError
from netinnet.networks.layers import Shape
from netinnet.networks.network import Network
from netinnet.optimizer import Optimizer
from netinnet.weights import Array, Weights


@dataclass(frozen=True)
class LearnerSettings:
    """Everything fixed about a training, apart from the data."""

    network: Network
    optimizer: Optimizer
    source: Shape
    """Shape of the pictures in a batch; the learner resizes them to the network's input."""
    label_smoothing: float = 0.0
    device: str = "auto"
    threads: int | None = None


class Learner(Protocol):
    """A model in training. Batches are float32 n×height×width×channels, labels int64 n."""

    device: str
    threads: int
    """CPU threads in use; sums depend on their number."""

    def step(
        self, images: Array, labels: npt.NDArray[np.int64], rate: float, step: int, seed: int
    ) -> Array:
        """One optimiser step (numbered from 1); returns the logits n×classes it was made from."""

    def logits(self, images: Array) -> Array:
        """Logits in prediction mode."""

    def weights(self) -> Weights:
        """A copy of the weights under canonical names."""

    def set_weights(self, weights: Mapping[str, Array]) -> None: ...

    def optimizer_state(self) -> dict[str, Array]:
        """The optimiser's arrays in canonical layout: `0/block1.conv1.weight`, …"""

    def set_optimizer_state(self, state: Mapping[str, Array]) -> None: ...


class Adapter(Protocol):
    """A framework's module."""

    def version(self) -> str: ...

    def devices(self) -> tuple[str, ...]:
        """Names of the devices there are, the one that `auto` picks first."""

    def build(self, network: Network, weights: Mapping[str, Array]) -> Any:
        """The framework's own model object with these weights, in its own layout."""

    def block(self, model: Any, name: str) -> Any:
        """One block of a model that `build` made, by its name; it can be used by itself."""

    def read(self, network: Network, model: Any) -> Weights:
        """The canonical weights of a model that `build` made: its inverse."""

    def learner(self, settings: LearnerSettings, weights: Mapping[str, Array]) -> Learner: ...


def pick_device(title: str, wanted: str, devices: tuple[str, ...]) -> str:
    """The device asked for, or the first there is for `auto`. Raises FrameworkError."""
    if wanted == "auto":
        return devices[0]
    for kind in ("cuda", "gpu"):
        if wanted in ("cuda", "gpu") and f"{kind}:0" in devices:
            return f"{kind}:0"
    if wanted not in devices:
        raise FrameworkError(f"{title} has no device '{wanted}' here; it has {', '.join(devices)}")
    return wanted
