"""What a network of the zoo leaves open: the choices that ablations and tuning vary."""

from __future__ import annotations

import math
from dataclasses import dataclass

from netinnet.errors import NetworkError, check_name

HEADS = ("gap", "dense", "dense-dropout")
"""Global average pooling; or a fully connected layer in its place, without and with dropout (.5) in
front of it, as the paper compares them (section 4.5)."""


@dataclass(frozen=True)
class Options:
    """What a network of the zoo leaves open; None means as the network has it."""

    classes: int
    logits_relu: bool
    dropout: float
    pointwise: int | None = None
    """Number of 1×1 convolutions in each block; a given `narrowing` decides for the last one."""
    narrowing: tuple[int, ...] | None = None
    """Channels of the last block's convolutions before the one with a channel for each class."""
    head: str = "gap"
    width: float = 1.0
    """Factor on the network's own hidden channels and features."""

    def wide(self, *channels: int) -> tuple[int, ...]:
        """Channel counts times `width`, rounded, at least 1."""
        return tuple(max(1, round(count * self.width)) for count in channels)

    def __post_init__(self) -> None:
        check_name("head", self.head, HEADS, NetworkError)
        if self.pointwise is not None and self.pointwise < 0:
            raise NetworkError(f"pointwise must be at least 0, got {self.pointwise}")
        if not (math.isfinite(self.width) and self.width > 0):
            raise NetworkError(f"width must be above 0, got {self.width:g}")


def channel_counts(narrowing: str) -> tuple[int, ...]:
    """(128, 32) for "128-32". Raises NetworkError for another text."""
    parts = narrowing.split("-")
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise NetworkError(
            f"narrowing must be channel counts joined by hyphens, as in 128-32, got '{narrowing}'"
        )
    return tuple(int(part) for part in parts)
