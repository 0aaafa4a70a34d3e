"""From picture values to network input, in NumPy: the definition every other form is compared with.

Resizing is bilinear with half-pixel centres, and with antialiasing where the picture shrinks. It is
linear and separable, so it is two small matrix products; `resize_matrix` gives the matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from netinnet.networks.layers import Shape
from netinnet.networks.network import Preprocessing

Array = npt.NDArray[np.float32]


@lru_cache(maxsize=64)
def resize_matrix(source: int, target: int) -> Array:
    """Matrix (target × source) that resizes one axis bilinearly; every row sums to 1.

    A row holds a triangle filter centred on the target pixel's place in the source, as wide as a
    source pixel (a target pixel where the picture shrinks), cut off and normalised at the border.
    """
    scale = source / target
    support = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale - 0.5
    distance = np.abs(centres[:, None] - np.arange(source)[None, :]) / support
    rows = np.maximum(0.0, 1.0 - distance)
    rows /= rows.sum(axis=1, keepdims=True)
    matrix: Array = rows.astype(np.float32)
    matrix.setflags(write=False)
    return matrix


_einsum = partial(np.einsum, optimize=True)


def resize(images: Any, height: int, width: int, einsum: Callable[..., Any] = _einsum) -> Any:
    """Resize float images n×h×w×c to n×height×width×c, by the einsum of their framework."""
    if images.shape[1:3] == (height, width):
        return images
    rows = resize_matrix(images.shape[1], height)
    columns = resize_matrix(images.shape[2], width)
    return einsum("yi,nijc,xj->nyxc", rows, images, columns)


def normalise(images: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> Array:
    """Values 0…255 to floats: divided by 255, minus the mean, over the standard deviation."""
    scale = (1.0 / (255.0 * np.asarray(preprocessing.std))).astype(np.float32)
    offset = (np.asarray(preprocessing.mean) / np.asarray(preprocessing.std)).astype(np.float32)
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
    resized: Array = resize(normalise(images, preprocessing), shape.height, shape.width)
    return resized
