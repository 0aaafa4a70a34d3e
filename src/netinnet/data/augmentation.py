"""Augmentation: what training pictures may look like instead, in whole numbers, by NumPy.

Each kind is a pure function of (seed, epoch, step) with a stream of its own: switching one on
changes no draw of another, and a resumed run sees the same pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from netinnet.data.source import Indices, Pictures

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


class Windows(NamedTuple):
    """A rectangle in each of n pictures, in pixels: n numbers each."""

    tops: Indices
    lefts: Indices
    heights: Indices
    widths: Indices


class Erased(NamedTuple):
    """A rectangle of a picture that noise takes the place of."""

    picture: int
    window: tuple[slice, slice]
    noise: Pictures
    """height×width×channels."""


@dataclass(frozen=True)
class Draws:
    """What is changed of n pictures, in the order of the fields; None: nothing of the kind.

    Whatever applies it makes the same pictures: `apply`, or what a framework has for a GPU.
    """

    crops: Windows | None = None
    """What is enlarged to the picture's size."""
    corners: Indices | None = None
    """2×n: how far down and right of the top left corner of the picture with its margin of zeros a
    window of the picture's size is cut out."""
    padding: int = 0
    """The margin."""
    mirrored: Mirrored | None = None
    colours: npt.NDArray[np.int32] | None = None
    """3×n: brightness, contrast and saturation, in 256ths."""
    erased: Sequence[Erased] = ()


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
        return apply(images, self.draw(images.shape, key, mirrored))

    def draw(self, shape: tuple[int, ...], key: Key, mirrored: Mirrored | None = None) -> Draws:
        """What the step that `key` names changes of pictures of a shape n×h×w×c."""
        count, padding = shape[0], self.crop_padding
        crops = colours = corners = None
        if self.resized_crop is not None:
            crops = _windows(shape, _stream(key, RESIZED_CROP), (self.resized_crop, 1), ASPECT)
        rng = _stream(key, AUGMENT)
        # Drawn whether used or not, so the flips don't change when cropping is switched on.
        flipped = rng.random((count,)) < 0.5
        if padding:
            corners = rng.integers(0, 2 * padding + 1, size=(2, count))
        if self.color_jitter:
            colours = _colours(shape, _stream(key, COLOR_JITTER), self.color_jitter)
        erased: Sequence[Erased] = ()
        if self.random_erasing:
            erased = _erased(shape, _stream(key, RANDOM_ERASING), self.random_erasing)
        chosen = None
        if self.horizontal_flip:
            chosen = flipped if mirrored is None else mirrored
        return Draws(crops, corners, padding, chosen, colours, erased)


def apply(images: Pictures, draws: Draws) -> Pictures:
    """New pictures n×h×w×c (uint8), changed as was drawn."""
    if draws.crops is not None:
        images = _resized_crop(images, draws.crops)
    images = _shift_and_flip(images, draws)
    if draws.colours is not None:
        images = _color_jitter(images, draws.colours)
    for picture, window, noise in draws.erased:
        images[picture][window] = noise
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


def _shift_and_flip(images: Pictures, draws: Draws) -> Pictures:
    """Put zeros around, cut out a window of the same size, and mirror some; always a copy."""
    _, height, width, _ = images.shape
    changed = np.array(images, order="C")
    if draws.corners is not None:
        margin = (draws.padding, draws.padding)
        padded = np.pad(images, ((0, 0), margin, margin, (0, 0)))
        for i, (top, left) in enumerate(draws.corners.T):
            changed[i] = padded[i, top : top + height, left : left + width]
    if draws.mirrored is not None:
        changed[draws.mirrored] = changed[draws.mirrored, :, ::-1]
    return changed


def _resized_crop(images: Pictures, windows: Windows) -> Pictures:
    """A window of `resized_crop` to all of the area, of an aspect near the picture's, enlarged.

    Bilinear with half-pixel centres, places in 256ths of a pixel. (Szegedy et al. 2014)
    """
    count, height, width, _ = images.shape
    upper, lower, down = neighbours(windows.tops, windows.heights, height)
    rows = np.arange(count)[:, None] * height
    lines = images.reshape(count * height, -1)
    mixed = _between(lines[rows + upper], lines[rows + lower], down[..., None])
    left, right, across = (
        np.repeat(each, height, axis=0) for each in neighbours(windows.lefts, windows.widths, width)
    )
    columns = np.arange(count * height)[:, None] * width
    pixels = mixed.reshape(count * height * width, -1)
    # np.take and weights of full shape: three times faster here than indexing and broadcasting.
    first, second = (np.take(pixels, columns + side, axis=0) for side in (left, right))
    weight = np.repeat(across[..., None], first.shape[2], axis=2)
    return _between(first, second, weight).reshape(images.shape)


def _windows(
    shape: tuple[int, ...], rng: np.random.Generator, shares: tuple[float, float], aspect: float
) -> Windows:
    """A random window in each picture.

    It has a share of the area between `shares`, and is up to `aspect` times wider or higher than
    the picture's shape.
    """
    count, height, width, _ = shape
    area = rng.uniform(*shares, count)
    ratio = np.exp(rng.uniform(-math.log(aspect), math.log(aspect), count))
    heights = np.clip(np.rint(height * np.sqrt(area / ratio)), 1, height).astype(np.int64)
    widths = np.clip(np.rint(width * np.sqrt(area * ratio)), 1, width).astype(np.int64)
    tops, lefts = rng.integers(0, height - heights + 1), rng.integers(0, width - widths + 1)
    return Windows(tops, lefts, heights, widths)


def _between(first: Pictures, second: Pictures, weight: npt.NDArray[np.uint16]) -> Pictures:
    """From the first (weight 0) to the second (256), rounded; sums stay below 2^16."""
    return ((first * (256 - weight) + second * weight + 128) >> 8).astype(np.uint8)


def neighbours(
    starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], target: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint16]]:
    """The two source pixels of each target pixel (n×target), and the second's weight in 256ths."""
    doubled = (2 * np.arange(target) + 1) * lengths[:, None]
    places = np.clip(doubled * 128 // target - 128, 0, (lengths[:, None] - 1) * 256)
    first = places >> 8
    second = np.minimum(first + 1, lengths[:, None] - 1)
    return first + starts[:, None], second + starts[:, None], (places & 255).astype(np.uint16)


def _colours(
    shape: tuple[int, ...], rng: np.random.Generator, strength: float
) -> npt.NDArray[np.int32]:
    """Brightness, contrast and (in colour) saturation, each times 1 - strength … 1 + strength."""
    count, channels = shape[0], shape[3]
    factors = 256 * rng.uniform(1 - strength, 1 + strength, (3, count, 1, 1, 1))
    colours: npt.NDArray[np.int32] = np.rint(factors).astype(np.int32).reshape(3, count)
    if channels == 1:
        colours[2] = 256
    return colours


def _color_jitter(images: Pictures, colours: npt.NDArray[np.int32]) -> Pictures:
    grey = images if images.shape[3] == 1 else _luma(images)
    mean = np.rint(grey.mean((1, 2, 3), keepdims=True)).astype(np.int32)
    own, of_grey, of_mean = line_of_colours(colours[..., None, None, None])
    values = images * own + (grey * of_grey + mean * of_mean + 128)
    jittered: Pictures = (values >> 8).clip(0, 255).astype(np.uint8)
    return jittered


def line_of_colours(colours: Any) -> tuple[Any, Any, Any]:
    """What a value, its pixel's luma and the picture's mean luma are multiplied by, in 256ths.

    That is brightness·(mean + contrast·(grey + saturation·(value - grey) - mean)), multiplied out.
    """
    brightness, contrast, saturation = colours
    scale = brightness * contrast >> 8
    return scale * saturation >> 8, scale * (256 - saturation) >> 8, brightness - scale


def _luma(images: Pictures) -> npt.NDArray[np.uint16]:
    """ITU-R 601's weights in 256ths, n×h×w×1."""
    red, green, blue = np.moveaxis(images.astype(np.uint16), 3, 0)
    luma: npt.NDArray[np.uint16] = (77 * red + 150 * green + 29 * blue) >> 8
    return luma[..., None]


def _erased(shape: tuple[int, ...], rng: np.random.Generator, probability: float) -> list[Erased]:
    """A rectangle of noise in some of the pictures. (Zhong et al. 2017)"""
    count, _, _, channels = shape
    chosen = rng.random(count) < probability
    tops, lefts, heights, widths = _windows(shape, rng, ERASED, 3)
    erased = []
    for i in np.flatnonzero(chosen):
        window = (slice(tops[i], tops[i] + heights[i]), slice(lefts[i], lefts[i] + widths[i]))
        noise = rng.integers(0, 256, (heights[i], widths[i], channels), np.uint8)
        erased.append(Erased(int(i), window, noise))
    return erased
