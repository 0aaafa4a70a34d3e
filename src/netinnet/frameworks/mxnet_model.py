"""MXNet's native model: Gluon blocks with the NumPy interface. Arrays are n×C×height×width."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import mxnet as mx
from mxnet import gluon, npx
from mxnet.gluon import nn

from netinnet.errors import FrameworkError
from netinnet.layout import native_tensors
from netinnet.networks import layers
from netinnet.networks.layers import Layer, Shape, maker
from netinnet.networks.network import Network
from netinnet.networks.ranks import END, turns
from netinnet.weights import Array, Weights


def build(network: Network, weights: Mapping[str, Array]) -> nn.HybridSequential:
    """The network as nested `HybridSequential`s, named as in the description; input N×C×H×W.

    It lives on MXNet's current context. Its arrays are those of `mxnet.np`, which work only after
    `npx.set_np()`; that is called here, not on import, so that other code is left alone.
    """
    npx.set_np()
    return assemble(network, weights, mx.current_context())


def block(model: nn.HybridSequential, name: str) -> nn.HybridSequential:
    return getattr(model, name)


def read(network: Network, model: nn.HybridSequential) -> Weights:
    return {
        name: parameter.data().asnumpy() for name, parameter in parameters(network, model).items()
    }


@mx.util.use_np  # type: ignore[untyped-decorator]
def assemble(network: Network, weights: Mapping[str, Array], context: Any) -> nn.HybridSequential:
    """The network on a device of MXNet's, with these weights."""
    model = nn.HybridSequential()
    turned = turns(network)
    placed = iter(network.placed_layers())
    for part in network.blocks:
        if hasattr(model, part.name):
            raise FrameworkError(
                f"MXNet: no block can be called '{part.name}', its blocks use that name themselves"
            )
        with model.name_scope():
            block = nn.HybridSequential(prefix=f"{part.name}_")
        with block.name_scope():
            for (name, layer), place in zip(part.named_layers(), placed, strict=False):
                if turn := turned.get(place.name):
                    setattr(block, f"{name}_{turn}", nn.Flatten() if turn == "flat" else AsMap())
                made = maker(MODULES, layer, "MXNet")(layer, place.input, f"{name}_")
                setattr(block, name, made)
        setattr(model, part.name, block)
    if END in turned:
        block.flat = nn.Flatten()
    model.initialize(mx.init.Zero(), ctx=context)
    load(network, model, weights)
    return model


@mx.util.use_np
class AsMap(gluon.HybridBlock):  # type: ignore[misc]
    """n×c to n×c×1×1."""

    def hybrid_forward(self, functions: Any, x: Any) -> Any:
        return functions.np.expand_dims(functions.np.expand_dims(x, 2), 3)


@mx.util.use_np
class GELU(gluon.HybridBlock):  # type: ignore[misc]
    """MXNet's own is by the error function."""

    def hybrid_forward(self, functions: Any, x: Any) -> Any:
        slope, cubic = layers.GELU.slope, layers.GELU.cubic
        return x * functions.npx.sigmoid(x * (slope + cubic * x * x))


@mx.util.use_np
class RoundedUpMax(gluon.HybridBlock):  # type: ignore[misc]
    """Where MXNet rounds up, windows may start beyond the picture: they are cut off."""

    def __init__(self, layer: layers.MaxPool, shape: Shape, prefix: str) -> None:
        super().__init__()
        sizes = (layer.kernel, layer.stride, layer.padding)
        self.pool = nn.MaxPool2D(*sizes, ceil_mode=True, prefix=prefix)
        self.shape = layer.output(shape)

    def hybrid_forward(self, functions: Any, x: Any) -> Any:
        return self.pool(x)[:, :, : self.shape.height, : self.shape.width]


@mx.util.use_np
class RoundedUpMean(gluon.HybridBlock):  # type: ignore[misc]
    """Sums over counts: MXNet's own gradient is wrong where windows are cut."""

    def __init__(self, layer: layers.AvgPool, shape: Shape, prefix: str) -> None:
        super().__init__()
        self.pool = nn.AvgPool2D(layer.kernel, layer.stride, prefix=prefix)
        own = (layer.padding, layer.padding)
        self.own = ((0, 0), (0, 0), own, own)
        beyond = ((0, after - layer.padding) for _, after in layer.pads(shape))
        self.beyond = ((0, 0), (0, 0), *beyond)

    def hybrid_forward(self, functions: Any, x: Any) -> Any:
        pad = functions.np.pad  # with zeros, whatever value it is told
        x = pad(x, self.own)
        counting = functions.np.ones_like(x)
        return self.pool(pad(x, self.beyond)) / self.pool(pad(counting, self.beyond))


MODULES: dict[type[Layer], Callable[[Any, Shape, str], gluon.HybridBlock]] = {
    layers.Conv: lambda o, s, prefix: nn.Conv2D(
        o.channels,
        o.kernel,
        o.stride,
        o.padding,
        groups=o.groups,
        use_bias=o.bias,
        in_channels=s.channels,
        prefix=prefix,
    ),
    layers.BatchNorm: lambda o, s, prefix: nn.BatchNorm(
        momentum=1 - o.momentum, epsilon=o.epsilon, in_channels=s.channels, prefix=prefix
    ),
    layers.ReLU: lambda o, s, prefix: nn.Activation("relu", prefix=prefix),
    layers.LeakyReLU: lambda o, s, prefix: nn.LeakyReLU(o.slope, prefix=prefix),
    layers.GELU: lambda o, s, prefix: GELU(prefix=prefix),
    layers.Sigmoid: lambda o, s, prefix: nn.Activation("sigmoid", prefix=prefix),
    layers.MaxPool: lambda o, s, prefix: (
        RoundedUpMax(o, s, prefix)
        if o.ceil
        else nn.MaxPool2D(o.kernel, o.stride, o.padding, prefix=prefix)
    ),
    layers.AvgPool: lambda o, s, prefix: (
        RoundedUpMean(o, s, prefix)
        if o.ceil
        else nn.AvgPool2D(o.kernel, o.stride, o.padding, prefix=prefix)
    ),
    layers.GlobalAvgPool: lambda o, s, prefix: nn.GlobalAvgPool2D(prefix=prefix),
    layers.Dropout: lambda o, s, prefix: nn.Dropout(o.rate, prefix=prefix),
    layers.Flatten: lambda o, s, prefix: nn.Flatten(prefix=prefix),
    layers.Linear: lambda o, s, prefix: nn.Dense(
        o.features, use_bias=o.bias, in_units=s.size, prefix=prefix
    ),
}
"""What makes each layer (input shape s); `prefix` begins the flat names of its parameters."""


def parameters(network: Network, model: nn.HybridSequential) -> dict[str, gluon.Parameter]:
    """The model's parameters by canonical name."""
    return {
        name: operator.attrgetter(f"{tensor.layer}.{tensor.name}")(model)
        for name, tensor in native_tensors(network, "mxnet").items()
    }


def load(network: Network, model: nn.HybridSequential, weights: Mapping[str, Array]) -> None:
    for name, parameter in parameters(network, model).items():
        parameter.set_data(mx.np.array(weights[name]))
