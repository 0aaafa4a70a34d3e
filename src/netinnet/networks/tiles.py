"""Convolutions with fewer multiplications, by tiles: which they are, and what that takes.

Winograd's minimal filtering (Lavin and Gray 2016) with tiles of 6×6 pixels, as PyTorch's learner
trains on a CPU (`frameworks/winograd.c`).
"""

from __future__ import annotations

TILE = 6
"""Height and width of the part of a picture that is transformed at a time."""
WINDOWS = (3, 5)
FEWEST_CHANNELS, CHANNEL_STEP = 32, 16
"""Of fewer channels the transforms take longer than the multiplications that they save; and
channels are taken 16 at a time."""
MOST_MULTIPLICATIONS = 0.5
"""Of those that the convolution has: small pictures waste parts of their tiles."""


def save_time(window: int, channels: tuple[int, int], output: tuple[int, int]) -> bool:
    """Whether a convolution with stride 1 and no groups takes less time this way.

    `channels` are those of input and output, `output` is the output's height and width.
    """
    if window not in WINDOWS or min(channels) < FEWEST_CHANNELS:
        return False
    if any(c % CHANNEL_STEP for c in channels):
        return False
    height, width = output
    each = TILE + 1 - window
    tiles = -(-height // each) * -(-width // each)
    return tiles * TILE**2 <= MOST_MULTIPLICATIONS * height * width * window**2


def transformed(window: int, kernel: int) -> int:
    """The size of transformed weights, from that of the weights."""
    return kernel * TILE**2 // window**2
