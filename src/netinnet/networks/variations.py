"""Variations of a network: what ablations, tuning and flags change, as rewrites of any blocks.

A NiN, to these functions, ends in a NiN block with a channel for each class and a head behind it;
a NiN block is one that `nin_block` makes. Whoever wrote the network, the same variation means the
same: the zoo's networks, registered ones and those of a file have no options of their own.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from netinnet.errors import NetworkError, check_name
from netinnet.networks.blocks import Block, nin_block
from netinnet.networks.checks import typed
from netinnet.networks.layers import (
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    MaxPool,
    ReLU,
)

Blocks = tuple[Block, ...]

_COUNT = re.compile(r"[0-9]{1,9}")

HEADS = ("gap", "dense", "dense-dropout")
"""Global average pooling; or a fully connected layer in its place, without and with dropout (.5) in
front of it, as the paper compares them (section 4.5)."""


@dataclass(frozen=True)
class Variations:
    """What is to be another way than a network has it; None leaves it as it is."""

    logits_relu: bool | None = None
    """Whether a ReLU (behind batch norm, in a block that has it) follows the last convolution."""
    dropout: float | None = None
    """Rate of the dropout; 0 removes it. A NiN without any gets one behind every max pool."""
    pointwise: int | None = None
    """Number of 1×1 convolutions in each block; a given `narrowing` decides for the last one."""
    inner: int | None = None
    """Window of each block's convolutions behind the first, in place of 1×1: an odd number."""
    narrowing: str | None = None
    """Channels of the last block before the one for each class, written like 128-32."""
    head: str | None = None
    """One of `HEADS`."""
    width: float | None = None
    """Factor on the hidden channels and features; a last block's as many as classes stay."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if (value := getattr(self, field.name)) is not None:
                kind = str(field.type).removesuffix(" | None")
                object.__setattr__(self, field.name, typed(field.name, value, kind))
        if self.head is not None:
            check_name("head", self.head, HEADS, NetworkError)
        if self.pointwise is not None and self.pointwise < 0:
            raise NetworkError(f"pointwise must be at least 0, got {self.pointwise}")
        if self.inner is not None and (self.inner < 1 or self.inner % 2 == 0):
            raise NetworkError(f"inner must be odd, so that sizes stay, got {self.inner}")
        if self.width is not None and not (math.isfinite(self.width) and self.width > 0):
            raise NetworkError(f"width must be above 0, got {self.width:g}")

    def apply(self, name: str, blocks: Blocks, classes: int) -> Blocks:
        """The blocks of network `name`, varied. Raises NetworkError for what it can't have."""
        nin = is_nin(blocks, classes)
        place = _has(Dropout, blocks[:-1] if nin else blocks) or (nin and _has(MaxPool, blocks))
        for option in ("logits_relu", "dropout", "pointwise", "inner", "narrowing", "head"):
            can = place or (nin and not self.dropout) if option == "dropout" else nin
            if getattr(self, option) is not None and not can:
                raise NetworkError(f"{name} has no option {option}: leave it out")
        if self.width is not None:
            blocks = with_width(blocks, classes, self.width)
        if self.logits_relu is not None:
            blocks = _with_last(blocks, last_relu=self.logits_relu)
        if self.narrowing is not None:
            before = channel_counts(self.narrowing)
            blocks = _with_last(blocks, channels=(*before, classes), pointwise=len(before))
        if self.pointwise is not None:
            end = len(blocks) if self.narrowing is None else -2
            blocks = with_pointwise(blocks[:end], self.pointwise) + blocks[end:]
        if self.inner is not None:
            blocks = with_inner(blocks, self.inner)
        if self.dropout is not None:
            blocks = with_dropout(blocks, classes, self.dropout)
        if self.head is not None:
            blocks = (*blocks[:-1], Block(blocks[-1].name, head(self.head, classes)))
        return blocks


def nin_arguments(block: Block) -> dict[str, Any] | None:
    """The arguments with which `nin_block` makes this block; None where none do."""
    convs = [layer for layer in block.layers if isinstance(layer, Conv)]
    inner = convs[-1].kernel if len(convs) > 1 else 1
    if not convs or inner % 2 == 0:
        return None
    # A lone convolution without a bias is one that batch norm stood behind, or would.
    norm = _has(BatchNorm, (block,)) or (len(block.layers) == 1 and not convs[0].bias)
    first = convs[0]
    arguments: dict[str, Any] = {
        "channels": tuple(conv.channels for conv in convs),
        **{"kernel": first.kernel, "stride": first.stride, "padding": first.padding},
        **{"pointwise": len(convs) - 1, "name": block.name, "norm": norm, "bias": first.bias},
        **{"inner": inner, "residual": block.residual, "same": first.same},
        "last_relu": isinstance(block.layers[-1], ReLU),
        "last_norm": isinstance(block.layers[-1], BatchNorm),
        "groups": first.groups,
    }
    return arguments if nin_block(**arguments) == block else None


def is_nin(blocks: Sequence[Block], classes: int) -> bool:
    """Whether the network ends in a NiN block with a channel for each class, and a head."""
    if len(blocks) < 2:
        return False
    heads = [(GlobalAvgPool(),), *(head(kind, classes) for kind in HEADS)]
    last = nin_arguments(blocks[-2])
    return blocks[-1].layers in heads and last is not None and last["channels"][-1] == classes


def head(kind: str, classes: int) -> tuple[Layer, ...]:
    """From the class maps to the logits: their means, or a fully connected layer over them."""
    if kind == "gap":
        return (GlobalAvgPool(), Flatten())
    dropout = (Dropout(0.5),) if kind == "dense-dropout" else ()
    return (Flatten(), *dropout, Linear(classes))


def with_width(blocks: Blocks, classes: int, factor: float) -> Blocks:
    """Hidden channels and features times `factor`, rounded, at least 1; the outputs stay.

    In a NiN's last block, hidden channels as many as classes stay too: they are class maps. A
    depthwise convolution stays one: its groups are the channels that it gets. Other groups become
    fewer where they would not divide them.
    """
    ends = blocks[-2:] if is_nin(blocks, classes) else ()
    left = sum(isinstance(layer, Conv | Linear) for block in blocks for layer in block.layers)
    changed = []
    before, now = 0, 0  # channels in front of a layer, as they were and as they are
    for block in blocks:
        layers: list[Layer] = []
        for layer in block.layers:
            if isinstance(layer, Conv | Linear):
                left -= 1
                field = "channels" if isinstance(layer, Conv) else "features"
                count = own = getattr(layer, field)
                groups = getattr(layer, "groups", 1)
                is_depthwise = groups > 1 and groups == before
                new = {}
                if groups > 1:
                    groups = now if is_depthwise else math.gcd(groups, now)
                    new = {"groups": groups}
                if left and not (block in ends and own == classes):
                    # The groups divide the channels.
                    by_factor = groups * max(1, round(own * factor / groups))
                    count = now * (own // before) if is_depthwise else by_factor
                layers.append(dataclasses.replace(layer, **{field: count, **new}))
                before, now = own, count
            else:
                layers.append(layer)
        changed.append(dataclasses.replace(block, layers=tuple(layers)))
    return tuple(changed)


def with_pointwise(blocks: Blocks, count: int) -> Blocks:
    """`count` 1×1 convolutions in every NiN block, whose outputs stay as they are.

    Convolutions in the middle are left out, or the last of them repeated. Without any, the
    convolution itself makes the block's output.
    """

    def changed(block: Block) -> Block:
        arguments = nin_arguments(block)
        if arguments is None:
            return block
        channels = arguments["channels"]
        middle = channels[1:-1] + (channels[-2:-1] or channels) * count
        kept = (channels[0], *middle[: count - 1], channels[-1]) if count else channels[-1:]
        return nin_block(**{**arguments, "channels": kept, "pointwise": len(kept) - 1})

    return tuple(map(changed, blocks))


def with_inner(blocks: Blocks, window: int) -> Blocks:
    """Windows of that size in every NiN block's convolutions behind the first, usually 1×1."""
    arguments = map(nin_arguments, blocks)
    return tuple(
        nin_block(**{**given, "inner": window}) if given else block
        for given, block in zip(arguments, blocks, strict=True)
    )


def with_dropout(blocks: Blocks, classes: int, rate: float) -> Blocks:
    """Dropout of that rate where the network has it; a NiN without any gets it behind max pools.

    A rate of 0 removes it. What a NiN's head has is the head's own.
    """
    new = (Dropout(rate),) if rate else ()
    body, end = (blocks[:-1], blocks[-1:]) if is_nin(blocks, classes) else (blocks, ())
    changed: list[Block] = []
    if _has(Dropout, body):
        for block in body:
            parts = ((*new,) if isinstance(x, Dropout) else (x,) for x in block.layers)
            layers = tuple(layer for part in parts for layer in part)
            changed.append(dataclasses.replace(block, layers=layers))
    else:
        number = 0
        for block in body:
            changed.append(block)
            if isinstance(block.layers[-1], MaxPool):
                number += 1
                changed.append(Block(f"dropout{number}", new))
    return (*(block for block in changed if block.layers), *end)


def channel_counts(narrowing: str) -> tuple[int, ...]:
    """(128, 32) for "128-32". Raises NetworkError for another text."""
    parts = narrowing.split("-")
    # Of very many digits Python makes no number.
    if not all(_COUNT.fullmatch(part) and int(part) > 0 for part in parts):
        raise NetworkError(
            f"narrowing must be channel counts joined by hyphens, as in 128-32, got '{narrowing}'; "
            f"a count has 9 digits at most"
        )
    return tuple(int(part) for part in parts)


def _with_last(blocks: Blocks, **changes: Any) -> Blocks:
    """A NiN whose last block, the one before the head, has other arguments."""
    arguments = nin_arguments(blocks[-2])
    assert arguments is not None
    arguments |= changes
    arguments["last_norm"] = arguments["last_norm"] and not arguments["last_relu"]
    return (*blocks[:-2], nin_block(**arguments), blocks[-1])


def _has(kind: type[Layer], blocks: Sequence[Block]) -> bool:
    return any(isinstance(layer, kind) for block in blocks for layer in block.layers)
