"""NiN-like networks of growing depth, as VGG-11, VGG-16 and VGG-19 are (the book's exercise)."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import cast

from netinnet.errors import NetworkError
from netinnet.networks.blocks import Block, nin_block
from netinnet.networks.checks import class_names, typed
from netinnet.networks.layers import Flatten, GlobalAvgPool, MaxPool, Shape
from netinnet.networks.network import Network

DEPTHS = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""NiN blocks in each stage; as many as VGG of that depth has convolutions."""
WIDTHS = (64, 128, 256, 512, 512)
"""Channels of each stage, VGG's."""


def nin_family(
    depth: int,
    *,
    input: Shape | tuple[int, int, int] = (1, 224, 224),  # noqa: A002 - as in Network
    classes: int | Sequence[str] = 10,
    width: float = 1.0,
    pointwise: int = 2,
    inner: int = 1,
) -> Network:
    """VGG's stages with a NiN block for each convolution, and class maps for its dense layers.

    Batch norm behind every convolution but the last, since a network so deep hardly begins to
    learn without it. Pools round up, so that pictures of 28×28 fit as well.

    Args:
        depth: 11, 16 or 19.
        input: Channels, height and width.
        classes: Their number or their names.
        width: Factor on VGG's channels.
        pointwise: Number of inner convolutions in a block.
        inner: Their window.

    Raises:
        NetworkError: There is no VGG of that depth, or the network can't be.

    Example: `nin_family(16, input=(3, 32, 32), width=0.25)`.
    """
    if depth not in DEPTHS:
        raise NetworkError(f"nin_family: depth must be one of 11, 16 and 19, got {depth!r}")
    pointwise = typed("nin_family: pointwise", pointwise, "int")
    width = typed("nin_family: width", width, "float")
    if not 0 < width < math.inf:
        raise NetworkError(f"nin_family: width must be above 0, got {width:g}")
    found = class_names(classes)
    names = tuple(map(str, range(found))) if isinstance(found, int) else found
    block = functools.partial(
        nin_block, kernel=3, padding=1, pointwise=pointwise, norm=True, bias=False, inner=inner
    )
    blocks: list[Block] = []
    for stage, (count, channels) in enumerate(zip(DEPTHS[depth], WIDTHS, strict=True), start=1):
        widths = [max(1, round(channels * width))] * (1 + pointwise)
        blocks += [block(widths, name=f"block{stage}_{n}") for n in range(1, count + 1)]
        blocks.append(Block(f"pool{stage}", (MaxPool(2, 2, ceil=True),)))
    blocks.append(block([*widths[:-1], len(names)], name="block6", last_relu=False))
    blocks.append(Block("head", (GlobalAvgPool(), Flatten())))
    return Network(f"nin-{depth}", cast("Shape", input), tuple(blocks), names)
