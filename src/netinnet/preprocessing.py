"""From picture values to network input, in NumPy: the definition every other form is compared with.

Resizing is bilinear with half-pixel centres, and with antialiasing where the picture shrinks. It is
linear and separable, so it is two small matrix products; `resize_matrix` gives the matrices.

Where the picture's aspect ratio is not the input's, `Preprocessing.fit` decides:

- "stretch": height and width are resized apart.
- "crop": the largest part of the picture that has the input's aspect ratio is resized; the rest is
  not looked at. It is in the middle, and of whole pixels: see `_centred`.
- "pad": all of the picture is resized to the largest part of the input that has its aspect ratio,
  found by the same rule. Around it the normalised input is zero, which is the training pictures'
  mean (black, for a network that does not normalise): what convolutions pad with, too. In the mean
  it brings in no edge and no light. White, which transparent places become, would bring in both:
  there it is the page that a picture was made for, here it would be no part of a photograph.

A part is a matrix with zeros in other columns (crop) or rows (pad), so every form of preprocessing
computes all three alike. With equal aspect ratios all three are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from netinnet.networks.layers import Shape
from netinnet.networks.network import Preprocessing

Array = npt.NDArray[np.float32]


AT_ONCE = 2**23
"""Most values of pictures that are numbers of four bytes at a time: larger ones go by in blocks."""


@lru_cache(maxsize=8)  # one of the longest pictures has tens of megabytes
def resize_matrix(source: int, target: int) -> Array:
    """Matrix (target × source) that resizes one axis bilinearly; every row sums to 1.

    A row holds a triangle filter centred on the target pixel's place in the source, as wide as a
    source pixel (a target pixel where the picture shrinks), cut off and normalised at the border.
    """
    scale = source / target
    support = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale - 0.5
    matrix: Array = np.empty((target, source), np.float32)
    step = max(1, AT_ONCE // 8 // source)  # in float64, so a few rows at a time
    for start in range(0, target, step):
        part = centres[start : start + step]
        distance = np.abs(part[:, None] - np.arange(source)[None, :]) / support
        rows = np.maximum(0.0, 1.0 - distance)
        matrix[start : start + step] = rows / rows.sum(axis=1, keepdims=True)
    matrix.setflags(write=False)
    return matrix


class Span(NamedTuple):
    """Which part of an axis of the picture becomes which part of the input's, in their pixels."""

    start: int
    length: int
    at: int
    size: int


def spans(source: tuple[int, int], target: tuple[int, int], fit: str) -> tuple[Span, Span]:
    """Of the rows and of the columns, for pictures and input of (height, width).

    Example:
        >>> spans((100, 60), (32, 32), "crop")[0], spans((100, 60), (32, 32), "pad")[1]
        (Span(start=20, length=60, at=0, size=32), Span(start=0, length=60, at=6, size=19))
    """
    taken = _centred(source, target) if fit == "crop" else [(0, side) for side in source]
    place = _centred(target, source) if fit == "pad" else [(0, side) for side in target]
    rows, columns = (Span(*part, *to) for part, to in zip(taken, place, strict=True))
    return rows, columns


def _centred(frame: tuple[int, int], ratio: tuple[int, int]) -> list[tuple[int, int]]:
    """Start and length, down and across, of the largest part of a frame with a ratio of sides.

    One side is the frame's, the other is rounded to whole pixels, halves up, and is at least one.
    Where an odd number of pixels is left over, the part is half a pixel above or left of centre.
    """
    parts = []
    for side, other, own, across in zip(frame, frame[::-1], ratio, ratio[::-1], strict=True):
        length = min(max((2 * other * own + across) // (2 * across), 1), side)
        parts.append(((side - length) // 2, length))
    return parts


def matrices(
    source: tuple[int, int], target: tuple[int, int], fit: str = "stretch"
) -> tuple[Array, Array]:
    """Matrices (target × source) for the rows and the columns of pictures of (height, width)."""
    made = []
    for span, pixels, wanted in zip(spans(source, target, fit), source, target, strict=True):
        matrix = resize_matrix(span.length, span.size)
        if matrix.shape != (wanted, pixels):
            part, matrix = matrix, np.zeros((wanted, pixels), np.float32)
            matrix[span.at : span.at + span.size, span.start : span.start + span.length] = part
        made.append(matrix)
    return made[0], made[1]


_einsum = partial(np.einsum, optimize=True)


def resize(
    images: Any,
    height: int,
    width: int,
    einsum: Callable[..., Any] = _einsum,
    fit: str = "stretch",
) -> Any:
    """Resize float images n×h×w×c to n×height×width×c, by the einsum of their framework."""
    if images.shape[1:3] == (height, width):
        return images
    rows, columns = matrices(tuple(images.shape[1:3]), (height, width), fit)
    return einsum("yi,nijc,xj->nyxc", rows, images, columns)


def resize_large(
    images: npt.NDArray[np.uint8],
    height: int,
    width: int,
    fit: str,
    convert: Callable[[npt.NDArray[np.uint8]], Array],
) -> Array:
    """`resize` of pictures that `convert` makes floats of, with bounded memory.

    Pictures of more than `AT_ONCE` values go by in blocks of rows, which changes no more than the
    last digit.
    """
    count, rows_in, columns_in, channels = images.shape
    if math.prod(images.shape[1:]) <= AT_ONCE or (rows_in, columns_in) == (height, width):
        resized: Array = resize(convert(images), height, width, fit=fit)
        return resized
    rows, columns = matrices((rows_in, columns_in), (height, width), fit)
    result = np.empty((count, height, width, channels), np.float32)
    step = max(1, AT_ONCE // (columns_in * channels))
    for made, picture in zip(result, images, strict=True):
        narrow = np.zeros((height, columns_in * channels), np.float32)
        for start in range(0, rows_in, step):
            part = rows[:, start : start + step]
            used = np.flatnonzero(part.any(axis=1))
            if used.size:
                here = slice(int(used[0]), int(used[-1]) + 1)
                block = convert(picture[None, start : start + step])
                narrow[here] += part[here] @ block.reshape(-1, columns_in * channels)
        made[:] = _einsum("yjc,xj->yxc", narrow.reshape(height, columns_in, channels), columns)
    return result


@lru_cache(maxsize=16)
def line(preprocessing: Preprocessing) -> tuple[Array, Array]:
    """What a value is multiplied by, and what is subtracted then, in each channel."""
    scale = (1.0 / (255.0 * np.asarray(preprocessing.std))).astype(np.float32)
    offset = (np.asarray(preprocessing.mean) / np.asarray(preprocessing.std)).astype(np.float32)
    return scale, offset


def normalise(images: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> Array:
    """Values 0…255 to floats: divided by 255, minus the mean, over the standard deviation."""
    scale, offset = line(preprocessing)
    count, height, width, channels = images.shape
    if len(scale) > 1:  # row by row: NumPy is slow where its inner loop is a pixel's channels
        scale, offset = np.tile(scale, width), np.tile(offset, width)
        images = images.reshape(count, height, width * channels)
    normalised: Array = images.astype(np.float32)
    normalised *= scale
    normalised -= offset
    return normalised.reshape(count, height, width, channels)


def prepare(images: npt.NDArray[np.uint8], shape: Shape, preprocessing: Preprocessing) -> Array:
    """Pictures n×h×w×c (already of the input's channels) to the network's input n×H×W×c."""
    convert = partial(normalise, preprocessing=preprocessing)
    return resize_large(images, shape.height, shape.width, preprocessing.fit, convert)
