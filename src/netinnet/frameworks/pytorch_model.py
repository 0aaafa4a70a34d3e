"""PyTorch's native model: `nn.Sequential`s of `nn.Sequential`s. Arrays are n×C×height×width."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from netinnet.frameworks.learner import check_block_names, check_setting
from netinnet.networks import layers
from netinnet.networks.layers import Layer, Shape, maker
from netinnet.networks.network import Network
from netinnet.networks.ranks import END, turns
from netinnet.weights import Array, Weights, shapes

Table = Mapping[type[Layer], Callable[[Any, Shape], nn.Module]]
"""What makes the module of a layer (first argument) whose input is a shape (second)."""


class Scaled(nn.Module):
    """Each value times a factor of its place."""

    factors: torch.Tensor

    def __init__(self, factors: Any) -> None:
        super().__init__()
        self.register_buffer("factors", torch.tensor(factors), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factors


def _avg_pool(o: layers.AvgPool, s: Shape) -> nn.Module:
    if not o.same:
        return nn.AvgPool2d(o.kernel, o.stride, o.padding, o.ceil)
    return nn.Sequential(nn.AvgPool2d(o.kernel, o.stride), Scaled(o.correction(s)))


def conv(o: layers.Conv, s: Shape, kind: type[nn.Conv2d] = nn.Conv2d) -> nn.Module:
    return kind(s.channels, o.channels, o.kernel, o.stride, o.padding, groups=o.groups, bias=o.bias)


MODULES: Table = {
    layers.Conv: conv,
    layers.BatchNorm: lambda o, s: nn.BatchNorm2d(s.channels, o.epsilon, o.momentum),
    layers.ReLU: lambda o, s: nn.ReLU(),
    layers.LeakyReLU: lambda o, s: nn.LeakyReLU(o.slope),
    layers.GELU: lambda o, s: nn.GELU("tanh"),
    layers.Sigmoid: lambda o, s: nn.Sigmoid(),
    layers.MaxPool: lambda o, s: nn.MaxPool2d(o.kernel, o.stride, o.padding, ceil_mode=o.ceil),
    layers.AvgPool: _avg_pool,
    layers.GlobalAvgPool: lambda o, s: nn.AdaptiveAvgPool2d(1),
    layers.Dropout: lambda o, s: nn.Dropout(o.rate),
    layers.Flatten: lambda o, s: nn.Flatten(),
    layers.Linear: lambda o, s: nn.Linear(s.size, o.features, bias=o.bias),
}


def build(network: Network, weights: Mapping[str, Array]) -> nn.Sequential:
    """The network as nested `nn.Sequential`s, named as in the description; input N×C×H×W."""
    model = assemble(network, MODULES)
    load(model, weights)
    return model


def assemble(network: Network, table: Table) -> nn.Sequential:
    """Blocks of layers, each made by the table.

    Raises FrameworkError where PyTorch would make them of other numbers.
    """
    cure = "torch.set_default_dtype(torch.float32)"
    check_setting("PyTorch's default dtype", torch.get_default_dtype(), torch.float32, cure)
    check_block_names("PyTorch", network, partial(hasattr, nn.Sequential()))
    blocks: dict[str, OrderedDict[str, nn.Module]] = {b.name: OrderedDict() for b in network.blocks}
    turned = turns(network)
    for placed in network.placed_layers():
        modules, name = blocks[placed.block], placed.name.rpartition(".")[2]
        if turn := turned.get(placed.name):
            modules[f"{name}_{turn}"] = _turn(turn, placed.input)
        if getattr(placed.layer, "same", False) and (pad := _pad(placed.layer, placed.input)):
            modules[f"{name}_pad"] = pad
        modules[name] = maker(table, placed.layer, "PyTorch")(placed.layer, placed.input)
    if END in turned:
        modules["flat"] = nn.Flatten()
    kinds = {b.name: Residual if b.residual else nn.Sequential for b in network.blocks}
    return nn.Sequential(OrderedDict((name, kinds[name](b)) for name, b in blocks.items()))


class Residual(nn.Sequential):
    """Layers whose input is added to their output."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return y + x.reshape(y.shape)


def _pad(o: Any, s: Shape) -> nn.Module | None:
    """Padding that differs from side to side, which PyTorch's layers have not."""
    (top, bottom), (left, right) = o.pads(s)
    value = -math.inf if isinstance(o, layers.MaxPool) else 0.0
    sides = (left, right, top, bottom)
    return nn.ConstantPad2d(sides, value) if any(sides) else None


def _turn(turn: str, shape: Shape) -> nn.Module:
    return nn.Flatten() if turn == "flat" else nn.Unflatten(1, tuple(shape))


def block(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name)


def read(network: Network, model: nn.Module) -> Weights:
    state: dict[str, Any] = model.state_dict()
    return {name: state[name].cpu().contiguous().numpy().copy() for name in shapes(network)}


def load(model: nn.Module, weights: Mapping[str, Array]) -> None:
    model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
