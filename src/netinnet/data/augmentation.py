"""Augmentation: what training pictures may look like instead, in whole numbers, by NumPy.

Each kind is a pure function of (seed, epoch, step) with a stream of its own: switching one on
changes no draw of another, and a resumed run sees the same pictures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from netinnet.data.source import Pictures

Key = tuple[int, int, int]
"""(seed, epoch, step)."""
AUGMENT = 1  # 0, 2 and 3 are the streams of data/batches.py, 7 that of data/mixing.py
RESIZED_CROP, COLOR_JITTER, RANDOM_ERASING = 4, 5, 6
FLIPS = 8
ALTERNATING = "alternating"
Mirrored = npt.NDArray[np.bool_]
"""For each picture, whether it is mirrored."""
ASPECT = 4 / 3
"""A resized crop is up to so many times wider than high, or higher than wide."""
ERASED = (0.02, 0.25)
"""Smallest and largest share of a picture that random erasing takes; Zhong et al.: .02, .4."""


@dataclass(frozen=True)
class Augmentation:
    """Which changes are made; the default makes none. Fields are those of a recipe."""

    horizontal_flip: bool = False
    crop_padding: int = 0
    resized_crop: float | None = None
    color_jitter: float | None = None
    random_erasing: float | None = None
    flips: str | None = None
    """"alternating": the call says which pictures are mirrored, instead of a draw in each step."""

    def __call__(self, images: Pictures, key: Key, mirrored: Mirrored | None = None) -> Pictures:
        """New pictures n×h×w×c (uint8), for the step that `key` names.

        `mirrored` is used where flips alternate (`alternating`).
        """
        if self.resized_crop is not None:
            images = _resized_crop(images, _stream(key, RESIZED_CROP), self.resized_crop)
        images = _shift_and_flip(images, _stream(key, AUGMENT), self, mirrored)
        if self.color_jitter:
            images = _color_jitter(images, _stream(key, COLOR_JITTER), self.color_jitter)
        if self.random_erasing:
            _erase(images, _stream(key, RANDOM_ERASING), self.random_erasing)
        return images


def _stream(key: Key, use: int) -> np.random.Generator:
    return np.random.default_rng([*key, use])


@lru_cache(maxsize=2)
def alternating(count: int, seed: int, epoch: int) -> Mirrored:
    """Which of the training set's pictures are mirrored in an epoch: the others in the next one.

    So each picture is seen once each way in every two epochs; a draw decides how it begins.
    (Jordan 2024, airbench)
    """
    mirrored = (np.random.default_rng([seed, FLIPS]).random(count) < 0.5) ^ bool(epoch % 2)
    mirrored.setflags(write=False)  # it is kept
    return mirrored


def _shift_and_flip(
    images: Pictures,
    rng: np.random.Generator,
    chosen: Augmentation,
    mirrored: Mirrored | None,
) -> Pictures:
    """Mirror with probability 1/2, or those that are given; put zeros around and cut out a window
    of the same size."""
    count, height, width, _ = images.shape
    # Drawn whether used or not, so the flips don't change when cropping is switched on.
    flipped = rng.random((count,)) < 0.5
    changed = np.array(images, order="C")
    if padding := chosen.crop_padding:
        corners = rng.integers(0, 2 * padding + 1, size=(2, count))
        margin = (padding, padding)
        padded = np.pad(images, ((0, 0), margin, margin, (0, 0)))
        for i, (top, left) in enumerate(corners.T):
            changed[i] = padded[i, top : top + height, left : left + width]
    if mirrored is not None:
        flipped = mirrored
    if chosen.horizontal_flip:
        changed[flipped] = changed[flipped, :, ::-1]
    return changed


def _resized_crop(images: Pictures, rng: np.random.Generator, smallest: float) -> Pictures:
    """A window of `smallest` to all of the area, of an aspect near the picture's, enlarged.

    Bilinear with half-pixel centres, places in 256ths of a pixel. (Szegedy et al. 2014)
    """
    count, height, width, _ = images.shape
    tops, lefts, heights, widths = _windows(images, rng, (smallest, 1), ASPECT)
    upper, lower, down = _neighbours(tops, heights, height)
    rows = np.arange(count)[:, None] * height
    lines = images.reshape(count * height, -1)
    mixed = _between(lines[rows + upper], lines[rows + lower], down[..., None])
    left, right, across = (
        np.repeat(each, height, axis=0) for each in _neighbours(lefts, widths, width)
    )
    columns = np.arange(count * height)[:, None] * width
    pixels = mixed.reshape(count * height * width, -1)
    # np.take and weights of full shape: three times faster here than indexing and broadcasting.
    first, second = (np.take(pixels, columns + side, axis=0) for side in (left, right))
    weight = np.repeat(across[..., None], first.shape[2], axis=2)
    return _between(first, second, weight).reshape(images.shape)


def _windows(
    images: Pictures, rng: np.random.Generator, shares: tuple[float, float], aspect: float
) -> tuple[npt.NDArray[np.int64], ...]:
    """A random window in each picture: its top, left, height and width, n each.

    It has a share of the area between `shares`, and is up to `aspect` times wider or higher than
    the picture's shape.
    """
    count, height, width, _ = images.shape
    area = rng.uniform(*shares, count)
    ratio = np.exp(rng.uniform(-math.log(aspect), math.log(aspect), count))
    heights = np.clip(np.rint(height * np.sqrt(area / ratio)), 1, height).astype(np.int64)
    widths = np.clip(np.rint(width * np.sqrt(area * ratio)), 1, width).astype(np.int64)
    tops, lefts = rng.integers(0, height - heights + 1), rng.integers(0, width - widths + 1)
    return tops, lefts, heights, widths


def _between(first: Pictures, second: Pictures, weight: npt.NDArray[np.uint16]) -> Pictures:
    """From the first (weight 0) to the second (256), rounded; sums stay below 2^16."""
    return ((first * (256 - weight) + second * weight + 128) >> 8).astype(np.uint8)


def _neighbours(
    starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], target: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint16]]:
    """The two source pixels of each target pixel (n×target), and the second's weight in 256ths."""
    doubled = (2 * np.arange(target) + 1) * lengths[:, None]
    places = np.clip(doubled * 128 // target - 128, 0, (lengths[:, None] - 1) * 256)
    first = places >> 8
    second = np.minimum(first + 1, lengths[:, None] - 1)
    return first + starts[:, None], second + starts[:, None], (places & 255).astype(np.uint16)


def _color_jitter(images: Pictures, rng: np.random.Generator, strength: float) -> Pictures:
    """Brightness, contrast and (in colour) saturation, each times 1 - strength … 1 + strength."""
    count, _, _, channels = images.shape
    factors = 256 * rng.uniform(1 - strength, 1 + strength, (3, count, 1, 1, 1))
    brightness, contrast, saturation = np.rint(factors).astype(np.int32)
    grey = images if channels == 1 else _luma(images)
    if channels == 1:
        saturation[:] = 256
    mean = np.rint(grey.mean((1, 2, 3), keepdims=True)).astype(np.int32)
    # brightness·(mean + contrast·(grey + saturation·(value - grey) - mean)), multiplied out.
    scale = brightness * contrast >> 8
    own, of_grey = scale * saturation >> 8, scale * (256 - saturation) >> 8
    of_mean = brightness - scale
    values = images * own + (grey * of_grey + mean * of_mean + 128)
    jittered: Pictures = (values >> 8).clip(0, 255).astype(np.uint8)
    return jittered


def _luma(images: Pictures) -> npt.NDArray[np.uint16]:
    """ITU-R 601's weights in 256ths, n×h×w×1."""
    red, green, blue = np.moveaxis(images.astype(np.uint16), 3, 0)
    luma: npt.NDArray[np.uint16] = (77 * red + 150 * green + 29 * blue) >> 8
    return luma[..., None]


def _erase(images: Pictures, rng: np.random.Generator, probability: float) -> None:
    """Fill a rectangle of some of the pictures with noise, in place. (Zhong et al. 2017)"""
    count, _, _, channels = images.shape
    erased = rng.random(count) < probability
    tops, lefts, heights, widths = _windows(images, rng, ERASED, 3)
    for i in np.flatnonzero(erased):
        window = (slice(tops[i], tops[i] + heights[i]), slice(lefts[i], lefts[i] + widths[i]))
        images[i][window] = rng.integers(0, 256, (heights[i], widths[i], channels), np.uint8)
