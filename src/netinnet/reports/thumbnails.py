"""Small pictures for pages: each as an address that holds the picture itself, with its caption."""

from __future__ import annotations

import base64
import io
from typing import NamedTuple

from netinnet.data.source import Pictures

SIDE = 96
"""Longest side in pixels: larger pictures are reduced, smaller ones enlarged by the page."""


class Thumbnail(NamedTuple):
    """What the macro `thumbnails` of parts.html shows; without a picture the caption alone."""

    picture: str | None
    caption: str


def address(picture: Pictures, side: int = SIDE) -> str:
    """A picture (uint8, h×w×1 or h×w×3) as the address of a PNG, or of a JPEG where it is reduced.

    Example: `address(pictures.read("boot.png"))`.
    """
    from PIL import Image

    image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
    kind = "PNG" if max(image.size) <= side else "JPEG"
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=85)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
