"""Pictures that go into a page: made anew from their pixels, since they may be private."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from netinnet.data import pictures
from netinnet.errors import ImageError

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

    Args:
        paths: Files and folders.
        note: Called with a line for what is left out of a folder.

    Raises:
        ImageError: For a file that can't be read, no picture at all, or more than MOST.
    """
    files = list(pictures.files(paths, note))
    if not files:
        raise ImageError(f"--examples: no picture in {', '.join(map(str, paths))}")
    if len(files) > MOST:
        raise ImageError(f"--examples: {len(files)} pictures; a page has at most {MOST}")
    return [_example(pictures.read(file)) for file in files]


def _example(picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Example:
    from PIL import Image

    image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
    image.thumbnail((LARGEST, LARGEST))
    buffer = io.BytesIO()
    is_small = image.width * image.height <= SMALL
    image.save(buffer, "PNG" if is_small else "JPEG", optimize=True, quality=88)
    kind = "image/png" if is_small else "image/jpeg"
    return Example(kind, base64.b64encode(buffer.getvalue()).decode())
