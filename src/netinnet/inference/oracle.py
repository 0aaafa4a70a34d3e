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
from netinnet.networks.layers import Layer, maker
from netinnet.networks.network import Network
from netinnet.networks.windows import Sliding

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


def _windows(x: Array, layer: Sliding, value: float = 0.0) -> Array:
    """n×c×rows×columns×kernel×kernel: what a sliding window sees."""
    x = np.pad(x, ((0, 0), (0, 0), *layer.pads(x.shape[1:])), constant_values=value)
    windows = sliding_window_view(x, (layer.kernel, layer.kernel), axis=(2, 3))
    return windows[:, :, :: layer.stride, :: layer.stride]


def _conv(layer: layers.Conv, own: Tensors, x: Array) -> Array:
    windows = _windows(x, layer)
    (n, _, *rest), weight = windows.shape, own["weight"]
    windows = windows.reshape(n, layer.groups, -1, *rest)
    weight = weight.reshape(layer.groups, -1, *weight.shape[1:])
    y = np.einsum("ngchwij,gocij->ngohw", windows, weight, optimize=True)
    y = y.reshape(n, layer.channels, *rest[:2])
    return y + own["bias"][:, None, None] if layer.bias else y


def _batch_norm(layer: layers.BatchNorm, own: Tensors, x: Array) -> Array:
    weight, bias, mean, variance = (own[name][:, None, None] for name in own)
    return (x - mean) / np.sqrt(variance + layer.epsilon) * weight + bias


def _gelu(layer: layers.GELU, own: Tensors, x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _avg_pool(layer: layers.AvgPool, own: Tensors, x: Array) -> Array:
    return _windows(x, layer).mean((4, 5)) * np.asarray(layer.correction(x.shape[1:]) or 1.0)


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
    layers.MaxPool: lambda o, own, x: _windows(x, o, -np.inf).max((4, 5)),
    layers.AvgPool: _avg_pool,
    layers.GlobalAvgPool: lambda o, own, x: x.mean((2, 3)),
    layers.Dropout: lambda o, own, x: x,
    layers.Flatten: lambda o, own, x: x,
    layers.Linear: _linear,
}
"""What each layer makes of its tensors and its input."""
