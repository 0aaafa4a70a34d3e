"""Class maps: one map a class, whose mean over all positions is exactly the class's logit."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from netinnet.networks.features import ending_in
from netinnet.networks.layers import Dropout, Flatten, GlobalAvgPool, Layer, Linear, Shape
from netinnet.networks.network import Network, PlacedLayer


class ClassMaps(NamedTuple):
    """Where a network's class maps come from."""

    pool: str
    """The global average pooling: what goes into it are the maps, or the features of `linear`."""
    linear: str | None
    """The linear layer behind the pooling, if there is one: applied at every pixel it makes the
    maps, since the mean of a linear function is the function of the mean."""
    input: Shape
    """What goes into the pooling."""


def of(network: Network) -> ClassMaps | None:
    """The class maps of a network whose logits are made by global average pooling.

    One linear layer may follow the pooling. None for all other networks.
    """
    # Dropout and Flatten change no value in prediction; where a block's input is added, it counts.
    placed = [
        p for p in network.placed_layers() if p.closes or not isinstance(p.layer, Dropout | Flatten)
    ]
    linear = placed.pop().name if placed and _is_plain(placed[-1], Linear) else None
    if not placed or not _is_plain(placed[-1], GlobalAvgPool):
        return None
    return ClassMaps(placed[-1].name, linear, placed[-1].input)


def _is_plain(placed: PlacedLayer, kind: type[Layer]) -> bool:
    return type(placed.layer) is kind and not placed.closes


def features(network: Network, maps: ClassMaps) -> Network:
    """The network without the pooling and the linear layer: its outputs are what is pooled."""
    blocks = []
    for block in network.blocks:
        kept = [layer for name, layer in block.named_layers() if f"{block.name}.{name}" not in maps]
        if kept:
            blocks.append(dataclasses.replace(block, layers=tuple(kept)))
    return ending_in(network, blocks, (Flatten(),), maps.input.size)
