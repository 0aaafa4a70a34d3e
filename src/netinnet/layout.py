"""Where each framework keeps what: tensor names and axis orders, as a table.

Canonical weights (`weights.py`) have PyTorch's names and axes. A framework differs in two ways:
what it calls a tensor, and whether channels come last. With channels last, a convolution's kernel
is (row, column, input, output), and a linear layer behind a Flatten counts its inputs in the order
row, column, channel, as do the vectors of a batch norm there; all are the same reversal of the
canonical (output, channel, row, column).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from netinnet.networks.layers import Flatten, Linear, Shape
from netinnet.networks.network import Network, PlacedLayer
from netinnet.optimizer import TensorRole
from netinnet.weights import Array


@dataclass(frozen=True)
class Layout:
    """A framework's conventions. `names` has those tensor names that differ, by kind of layer."""

    names: Mapping[str, Mapping[str, str]]
    channels_last: bool


_KERNELS = {kind: {"weight": "kernel"} for kind in ("conv", "linear")}
_GAMMA_BETA = {"weight": "gamma", "bias": "beta"}
_MOVING = {"running_mean": "moving_mean", "running_var": "moving_variance"}
_SCALE = {"weight": "scale", "running_mean": "mean", "running_var": "var"}
LAYOUTS: dict[str, Layout] = {
    "pytorch": Layout({}, channels_last=False),
    "tensorflow": Layout({**_KERNELS, "norm": {**_GAMMA_BETA, **_MOVING}}, channels_last=True),
    "jax": Layout({**_KERNELS, "norm": _SCALE}, channels_last=True),
    "mxnet": Layout({"norm": _GAMMA_BETA}, channels_last=False),
}
"""Each framework's conventions."""


@dataclass(frozen=True)
class NativeTensor:
    """One tensor of a network, as a framework keeps it."""

    canonical: str
    """Its canonical name: `block1.conv1.weight`."""
    layer: str
    """Its layer: `block1.conv1`."""
    kind: str
    """The kind of that layer: `conv`, `linear` or `norm`."""
    name: str
    """What the framework calls it within the layer: `kernel`."""
    shape: tuple[int, ...]
    """Its shape in the framework."""
    role: TensorRole | None
    """What the optimiser must know of it; None for running statistics."""
    canonical_shape: tuple[int, ...]
    matrix: tuple[int, int, int, int] | None
    """(output, channel, row, column) where the framework reverses the axes, else None."""

    def to_native(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The canonical array (or one of its shape) as the framework keeps it."""
        if self.matrix is None:
            return array
        reversed_axes = array.reshape(self.matrix).transpose(2, 3, 1, 0)
        return np.ascontiguousarray(reversed_axes).reshape(self.shape)

    def to_canonical(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The inverse of `to_native`."""
        if self.matrix is None:
            return array
        outputs, channels, rows, columns = self.matrix
        straight = array.reshape(rows, columns, channels, outputs).transpose(3, 2, 0, 1)
        return np.ascontiguousarray(straight).reshape(self.canonical_shape)


def native_tensors(network: Network, framework: str) -> dict[str, NativeTensor]:
    """Every tensor of the network in layer order, by canonical name."""
    layout = LAYOUTS[framework]
    result: dict[str, NativeTensor] = {}
    flattened: Shape | None = None
    last = [p.name for p in network.placed_layers() if _is_weighted(p)][-1:]
    for placed in network.placed_layers():
        name, layer = placed.name, placed.layer
        if isinstance(layer, Flatten):
            flattened = flattened or placed.input
        for tensor in layer.tensors(placed.input):
            matrix = tensor.matrix if layout.channels_last else None
            if matrix and isinstance(layer, Linear):
                matrix = (layer.features, *(flattened or placed.input))
            elif layout.channels_last and flattened and tensor.shape == (flattened.size,):
                matrix = (1, *flattened)  # batch norm's vectors behind a Flatten
            is_vector = len(tensor.shape) == 1
            native_shape = (
                _reversed(matrix, len(tensor.shape)) if matrix and not is_vector else tensor.shape
            )
            role = TensorRole(native_shape, len(native_shape) - 1 if matrix else 0, name in last)
            result[f"{name}.{tensor.name}"] = NativeTensor(
                canonical=f"{name}.{tensor.name}",
                layer=name,
                kind=layer.kind,
                name=layout.names.get(layer.kind, {}).get(tensor.name, tensor.name),
                shape=native_shape,
                role=role if tensor.is_trained else None,
                canonical_shape=tensor.shape,
                matrix=matrix,
            )
        if isinstance(layer, Linear):
            flattened = None
    return result


def _is_weighted(placed: PlacedLayer) -> bool:
    """Whether its output is made by a kernel or matrix; the last such layer makes the logits."""
    return any(tensor.matrix for tensor in placed.layer.tensors(placed.input))


def native_weights(
    network: Network, framework: str, weights: Mapping[str, Array]
) -> dict[str, npt.NDArray[Any]]:
    """Canonical weights in the framework's axis orders, still by canonical name."""
    return {
        name: tensor.to_native(weights[name])
        for name, tensor in native_tensors(network, framework).items()
    }


def _reversed(matrix: tuple[int, int, int, int], rank: int) -> tuple[int, ...]:
    outputs, channels, rows, columns = matrix
    if rank == 4:
        return (rows, columns, channels, outputs)
    return (rows * columns * channels, outputs)
