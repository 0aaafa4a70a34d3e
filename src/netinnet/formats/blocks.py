"""The layers of a foreign file in blocks, with names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from netinnet.networks.blocks import Block
from netinnet.networks.layers import (
    AvgPool,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    MaxPool,
)


def in_blocks(layers: Sequence[Layer], residual: Sequence[tuple[int, int]]) -> tuple[Block, ...]:
    """A convolution begins a block, and 1×1 convolutions go on with it.

    `residual` has where each residual block starts and ends.
    """
    ends, count = dict(residual), Counter[str]()
    blocks: list[Block] = []
    stem, open_ = "", list[Layer]()

    def close(residual: bool = False) -> None:
        nonlocal stem, open_
        if open_:
            count[stem] += 1
            number = "" if stem == "head" and count[stem] == 1 else str(count[stem])
            blocks.append(Block(f"{stem}{number}", tuple(open_), residual))
        stem, open_ = "", []

    at = 0
    while at < len(layers):
        if at in ends:
            close()
            stem, open_ = "block", list(layers[at : ends[at]])
            at = ends[at]
            close(residual=True)
            continue
        layer = layers[at]
        begins = _STEMS.get(type(layer), "")
        goes_on = stem == "block" and isinstance(layer, Conv) and layer.kernel == 1
        if begins and not goes_on and stem != "head":
            close()
        stem = stem or begins or "block"
        open_.append(layer)
        at += 1
    close()
    return tuple(blocks)


_STEMS: dict[type[Layer], str] = {
    Conv: "block",
    MaxPool: "pool",
    AvgPool: "pool",
    Dropout: "dropout",
    GlobalAvgPool: "head",
    Flatten: "head",
    Linear: "head",
}
"""What the name of a block begins with, by its first layer."""
