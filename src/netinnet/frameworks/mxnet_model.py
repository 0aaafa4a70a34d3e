"""MXNet's native model: Gluon blocks with the NumPy interface. Arrays are n×C×height×width."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import mxnet as mx
from mxnet import gluon, npx
from mxnet.gluon import nn

from netinnet.frameworks.learner import check_block_names
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
    check_block_names("MXNet", network, partial(hasattr, model))
    for part in network.blocks:
        with model.name_scope():
            kind = Residual if part.residual else nn.HybridSequential
            block = kind(prefix=f"{part.name}_")
        with block.name_scope():
            for (name, layer), place in zip(part.named_layers(), placed, strict=False):
                if turn := turned.get(place.name):
                    made = nn.Flatten() if turn == "flat" else Function(_as_map)
                    setattr(block, f"{name}_{turn}", made)
                if getattr(layer, "same", False) and (pad := _pad(layer, place.input)):
                    setattr(block, f"{name}_pad", pad)
                made = maker(MODULES, layer, "MXNet")(layer, place.input, f"{name}_")
                setattr(block, name, made)
        setattr(model, part.name, block)
    if END in turned:
        block.flat = nn.Flatten()
    model.initialize(mx.init.Zero(), ctx=context)
    for name, parameter in parameters(network, model).items():
        parameter.set_data(mx.np.array(weights[name]))
    return model


@mx.util.use_np
class Residual(nn.HybridSequential):  # type: ignore[misc]
    """Layers whose input is added to their output."""

    def hybrid_forward(self, functions: Any, x: Any) -> Any:
        y = super().hybrid_forward(functions, x)
        return y + functions.npx.reshape_like(x, y)


@mx.util.use_np
class Function(gluon.HybridBlock):  # type: ignore[misc]
    """A function of MXNet's operators (arrays' or symbols') and the input."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.function = function

    def hybrid_forward(self, functions: Any, x: Any) -> Any:
        return self.function(functions, x)


def _as_map(functions: Any, x: Any) -> Any:
    """n×c to n×c×1×1."""
    return functions.np.expand_dims(functions.np.expand_dims(x, 2), 3)


def _gelu(functions: Any, x: Any) -> Any:
    """MXNet's own is by the error function."""
    return x * functions.npx.sigmoid(x * (layers.GELU.slope + layers.GELU.cubic * x * x))


def _pad(o: Any, s: Shape) -> Function | None:
    """Padding that differs from side to side, which MXNet's layers have not."""
    pads = ((0, 0), (0, 0), *o.pads(s))
    if isinstance(o, layers.AvgPool) or not any(map(any, pads)):
        return None

    def zeros(functions: Any, x: Any) -> Any:
        return functions.np.pad(x, pads)

    def lowest(functions: Any, x: Any) -> Any:
        # MXNet pads with nothing but zeros, whatever it is asked for.
        outside = functions.np.pad(functions.np.ones_like(x), pads) - 1
        return functions.np.pad(x, pads) + _HUGE * outside

    return Function(lowest if isinstance(o, layers.MaxPool) else zeros)


_HUGE = 3e38
"""Nearly the largest float32."""


def _cut(o: layers.Pool, s: Shape) -> Function:
    """A pool that rounds sizes up, or a mean without the padding."""
    (_, height, width), own = o.output(s), (o.padding, o.padding)
    sizes = {"kernel": (o.kernel, o.kernel), "stride": (o.stride, o.stride)}
    around = ((0, 0), (0, 0), own, own)
    beyond = ((0, 0), (0, 0), *((a - o.padding, b - o.padding) for a, b in o.pads(s)))

    def largest(functions: Any, x: Any) -> Any:
        y = functions.npx.pooling(x, pool_type="max", pooling_convention="full", pad=own, **sizes)
        return y[:, :, :height, :width]  # without windows that start beyond the picture

    def mean(functions: Any, x: Any) -> Any:
        # Sums over counts: MXNet's own gradient is wrong where windows are cut.
        x = functions.np.pad(x, around)
        sums, counts = (
            functions.npx.pooling(functions.np.pad(part, beyond), pool_type="avg", **sizes)
            for part in (x, functions.np.ones_like(x))
        )
        return sums / counts

    return Function(largest if isinstance(o, layers.MaxPool) else mean)


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
    layers.GELU: lambda o, s, prefix: Function(_gelu),
    layers.Sigmoid: lambda o, s, prefix: nn.Activation("sigmoid", prefix=prefix),
    layers.MaxPool: lambda o, s, prefix: (
        _cut(o, s) if o.ceil else nn.MaxPool2D(o.kernel, o.stride, o.padding, prefix=prefix)
    ),
    layers.AvgPool: lambda o, s, prefix: (
        _cut(o, s)
        if o.ceil or o.same
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
