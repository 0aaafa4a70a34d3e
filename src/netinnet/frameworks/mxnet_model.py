"""MXNet's native model: Gluon blocks with the NumPy interface. Arrays are n×C×height×width."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import mxnet as mx
from mxnet import gluon, npx
from mxnet.gluon import nn

from netinnet.errors import FrameworkError
from netinnet.layout import native_tensors
from netinnet.networks import network as description
from netinnet.networks.layers import Layer, Shape
from netinnet.networks.network import Network
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
    placed = iter(network.placed_layers())
    for part in network.blocks:
        if hasattr(model, part.name):
            raise FrameworkError(
                f"MXNet: no block can be called '{part.name}', its blocks use that name themselves"
            )
        with model.name_scope():
            layers = nn.HybridSequential(prefix=f"{part.name}_")
        for (name, layer), place in zip(part.named_layers(), placed, strict=False):
            with layers.name_scope():
                setattr(layers, name, _layer(layer, place.input, f"{name}_"))
        setattr(model, part.name, layers)
    model.initialize(mx.init.Zero(), ctx=context)
    load(network, model, weights)
    return model


def _layer(layer: Layer, shape: Shape, prefix: str) -> gluon.HybridBlock:
    """The native block of one layer whose input is `shape`; `prefix` begins its flat names."""
    match layer:
        case description.Conv(channels, kernel, stride, padding, bias):
            inputs = shape.channels
            return nn.Conv2D(
                channels, kernel, stride, padding, use_bias=bias, in_channels=inputs, prefix=prefix
            )
        case description.BatchNorm(epsilon, momentum):
            channels = shape.channels
            return nn.BatchNorm(
                momentum=1 - momentum, epsilon=epsilon, in_channels=channels, prefix=prefix
            )
        case description.ReLU():
            return nn.Activation("relu", prefix=prefix)
        case description.Sigmoid():
            return nn.Activation("sigmoid", prefix=prefix)
        case description.MaxPool(kernel, stride, padding):
            return nn.MaxPool2D(kernel, stride, padding, prefix=prefix)
        case description.AvgPool(kernel, stride, padding):
            return nn.AvgPool2D(kernel, stride, padding, prefix=prefix)
        case description.GlobalAvgPool():
            return nn.GlobalAvgPool2D(prefix=prefix)
        case description.Dropout(rate):
            return nn.Dropout(rate, prefix=prefix)
        case description.Flatten():
            return nn.Flatten(prefix=prefix)
        case description.Linear(features, bias):
            return nn.Dense(features, use_bias=bias, in_units=shape.size, prefix=prefix)
    raise FrameworkError(f"MXNet: no block for layer {type(layer).__name__}")


def parameters(network: Network, model: nn.HybridSequential) -> dict[str, gluon.Parameter]:
    """The model's parameters by canonical name."""
    return {
        name: operator.attrgetter(f"{tensor.layer}.{tensor.name}")(model)
        for name, tensor in native_tensors(network, "mxnet").items()
    }


def load(network: Network, model: nn.HybridSequential, weights: Mapping[str, Array]) -> None:
    for name, parameter in parameters(network, model).items():
        parameter.set_data(mx.np.array(weights[name]))
