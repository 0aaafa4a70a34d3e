"""JAX's native model: Flax NNX modules. Arrays are n×height×width×channels."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from netinnet.frameworks.learner import check_block_names
from netinnet.layout import NativeTensor, native_tensors, native_weights
from netinnet.networks import layers
from netinnet.networks.layers import Layer, Shape, maker
from netinnet.networks.network import Network
from netinnet.networks.ranks import END, turns
from netinnet.weights import Array, Weights

Table = Mapping[type[Layer], Callable[[Any, Shape, nnx.Rngs], Any]]
"""What makes the module of a layer (first argument) whose input is a shape (second)."""


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


class Residual(Chain):
    """Modules whose input is added to their output."""

    def __call__(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        y = super().__call__(x, key)
        return y + x.reshape(y.shape)


def build(network: Network, weights: Mapping[str, Array]) -> Chain:
    """The network as Flax NNX modules, named as in the description; input n×H×W×C."""
    model = assemble(network, MODULES)
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
        name: variable(model, tensor) for name, tensor in native_tensors(network, "jax").items()
    }


def variable(model: Chain, tensor: NativeTensor) -> Any:
    """The variable that holds the tensor."""
    return operator.attrgetter(f"{tensor.layer}.{tensor.name}")(model)


def assemble(network: Network, table: Table) -> Chain:
    """Blocks of layers, each made by the table."""
    check_block_names("JAX", network, functools.partial(hasattr, Chain({})))
    rngs = nnx.Rngs(params=0, dropout=1)
    blocks: dict[str, dict[str, Any]] = {block.name: {} for block in network.blocks}
    turned = turns(network)
    for placed in network.placed_layers():
        modules, name = blocks[placed.block], placed.name.rpartition(".")[2]
        if turn := turned.get(placed.name):
            modules[f"{name}_{turn}"] = Function(_flat if turn == "flat" else _as_map)
        modules[name] = maker(table, placed.layer, "JAX")(placed.layer, placed.input, rngs)
    if END in turned:
        modules["flat"] = Function(_flat)
    kinds = {block.name: Residual if block.residual else Chain for block in network.blocks}
    return Chain({name: kinds[name](modules) for name, modules in blocks.items()})


_ZEROS = nnx.initializers.zeros
"""Canonical weights follow at once, so nothing is drawn here."""


class Function(nnx.Module):
    """A layer without tensors: a function of its input."""

    def __init__(self, function: Callable[[jax.Array], jax.Array]) -> None:
        self.function = function

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.function(x)


def _global_mean(x: jax.Array) -> jax.Array:
    """n×h×w×c to n×1×1×c."""
    return x.mean((1, 2), keepdims=True)


def _as_map(x: jax.Array) -> jax.Array:
    """n×c to n×1×1×c."""
    return x[:, None, None]


def _flat(x: jax.Array) -> jax.Array:
    """n×h×w×c to n×(h·w·c)."""
    return x.reshape(x.shape[0], -1)


class MaxPool(nnx.Module):
    """The maximum of shifted slices: their gradient is six times as fast as a window's on a CPU.

    Of equal values the first one gets the gradient, as in the other frameworks; on pictures with an
    even ground that is most windows.
    """

    def __init__(self, layer: layers.Pool, shape: Shape) -> None:
        self.kernel, self.stride, self.pads = layer.kernel, layer.stride, layer.pads(shape)

    def __call__(self, x: jax.Array) -> jax.Array:
        parts = window_slices(self.padded(x), self.kernel, self.stride)
        return functools.reduce(_first_larger, parts)

    def padded(self, x: jax.Array) -> jax.Array:
        if not any(map(any, self.pads)):
            return x
        return jnp.pad(x, ((0, 0), *self.pads, (0, 0)), constant_values=-jnp.inf)


def _first_larger(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where(b > a, b, a)


class AvgPool(nnx.Module):
    """Mean over a window; padding counts as zeros, what is beyond it not at all."""

    def __init__(self, layer: layers.AvgPool, shape: Shape) -> None:
        self.kernel, self.stride, self.pads = layer.kernel, layer.stride, layer.pads(shape)
        self.correction = layer.correction(shape)

    def __call__(self, x: jax.Array) -> jax.Array:
        window, strides = (self.kernel, self.kernel), (self.stride, self.stride)
        pooled: jax.Array = nnx.avg_pool(  # type: ignore[no-untyped-call]
            x, window, strides, list(self.pads)
        )
        cut = self.correction
        return pooled if cut is None else pooled * jnp.asarray(cut)[..., None]


def window_slices(x: jax.Array, kernel: int, stride: int) -> list[jax.Array]:
    """For each place in the window, row by row, the pixels under it."""
    n, height, width, channels = x.shape
    rows, columns = ((size - kernel) // stride * stride + 1 for size in (height, width))
    return [
        lax.slice(x, (0, i, j, 0), (n, i + rows, j + columns, channels), (1, stride, stride, 1))
        for i in range(kernel)
        for j in range(kernel)
    ]


def _conv(o: layers.Conv, s: Shape, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(
        s.channels,
        o.channels,
        (o.kernel, o.kernel),
        o.stride,
        padding=o.pads(s),
        feature_group_count=o.groups,
        use_bias=o.bias,
        kernel_init=_ZEROS,
        rngs=rngs,
    )


def _batch_norm(o: layers.BatchNorm, s: Shape, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(
        s.channels,
        momentum=1 - o.momentum,
        epsilon=o.epsilon,
        use_fast_variance=False,  # the fast one loses digits where the mean is large
        rngs=rngs,
    )


def _linear(o: layers.Linear, s: Shape, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(s.size, o.features, use_bias=o.bias, kernel_init=_ZEROS, rngs=rngs)


MODULES: Table = {
    layers.Conv: _conv,
    layers.BatchNorm: _batch_norm,
    layers.ReLU: lambda o, s, rngs: Function(nnx.relu),
    layers.LeakyReLU: lambda o, s, rngs: Function(lambda x: nnx.leaky_relu(x, o.slope)),
    layers.GELU: lambda o, s, rngs: Function(nnx.gelu),
    layers.Sigmoid: lambda o, s, rngs: Function(nnx.sigmoid),
    layers.MaxPool: lambda o, s, rngs: MaxPool(o, s),
    layers.AvgPool: lambda o, s, rngs: AvgPool(o, s),
    layers.GlobalAvgPool: lambda o, s, rngs: Function(_global_mean),
    layers.Dropout: lambda o, s, rngs: nnx.Dropout(o.rate, rngs=rngs),
    layers.Flatten: lambda o, s, rngs: Function(_flat),
    layers.Linear: _linear,
}
