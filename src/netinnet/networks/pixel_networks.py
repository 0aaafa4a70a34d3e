"""The layers of per-pixel networks that PyTorch's learner computes together on a CPU.

Batch norm, its ReLU and a 1×1 convolution compute little and read much. Together they need no
memory for what is between them (`frameworks/pointwise.c`).
"""

from __future__ import annotations

from collections.abc import Sequence

from netinnet.networks.layers import BatchNorm, Conv, ReLU
from netinnet.networks.network import Network, PlacedLayer

FEWEST_CHANNELS, MOST_CHANNELS = 16, 256
"""Channels are taken up to 16 at a time; of more than that, weights leave a core's own cache."""

ROWS, PARTS = 48, 32
"""Positions that are computed at a time, and parts of them that add up gradients of weights."""

Run = tuple[PlacedLayer, ...]


def pixel_networks(network: Network) -> list[Run]:
    """The runs of layers: batch norm, ReLU, 1×1 convolution, once or more, and a batch norm."""
    placed, found, start = list(network.placed_layers()), list[Run](), 0
    while start < len(placed):
        end = start
        while _is_step(placed[end : end + 4]):
            end += 3
        if end > start:
            found.append(tuple(placed[start : end + 1]))
        start = end + 1
    return found


def _is_step(layers: Sequence[PlacedLayer]) -> bool:
    """Whether these are batch norm, ReLU, 1×1 convolution, batch norm of one block."""
    kinds = [type(placed.layer) for placed in layers]
    if kinds != [BatchNorm, ReLU, Conv, BatchNorm] or len({p.block for p in layers}) > 1:
        return False
    conv = layers[2]
    assert isinstance(conv.layer, Conv)
    channels = (conv.input.channels, conv.output.channels)
    return (
        (conv.layer.is_pointwise and not conv.layer.bias)
        and min(channels) >= FEWEST_CHANNELS
        and max(channels) <= MOST_CHANNELS
    )
