"""Pictures that go into a page: made anew from their pixels, since they may be private."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from netinnet.data import pictures
from netinnet.errors import ImageError

T = TypeVar("T")
LARGEST = 448
"""Longest side in pixels; larger pictures are made smaller."""
MOST = 24
SMALL = 64 * 64
"""Up to so many pixels an example is a PNG, which keeps every value; beyond, a JPEG."""


class Example(NamedTuple):
    """One picture's file in base64."""

    type: str
    data: str


def read(paths: Sequence[Path], note: Callable[[str], None]) -> list[Example]:
    """Examples of picture files and folders, of which nothing but the pixels is kept.

    Of more than `MOST`, so many are taken from each folder in turn, and from all parts of it.

    Args:
        paths: Files and folders.
        note: Called with a line for what is left out.

    Raises:
        ImageError: For a file that can't be read, or no picture at all.
    """
    files = list(pictures.files(paths, note))
    if not files:
        raise ImageError(f"--examples: no picture in {', '.join(map(str, paths))}")
    if len(files) > MOST:
        note(f"examples: {MOST} of {len(files):,} pictures, the most that a page has")
        files = _some(files)
    return [_example(pictures.read(file)) for file in files]


def _some(files: Sequence[Path]) -> list[Path]:
    """`MOST` of more files, the same ones each time, as evenly by their folders as those allow."""
    folders: dict[Path, list[Path]] = {}
    for file in files:
        folders.setdefault(file.parent, []).append(file)
    chosen = _evenly([*folders.values()], MOST)
    # The first of each folder, then the second of each that has two, …
    turns = sorted((place, i) for i, inside in enumerate(chosen) for place in range(len(inside)))
    counts = Counter(i for _, i in turns[:MOST])
    return [file for i, inside in enumerate(chosen) for file in _evenly(inside, counts[i])]


def _evenly(things: Sequence[T], count: int) -> list[T]:
    """So many of them, or all, at equal distances."""
    count = min(count, len(things))
    return [things[i * len(things) // count] for i in range(count)]


def _example(picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Example:
    from PIL import Image

    image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
    image.thumbnail((LARGEST, LARGEST))
    buffer = io.BytesIO()
    is_small = image.width * image.height <= SMALL
    image.save(buffer, "PNG" if is_small else "JPEG", optimize=True, quality=88)
    kind = "image/png" if is_small else "image/jpeg"
    return Example(kind, base64.b64encode(buffer.getvalue()).decode())
