"""Pictures that are copies of each other: recompressed, resized or slightly cropped.

Two steps over thumbnails of 16×16: candidates by the cosine of coarse descriptors in colour (a
matrix product over all pairs); then the luma of each candidate pair is laid over each other, one of
the two cropped by a little in several ways, and must agree as a whole and in its fine detail.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product

import numpy as np
import numpy.typing as npt

from netinnet.data.pictures import as_channels
from netinnet.preprocessing import resize_matrix

SIDE = 16
"""Height and width of a thumbnail."""
CANDIDATE = 0.85
"""Least cosine of two descriptors."""
SAME, DETAIL = 0.93, 0.65
"""Least correlation of two thumbnails laid over each other, and of their fine detail."""
COLOUR = 14.0
"""Most difference of their mean colours, of 255."""
FLAT = 1.0
"""Added to a standard deviation (of 255): what is all but flat is no one's copy."""
BLOCK = 1024
MARGINS = (0.0, 0.05)
"""Shares of a side that are cut off at its two ends."""

Thumbnails = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float32]


def pairs(
    thumbnails: Thumbnails, on_progress: Callable[[float], object] = lambda share: None
) -> list[tuple[int, int]]:
    """The pairs (i, j), i < j, of near-duplicates among thumbnails n×16×16×3.

    `on_progress` is called with the share of the pairs that was looked at.

    Example: `pairs(np.stack([a, a, b]))` is `[(0, 1)]`.
    """
    described, colours = descriptors(thumbnails), thumbnails.mean((1, 2))
    result: list[tuple[int, int]] = []
    for start in range(0, len(described), BLOCK):
        on_progress(1 - (1 - start / len(described)) ** 2)
        cosines = described[start : start + BLOCK] @ described[start:].T
        rows, columns = np.nonzero(np.triu(cosines >= CANDIDATE, 1))
        near = np.stack([rows, columns], 1) + start
        near = near[np.abs(colours[near[:, 0]] - colours[near[:, 1]]).max(1, initial=0) <= COLOUR]
        for part in np.array_split(near, len(near) // BLOCK + 1):
            agree = agreement(thumbnails[part[:, 0]], thumbnails[part[:, 1]])
            result += [(int(i), int(j)) for i, j in part[agree]]
    return result


def descriptors(thumbnails: Thumbnails) -> Array:
    """The thumbnails at half their size, of mean 0 and length 1, n×192."""
    half = resize_matrix(SIDE, SIDE // 2)
    coarse = np.einsum("yi,nijc,xj->ncyx", half, thumbnails.astype(np.float32), half, optimize=True)
    centred = coarse - coarse.mean((2, 3), keepdims=True)
    return _scaled(centred.reshape(-1, 3 * (SIDE // 2) ** 2))


def _scaled(rows: Array) -> Array:
    """Rows of a mean of 0 to length 1, all but flat ones to less."""
    result: Array = rows / np.sqrt((rows**2).sum(-1, keepdims=True) + rows.shape[-1] * FLAT**2)
    return result


@cache
def _crops() -> tuple[Array, Array]:
    """Matrices crops×256×256: a thumbnail's crop at its size less its mean, and its detail only."""

    def matrix(before: float, after: float) -> npt.NDArray[np.float64]:
        # Bilinear at the centres of the target's pixels within the part that stays.
        centres = SIDE * (before + (np.arange(SIDE) + 0.5) / SIDE * (1 - before - after)) - 0.5
        rows = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(SIDE)[None, :]))
        return np.asarray(rows / rows.sum(1, keepdims=True))

    near = np.abs(np.arange(SIDE)[:, None] - np.arange(SIDE)[None, :]) <= 1
    blur = near / near.sum(1, keepdims=True)
    sides = [matrix(a, b) for a, b in product(MARGINS, MARGINS)]
    crops = np.stack([np.kron(rows, columns) for rows, columns in product(sides, sides)])
    plain = crops - crops.mean(1, keepdims=True)
    detail = crops - np.kron(blur, blur) @ crops
    return plain.astype(np.float32), detail.astype(np.float32)


def agreement(first: Thumbnails, second: Thumbnails) -> npt.NDArray[np.bool_]:
    """Whether each pair is the same picture, one of the two perhaps cropped by a little."""
    one, other = (
        as_channels(t, 1).reshape(-1, SIDE**2).astype(np.float32) for t in (first, second)
    )
    agree = np.zeros(len(one), bool)
    for cropped, whole in ((one, other), (other, one)):
        targets = [_scaled(whole @ matrices[0].T) for matrices in _crops()]
        for plain, detail in zip(*_crops(), strict=True):
            same, fine = (
                (_scaled(cropped @ matrix.T) * target).sum(1)
                for matrix, target in zip((plain, detail), targets, strict=True)
            )
            agree |= (same >= SAME) & (fine >= DETAIL)
    return agree
