"""What a network computes, in NumPy: forward only, the simplest code there is.

The definition that every other back end is compared with. It is slow, and as exact as the type of
the numbers it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from netinnet.networks import layers
from netinnet.networks.layers import Layer, Shape, maker
from netinnet.networks.network import Network

Array = Any
"""NumPy arrays, n×channels×height×width."""
Tensors = Mapping[str, Array]


def logits(network: Network, weights: Tensors, x: Array) -> Array:
    """Logits n×classes for preprocessed pictures n×channels×height×width, in the type of `x`.

    `weights` are canonical. A map n×1×1 and a vector n are the same here.

    Example:
        logits(net, weights.initial(net, 0), np.zeros((1, *net.input)))
    """
    start = x
    for name, _, layer, shape, output, opens, closes in network.placed_layers():
        own = {t.name: weights[f"{name}.{t.name}"].astype(x.dtype) for t in layer.tensors(shape)}
        operation = maker(OPERATIONS, layer, "the NumPy oracle")
        start = x if opens else start
        x = operation(layer, own, x.reshape(len(x), *shape))
        if closes:
            x = x.reshape(len(x), *output) + start.reshape(len(x), *output)
    return x.reshape(len(x), -1)


def _windows(x: Array, kernel: int, stride: int, pads: Any, value: float = 0.0) -> Array:
    """n×c×rows×columns×kernel×kernel: what a sliding window sees."""
    x = np.pad(x, ((0, 0), (0, 0), *pads), constant_values=value)
    return sliding_window_view(x, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]


def _conv(layer: layers.Conv, own: Tensors, x: Array) -> Array:
    pads = layer.pads(Shape(*x.shape[1:]))
    windows = _windows(x, layer.kernel, layer.stride, pads)
    parts = (np.split(a, layer.groups, axis) for a, axis in ((windows, 1), (own["weight"], 0)))
    y = np.concatenate(
        [np.einsum("nchwij,ocij->nohw", *part, optimize=True) for part in zip(*parts, strict=True)],
        axis=1,
    )
    return y + own["bias"][:, None, None] if layer.bias else y


def _batch_norm(layer: layers.BatchNorm, own: Tensors, x: Array) -> Array:
    weight, bias, mean, variance = (own[name][:, None, None] for name in own)
    return (x - mean) / np.sqrt(variance + layer.epsilon) * weight + bias


def _gelu(layer: layers.GELU, own: Tensors, x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _max_pool(layer: layers.MaxPool, own: Tensors, x: Array) -> Array:
    pads = layer.pads(Shape(*x.shape[1:]))
    return _windows(x, layer.kernel, layer.stride, pads, -np.inf).max((4, 5))


def _avg_pool(layer: layers.AvgPool, own: Tensors, x: Array) -> Array:
    pads = layer.pads(Shape(*x.shape[1:]))
    windows = _windows(x, layer.kernel, layer.stride, pads)
    # Padding counts, what the last windows see beyond it does not.
    beyond = [(0, after - layer.padding) for _, after in pads]
    counting = np.ones((1, 1, *(n + 2 * layer.padding for n in x.shape[2:])))
    counts = _windows(counting, layer.kernel, layer.stride, beyond)
    return windows.sum((4, 5)) / counts.sum((4, 5))


def _linear(layer: layers.Linear, own: Tensors, x: Array) -> Array:
    y = x.reshape(len(x), -1) @ own["weight"].T
    return y + own["bias"] if layer.bias else y


OPERATIONS: dict[type[Layer], Callable[[Any, Tensors, Array], Array]] = {
    layers.Conv: _conv,
    layers.BatchNorm: _batch_norm,
    layers.ReLU: lambda o, own, x: np.maximum(x, 0),
    layers.LeakyReLU: lambda o, own, x: np.maximum(x, o.slope * x),
    layers.GELU: _gelu,
    layers.Sigmoid: lambda o, own, x: 1 / (1 + np.exp(-x)),
    layers.MaxPool: _max_pool,
    layers.AvgPool: _avg_pool,
    layers.GlobalAvgPool: lambda o, own, x: x.mean((2, 3)),
    layers.Dropout: lambda o, own, x: x,
    layers.Flatten: lambda o, own, x: x,
    layers.Linear: _linear,
}
"""What each layer makes of its tensors and its input."""
