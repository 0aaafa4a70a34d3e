"""Class maps drawn over pictures by Pillow: blue where a place speaks against a class, yellow where
for it, readable in grey, since the picture below is a grey between them.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from netinnet import units
from netinnet.data.pictures import as_channels
from netinnet.inference.explanation import Axis, ClassMap, Explanation

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    Tile = tuple[Picture, str, str]

AGAINST, FOR = (8, 48, 140), (255, 226, 60)
"""The colours of the scale's ends. In grey they are 47 and 216; 0 leaves the picture as it is."""
GREYS = (80, 176)
"""The picture's own black and white below the colours: inside the ends, so that they stand out."""
OPACITY = 0.9
"""Of the colour at an end of the scale; in between in proportion to the value."""
SMALL, LARGE = 256, 896
"""Longest side in pixels: smaller pictures are enlarged by a whole factor, larger ones reduced."""
TILE, GAP, LINE = 160, 12, 18
"""Pixels: side of a picture in a contact sheet, space between things, height of a line of text."""
SHEET_COLUMNS = 8

Pixels = npt.NDArray[np.uint8]


def colours(values: npt.NDArray[Any], scale: float, grey: npt.NDArray[Any] | float) -> Pixels:
    """Values from -scale to scale as RGB (uint8, one axis more) over greys of 0…255."""
    share = np.clip(values / (scale or 1.0), -1, 1)[..., None]
    end = np.where(share < 0, np.array(AGAINST), np.array(FOR))
    below = GREYS[0] + (GREYS[1] - GREYS[0]) / 255 * np.asarray(grey, np.float64)[..., None]
    blended: Pixels = np.rint(below + OPACITY * np.abs(share) * (end - below)).astype(np.uint8)
    return blended


def overlay(explanation: Explanation, shown: ClassMap) -> Picture:
    """The picture in grey below a class's map, with the peak (a cross) and its box.

    Between the centres of two cells the map is interpolated linearly, outside them it is even; what
    the network did not see stays grey.
    """
    from PIL import Image, ImageDraw

    picture = _sized(explanation.picture)
    size = (picture.height, picture.width)
    axes = zip((explanation.rows, explanation.columns), size, shown.values.shape, strict=True)
    down, across = (_interpolation(axis, pixels, cells) for axis, pixels, cells in axes)
    values = down @ shown.values @ across.T
    grey = as_channels(np.array(picture.convert("RGB")), 1)[..., 0]
    drawn = Image.fromarray(colours(values, explanation.scale, grey))
    factor = picture.width / explanation.columns.length
    draw = ImageDraw.Draw(drawn)
    left, top, right, bottom = (round(factor * edge) for edge in shown.box)
    x, y = (factor * place for place in shown.peak)
    for colour, width, within in (("black", 4, 0), ("white", 2, 1)):
        low = (left + within, top + within)
        high = (max(right - 1 - within, low[0]), max(bottom - 1 - within, low[1]))
        draw.rectangle((low, high), outline=colour, width=width)
        draw.line((x - 7, y, x + 7, y), fill=colour, width=width)
        draw.line((x, y - 7, x, y + 7), fill=colour, width=width)
    return drawn


def panel(explanation: Explanation, shown: ClassMap) -> bytes:
    """An overlay below its class, probability and logit, beside the colour bar: a PNG file."""
    drawn = overlay(explanation, shown)
    ends = (f"{explanation.scale:+.3g}", "0", f"{-explanation.scale:+.3g}")
    side = round(max(map(_font().getlength, ends))) + LINE + GAP
    height = max(drawn.height, 6 * LINE)
    width = max(drawn.width, SMALL) + side + 3 * GAP
    canvas, draw = _canvas(width, height + 2 * LINE + 3 * GAP)
    _write(draw, (GAP, GAP), shown.name, width - 2 * GAP)
    _write(draw, (GAP, GAP + LINE), _figures(shown), width - 2 * GAP)
    top, bar = 2 * (LINE + GAP), width - side - GAP
    canvas.paste(drawn, (GAP, top))
    canvas.paste(_bar(height), (bar, top))
    for text, y in zip(ends, (0, height / 2 - LINE / 2, height - LINE), strict=True):
        _write(draw, (bar + LINE + 6, top + y), text, side)
    return _png(canvas)


def tiles(name: str, explanation: Explanation) -> list[Tile]:
    """A picture and its classes' maps for a contact sheet, each with two lines of text."""
    scale = f"scale ±{explanation.scale:.3g}"
    row = [(_sized(explanation.picture).convert("RGB"), PurePath(name).name, scale)]
    row += [(overlay(explanation, c), c.name, _figures(c)) for c in explanation.classes]
    for picture, *_ in row:
        picture.thumbnail((TILE, TILE))
    return row


def sheet(rows: Sequence[Sequence[Tile]]) -> bytes:
    """A contact sheet of several pictures' tiles as a PNG file."""
    widest = max(map(len, rows))
    beside = max(1, SHEET_COLUMNS // widest)
    step, line = TILE + GAP, TILE + GAP + 2 * LINE
    columns = min(beside, len(rows)) * widest
    canvas, draw = _canvas(columns * step + GAP, -(-len(rows) // beside) * line + 4 * GAP)
    canvas.paste(_bar(TILE).rotate(-90, expand=True), (GAP, GAP))
    _write(draw, (step + GAP, GAP), "-scale to +scale of each picture", (columns - 1) * step)
    for i, row in enumerate(rows):
        for j, (picture, *lines) in enumerate(row):
            x, y = ((i % beside) * widest + j) * step + GAP, i // beside * line + 4 * GAP
            canvas.paste(picture, (x, y))
            for n, words in enumerate(lines):
                _write(draw, (x, y + TILE + n * LINE), words, TILE)
    return _png(canvas)


def _png(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _figures(shown: ClassMap) -> str:
    return f"{units.percent(shown.probability)}, logit {shown.logit:.3g}"


def _sized(pixels: Pixels) -> Picture:
    """A picture as large as it is shown: see `SMALL` and `LARGE`."""
    from PIL import Image

    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    longest = max(picture.size)
    factor = max(1, SMALL // longest) if longest <= LARGE else LARGE / longest
    width, height = (max(1, round(side * factor)) for side in picture.size)
    # An enlarged picture shows its pixels.
    way = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.BOX
    return picture.resize((width, height), way)


def _interpolation(axis: Axis, pixels: int, cells: int) -> npt.NDArray[np.float64]:
    """Pixels × cells: the weights of the map's cells along one axis of the drawn picture."""
    places = (np.arange(pixels) + 0.5) * axis.length / pixels
    at = np.clip((places - axis.first) / axis.step, 0, cells - 1)
    seen = (axis.seen[0] <= places) & (places < axis.seen[1])
    return np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(cells))) * seen[:, None]


def _bar(height: int) -> Picture:
    """The colour scale over mid-grey, the greatest value at the top."""
    from PIL import Image

    values = np.linspace(1, -1, height)[:, None].repeat(LINE, 1)
    return Image.fromarray(colours(values, 1.0, np.full(values.shape, 127.5)))


def _canvas(width: int, height: int) -> tuple[Picture, Any]:
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (width, height), "white")
    return canvas, ImageDraw.Draw(canvas)


def _font() -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(13)


def _write(draw: Any, place: tuple[float, float], text: str, width: float) -> None:
    """One line of text, cut with an ellipsis where it is wider than there is room."""
    text, font = " ".join(text.split()), _font()
    while text and font.getlength(text) > width:
        text = f"{text.removesuffix('…')[:-1]}…" if len(text) > 1 else ""
    draw.text(place, text, fill="black", font=font)
