"""Features: what a network makes of a picture in front of its last layer with weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from netinnet.networks.blocks import Block
from netinnet.networks.layers import Conv, Dropout, Flatten, GlobalAvgPool, Layer, Linear, Shape
from netinnet.networks.network import Network

LARGEST = 1024
"""Features; a covariance of more is larger than most models."""


class Features(NamedTuple):
    """Where a network's features come from: they are the means of the maps at a layer's input."""

    layer: str
    """The last convolution or linear layer, or the Flatten or Dropout in front of it."""
    input: Shape

    @property
    def size(self) -> int:
        return self.input.channels

    @property
    def is_map(self) -> bool:
        """Whether there is something to take means of."""
        return self.input.height * self.input.width > 1


def of(network: Network) -> Features | None:
    """The features of a network.

    None where they are too many, or in front of the first layer, or within a residual block.
    """
    placed = list(network.placed_layers())
    last = max((i for i, p in enumerate(placed) if isinstance(p.layer, Conv | Linear)), default=0)
    while last and isinstance(placed[last - 1].layer, Flatten | Dropout):
        last -= 1
    found = Features(placed[last].name, placed[last].input)
    is_residual = {block.name: block.residual for block in network.blocks}
    inside = is_residual[placed[last].block] and not placed[last].opens
    return None if inside or not last or found.size > LARGEST else found


def cut(network: Network, features: Features) -> Network:
    """The network whose outputs are its features."""
    blocks = []
    for block in network.blocks:
        names = [f"{block.name}.{name}" for name, _ in block.named_layers()]
        is_last = features.layer in names
        kept = block.layers[: names.index(features.layer)] if is_last else block.layers
        if kept:
            blocks.append(dataclasses.replace(block, layers=kept))
        if is_last:
            break
    pool = (GlobalAvgPool(),) if features.is_map else ()
    return ending_in(network, blocks, (*pool, Flatten()), features.size)


def ending_in(
    network: Network, blocks: Sequence[Block], layers: tuple[Layer, ...], outputs: int
) -> Network:
    """The network of these blocks of it, with a last one of layers without weights behind them."""
    name = "end"
    while any(block.name == name for block in blocks):
        name += "_"
    classes = tuple(map(str, range(outputs)))
    ended = (*blocks, Block(name, layers))
    return dataclasses.replace(network, blocks=ended, classes=classes)
