"""PyTorch's native model: `nn.Sequential`s of `nn.Sequential`s. Arrays are n×C×height×width."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from netinnet.errors import FrameworkError
from netinnet.networks import network as description
from netinnet.networks.layers import Layer, Shape
from netinnet.networks.network import Network
from netinnet.weights import Array, Weights, shapes


def build(network: Network, weights: Mapping[str, Array]) -> nn.Sequential:
    """The network as nested `nn.Sequential`s, named as in the description; input N×C×H×W."""
    model = assemble(network, module)
    load(model, weights)
    return model


def assemble(network: Network, make: Callable[[Layer, Shape], nn.Module]) -> nn.Sequential:
    """Blocks of layers, each made by `make` from its description and input shape."""
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    placed = iter(network.placed_layers())
    for part in network.blocks:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for (name, layer), place in zip(part.named_layers(), placed, strict=False):
            layers[name] = make(layer, place.input)
        blocks[part.name] = nn.Sequential(layers)
    return nn.Sequential(blocks)


def block(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name)


def read(network: Network, model: nn.Module) -> Weights:
    state: dict[str, Any] = model.state_dict()
    return {name: state[name].cpu().contiguous().numpy().copy() for name in shapes(network)}


def module(layer: Layer, shape: Shape) -> nn.Module:
    """The native module of one layer whose input is `shape`."""
    match layer:
        case description.Conv(channels, kernel, stride, padding, bias):
            return nn.Conv2d(shape.channels, channels, kernel, stride, padding, bias=bias)
        case description.BatchNorm(epsilon, momentum):
            return nn.BatchNorm2d(shape.channels, epsilon, momentum)
        case description.ReLU():
            return nn.ReLU()
        case description.Sigmoid():
            return nn.Sigmoid()
        case description.MaxPool(kernel, stride, padding):
            return nn.MaxPool2d(kernel, stride, padding)
        case description.AvgPool(kernel, stride, padding):
            return nn.AvgPool2d(kernel, stride, padding)
        case description.GlobalAvgPool():
            return nn.AdaptiveAvgPool2d(1)
        case description.Dropout(rate):
            return nn.Dropout(rate)
        case description.Flatten():
            return nn.Flatten()
        case description.Linear(features, bias):
            return nn.Linear(shape.size, features, bias=bias)
    raise FrameworkError(f"PyTorch: no module for layer {type(layer).__name__}")


def load(model: nn.Module, weights: Mapping[str, Array]) -> None:
    model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
