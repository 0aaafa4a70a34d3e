"""What every adapter offers: a native model to look at, and a learner that the loop drives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from netinnet.network import Conv, Linear, Network, Shape
from netinnet.optimizer import Optimizer, TensorRole
from netinnet.weights import Array, Weights, is_trained, shapes


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

    def build(self, network: Network, weights: Mapping[str, Array]) -> Any:
        """The framework's own model object with these weights, in its own layout."""

    def learner(self, settings: LearnerSettings, weights: Mapping[str, Array]) -> Learner: ...


def trained_shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Names and canonical shapes of the tensors that the optimiser changes."""
    return {name: shape for name, shape in shapes(network).items() if is_trained(name)}


def roles(network: Network) -> dict[str, TensorRole]:
    """What the optimiser must know of each trained tensor, in canonical layout."""
    last = [
        placed.name for placed in network.placed_layers() if isinstance(placed.layer, Conv | Linear)
    ][-1]
    return {
        name: TensorRole(shape, is_logits=name.startswith(f"{last}."))
        for name, shape in trained_shapes(network).items()
    }
