"""Class maps: one map a class, whose mean over all positions is exactly the class's logit."""

from __future__ import annotations

from typing import NamedTuple

from netinnet.networks.layers import Dropout, Flatten, GlobalAvgPool, Linear, Shape
from netinnet.networks.network import Network


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
    # Dropout and Flatten change no value in prediction.
    placed = [p for p in network.placed_layers() if not isinstance(p.layer, Dropout | Flatten)]
    linear = placed.pop().name if placed and type(placed[-1].layer) is Linear else None
    if not placed or type(placed[-1].layer) is not GlobalAvgPool:
        return None
    return ClassMaps(placed[-1].name, linear, placed[-1].input)
