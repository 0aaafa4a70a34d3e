"""JAX's native model: Flax NNX modules. Arrays are n×height×width×channels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from netinnet.errors import FrameworkError
from netinnet.layout import native_tensors, native_weights
from netinnet.networks import network as description
from netinnet.networks.layers import Layer, Shape
from netinnet.networks.network import Network
from netinnet.weights import Array, Weights


class Chain(nnx.Module):
    """Named modules, called one after the other. A dropout draws its mask from `key` if given."""

    def __init__(self, modules: Mapping[str, Any]) -> None:
        self.order = tuple(modules)
        for name, module in modules.items():
            setattr(self, name, module)

    def __call__(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        for i, name in enumerate(self.order):
            module = getattr(self, name)
            if key is not None and isinstance(module, nnx.Dropout):
                x = module(x, rngs=jax.random.fold_in(key, i))
            elif key is not None and isinstance(module, Chain):
                x = module(x, jax.random.fold_in(key, i))
            else:
                x = module(x)
        return x


def build(network: Network, weights: Mapping[str, Array]) -> Chain:
    """The network as Flax NNX modules, named as in the description; input n×H×W×C."""
    model = assemble(network, module)
    native = native_weights(network, "jax", weights)
    for name, variable in variables(model, network).items():
        variable[...] = jnp.asarray(native[name])
    return model


def block(model: Chain, name: str) -> Any:
    return getattr(model, name)


def read(network: Network, model: Chain) -> Weights:
    tensors = native_tensors(network, "jax")
    return {
        name: tensors[name].to_canonical(np.array(variable[...]))
        for name, variable in variables(model, network).items()
    }


def variables(model: Chain, network: Network) -> dict[str, nnx.Variable[Any]]:
    """The model's variables by canonical name."""
    return {
        name: getattr(functools.reduce(getattr, tensor.layer.split("."), model), tensor.name)
        for name, tensor in native_tensors(network, "jax").items()
    }


def assemble(network: Network, make: Callable[[Layer, Shape, nnx.Rngs], Any]) -> Chain:
    """Blocks of layers, each made by `make` from its description and input shape."""
    rngs = nnx.Rngs(params=0, dropout=1)
    blocks: dict[str, Chain] = {}
    placed = iter(network.placed_layers())
    for part in network.blocks:
        layers = {
            name: make(layer, place.input, rngs)
            for (name, layer), place in zip(part.named_layers(), placed, strict=False)
        }
        blocks[part.name] = Chain(layers)
    return Chain(blocks)


def module(layer: Layer, shape: Shape, rngs: nnx.Rngs) -> Any:
    """The native module of one layer whose input is `shape`."""
    match layer:
        case description.Conv(channels, kernel, stride, padding, bias):
            return nnx.Conv(
                shape.channels,
                channels,
                (kernel, kernel),
                stride,
                padding=[(padding, padding)] * 2,
                use_bias=bias,
                kernel_init=_ZEROS,
                rngs=rngs,
            )
        case description.BatchNorm(epsilon, momentum):
            return nnx.BatchNorm(
                shape.channels,
                momentum=1 - momentum,
                epsilon=epsilon,
                use_fast_variance=False,  # the fast one loses digits where the mean is large
                rngs=rngs,
            )
        case description.ReLU():
            return ReLU()
        case description.Sigmoid():
            return Sigmoid()
        case description.MaxPool(kernel, stride, padding):
            return MaxPool(kernel, stride, padding)
        case description.AvgPool(kernel, stride, padding):
            return AvgPool(kernel, stride, padding)
        case description.GlobalAvgPool():
            return GlobalAvgPool()
        case description.Dropout(rate):
            return nnx.Dropout(rate, rngs=rngs)
        case description.Flatten():
            return Flatten()
        case description.Linear(features, bias):
            return nnx.Linear(shape.size, features, use_bias=bias, kernel_init=_ZEROS, rngs=rngs)
    raise FrameworkError(f"JAX: no module for layer {type(layer).__name__}")


_ZEROS = nnx.initializers.zeros
"""Canonical weights follow at once, so nothing is drawn here."""


class ReLU(nnx.Module):
    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu(x)


class Sigmoid(nnx.Module):
    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.sigmoid(x)


class GlobalAvgPool(nnx.Module):
    """n×h×w×c to n×1×1×c."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return x.mean((1, 2), keepdims=True)


class Flatten(nnx.Module):
    """n×h×w×c to n×(h·w·c)."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return x.reshape(x.shape[0], -1)


class MaxPool(nnx.Module):
    """The maximum of shifted slices: their gradient is six times as fast as a window's on a CPU.

    Of equal values the first one gets the gradient, as in the other frameworks; on pictures with an
    even ground that is most windows.
    """

    def __init__(self, kernel: int, stride: int, padding: int) -> None:
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def __call__(self, x: jax.Array) -> jax.Array:
        parts = window_slices(self.padded(x), self.kernel, self.stride)
        return functools.reduce(_first_larger, parts)

    def padded(self, x: jax.Array) -> jax.Array:
        if not self.padding:
            return x
        pad = (self.padding, self.padding)
        return jnp.pad(x, ((0, 0), pad, pad, (0, 0)), constant_values=-jnp.inf)


def _first_larger(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where(b > a, b, a)


class AvgPool(nnx.Module):
    """Mean over a window; padding counts as zeros."""

    def __init__(self, kernel: int, stride: int, padding: int) -> None:
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def __call__(self, x: jax.Array) -> jax.Array:
        window, strides = (self.kernel, self.kernel), (self.stride, self.stride)
        pads = [(self.padding, self.padding)] * 2
        pooled: jax.Array = nnx.avg_pool(x, window, strides, pads)  # type: ignore[no-untyped-call]
        return pooled


def window_slices(x: jax.Array, kernel: int, stride: int) -> list[jax.Array]:
    """For each place in the window, row by row, the pixels under it."""
    n, height, width, channels = x.shape
    rows, columns = ((size - kernel) // stride * stride + 1 for size in (height, width))
    return [
        lax.slice(x, (0, i, j, 0), (n, i + rows, j + columns, channels), (1, stride, stride, 1))
        for i in range(kernel)
        for j in range(kernel)
    ]
