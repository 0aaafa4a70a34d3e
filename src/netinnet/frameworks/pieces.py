"""A batch in pieces: gradients added up over a few pictures at a time, where layers between the
convolutions would otherwise wait for memory. This also takes a fraction of the memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from netinnet.networks.layers import BatchNorm, Conv, Linear
from netinnet.networks.network import Network


def piece_size(network: Network, kept: int) -> int | None:
    """Number of pictures that go through at once on a CPU; None: all of them.

    As many (a power of two, which divides common batches) as keep the outputs of convolutions and
    linear layers at about `kept` values. Not where batch norm asks for the whole batch, nor so few
    that adding up gradients would cost more.
    """
    placed = list(network.placed_layers())
    has_work = any(isinstance(p.layer, Conv | Linear) for p in placed)
    if not has_work or any(isinstance(p.layer, BatchNorm) for p in placed):
        return None
    outputs = sum(p.output.size for p in placed if isinstance(p.layer, Conv | Linear))
    weights = sum(p.layer.parameters(p.input) for p in placed)
    fitting = max(kept, 4 * weights) / outputs
    return 1 << max(0, math.floor(math.log2(fitting)))


def pieces(count: int, size: int | None) -> Iterator[slice]:
    """The places of a batch's pieces; the last may be smaller."""
    step = size or max(1, count)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
