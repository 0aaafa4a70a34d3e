"""Pictures to arrays: what is not a picture, or is too large, is refused in one line."""

from __future__ import annotations

import functools
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from netinnet.data.quiet import Quiet
from netinnet.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""Names of files that `files` takes from a folder end so, in small letters or capitals."""
MAX_PIXELS = 25_000_000
"""Most pixels: decoding takes up to twenty bytes for each (WebP)."""
MAX_SIDE = 65_535
"""Longest side, JPEG's own limit: resizing takes memory for each row and column of the source."""
MAX_BYTES = 2**29
"""Most bytes that are read of a picture."""
BAND = 2**20
"""Pixels that are converted at a time."""
EXPECTED = "expected a PNG, JPEG, WebP, BMP, GIF or TIFF picture"

Array = npt.NDArray[np.uint8]


class TooLarge(ImageError):
    """A picture with more pixels or a longer side than is taken."""


class NotNow(ImageError):
    """A picture that could perhaps be read another time: the disk, its rights or memory failed."""


_DIGITS = re.compile(r"(\d+)")


def read(
    source: str | Path | bytes | IO[bytes],
    name: str = "picture",
    look: Callable[[Picture], object] = lambda picture: None,
    channels: int | None = None,
    max_pixels: int = MAX_PIXELS,
    max_side: int = MAX_SIDE,
) -> Array:
    """Read a picture as uint8 height×width×channels, 1 channel for grey and 3 for RGB.

    EXIF orientation is applied. Transparent pixels are laid over white, as on the page that they
    were made for. 16-bit grey is scaled to 8 bits. Of an animation it is the first frame. Colour
    profiles are not applied.

    Args:
        source: A path, the bytes of a file, or a binary stream, which is read to its end.
        name: What errors call bytes and streams; a path is called by itself.
        look: Called with Pillow's picture before it is decoded: what it is in its file. What it
            raises as ImageError is passed on.
        channels: 1 or 3, as `as_channels` would make them of the result, but sooner.
        max_pixels: The most that are taken, if that is less than 25 megapixels.
        max_side: The longest side that is taken, in pixels, if that is less than 65,535.

    Returns:
        uint8, height×width×1 or height×width×3.

    Raises:
        ImageError: For anything but a PNG, JPEG, WebP, BMP, GIF or TIFF picture of at most 25
            megapixels and 65,535 pixels a side, which is looked at before anything is decoded.

    Example:
        >>> pictures.read("boot.png").shape
        (28, 28, 1)
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    name = str(source) if isinstance(source, str | Path) else name
    max_pixels, max_side = min(max_pixels, MAX_PIXELS), min(max_side, MAX_SIDE)
    content = bytes_of(source, name)
    # Pillow warns of odd metadata, which are no concern here, and of enormous pictures.
    with _quiet():
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
                check_size(name, picture.size, max_pixels, max_side)
                look(picture)
                picture.load()
                if picture.mode in ("I", "F"):
                    raise ImageError(f"{name}: 32-bit values have no fixed range; save it as 8-bit")
                ImageOps.exif_transpose(picture, in_place=True)
                array = _to_array(picture, channels)
                return array if channels is None else as_channels(array, channels)
        except ImageError:
            raise
        except UnidentifiedImageError as error:
            kind = "not a picture that can be read"
            if content[4:8] == b"ftyp":
                kind = "a HEIC or AVIF picture, which is not read: save it as JPEG"
            raise ImageError(f"{name}: {kind}; {EXPECTED}") from error
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise _too_large(name, "", max_pixels) from error
        except MemoryError as error:
            raise NotNow(f"{name}: not enough memory to decode it, or damaged") from error
        # Decoders raise almost anything for damaged files.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ImageError(
                f"{name}: damaged or truncated picture ({reason}); save it again"
            ) from error


@functools.cache
def _quiet() -> Quiet:
    """The same one for all threads."""
    from PIL import Image

    return Quiet(errors=Image.DecompressionBombWarning)


def from_memory(picture: object) -> Array:
    """A picture in memory as uint8 height×width×channels; nothing is guessed.

    Args:
        picture: A uint8 array height×width, height×width×1 or height×width×3 with values 0…255, or
            a PIL picture, which is converted as `read` converts a file.

    Raises:
        ImageError: For another type or shape, saying what would be right.

    Example:
        >>> pictures.from_memory(np.zeros((28, 28), np.uint8)).shape
        (28, 28, 1)
    """
    from PIL import Image, ImageOps

    # Modes F and I have no fixed range of values.
    if isinstance(picture, Image.Image) and picture.mode not in "FI" and 0 not in picture.size:
        check_size("picture", picture.size)
        return _to_array(ImageOps.exif_transpose(picture))
    array = picture if isinstance(picture, np.ndarray) else np.empty((), object)
    has_channels = array.ndim == 2 or array.shape[2:] in ((1,), (3,))
    if array.dtype == np.uint8 and array.size and has_channels:
        return array.reshape(*array.shape[:2], -1)
    raise ImageError(
        f"a picture is a uint8 array height×width, height×width×1 or height×width×3, or a PIL "
        f"picture of 8 bits, got {described(picture)}"
    )


def described(picture: object) -> str:
    """What was given instead of a picture, as the end of an error, with the cure if it has one."""
    if not isinstance(picture, np.ndarray):
        return f"{type(picture).__name__} {getattr(picture, 'mode', '')}".rstrip()
    cure = "floats of 0…1: (x * 255).round().astype('uint8'), values of 0…255: x.astype('uint8')"
    text = f"{picture.dtype} {'×'.join(map(str, picture.shape))}"
    return text if picture.dtype == np.uint8 else f"{text}; {cure}"


def files(paths: Iterable[Path], note: Callable[[str], None]) -> Iterator[Path]:
    """Every picture file among files and folders, one at a time.

    A file is given as it is. Of a folder and the folders in it, it is the files called *.png,
    *.jpg and so on (`SUFFIXES`), in natural order (2 before 10), a folder's own files before
    those of its folders. Left out is what is hidden, and symbolic links to folders and to files
    outside.

    Args:
        paths: Files and folders.
        note: Called with a line for each folder in which something was left out: what and how many.

    Example:
        >>> [str(path) for path in pictures.files([Path("photos")], print)]
        photos: 1 skipped: hidden, a link, or not called .png, .jpg, .jpeg, …
        ['photos/2.jpg', 'photos/10.jpg']
    """

    def unreadable(error: OSError) -> None:
        note(f"{error.filename}: skipped: {error.strerror}")

    for path in paths:
        if not os.path.isdir(path):  # noqa: PTH112 - unlike Path's it never raises
            yield path
            continue
        skipped, root = 0, os.path.realpath(path)
        for folder, folders, names in os.walk(path, onerror=unreadable):
            entered = [n for n in folders if n[0] != "." and not Path(folder, n).is_symlink()]
            skipped += len(folders) - len(entered)
            folders[:] = sorted(entered, key=natural)
            for file in (Path(folder, name) for name in sorted(names, key=natural)):
                inside = Path(os.path.realpath(file)).is_relative_to(root)
                if file.name[0] != "." and file.suffix.lower() in SUFFIXES and inside:
                    yield file
                else:
                    skipped += 1
        if skipped:
            kinds = ", ".join(SUFFIXES)
            note(f"{path}: {skipped:,} skipped: hidden, a link, or not called {kinds}")


def natural(name: str) -> tuple[list[str | Decimal], str]:
    """Digits count as numbers, capitals as small letters."""
    texts = _DIGITS.split(name.lower())
    parts: list[str | Decimal] = [*texts]
    parts[1::2] = map(Decimal, texts[1::2])  # int takes 4,300 digits at most
    return parts, name


def as_channels(picture: Array, channels: int) -> Array:
    """Convert …×1 or …×3 channels to `channels`: grey is repeated, RGB becomes its luma.

    The luma is ITU-R 601's in 65,536ths, (19595 R + 38470 G + 7471 B + 32768) >> 16, as Pillow's
    "L" has it. Raises ImageError for other numbers.
    """
    from PIL import Image

    present = picture.shape[-1]
    if present not in (1, 3) or channels not in (1, 3):
        raise ImageError(f"cannot make {channels} channels of {present}; grey has 1, RGB has 3")
    if present == channels:
        return picture
    if channels == 3:
        return np.repeat(picture, 3, axis=-1)
    rows = picture.reshape(-1, *picture.shape[-2:])
    luma, step = np.empty(rows.shape[:2], np.uint8), max(1, BAND // rows.shape[1])
    for start in range(0, len(rows), step):
        band = Image.fromarray(np.ascontiguousarray(rows[start : start + step]))
        luma[start : start + step] = np.asarray(band.convert("L"))
    return luma.reshape(*picture.shape[:-1], 1)


def bytes_of(source: str | Path | bytes | IO[bytes], name: str) -> bytes:
    """The bytes of a picture's file. Raises ImageError for none, too many, or no regular file."""
    try:
        if isinstance(source, str | Path):
            path = Path(source)
            if path.is_dir():
                raise ImageError(f"{name}: is a folder; {EXPECTED}")
            if not path.exists():
                raise ImageError(f"{name}: no such file; {EXPECTED}")
            if not path.is_file():
                raise ImageError(f"{name}: not a regular file; {EXPECTED}")
            with path.open("rb") as file:
                return bytes_of(file, name)
        content = source if isinstance(source, bytes) else source.read(MAX_BYTES + 1)
    except OSError as error:
        raise NotNow(f"{name}: cannot be read ({error.strerror or error})") from error
    if not content:
        raise ImageError(f"{name}: empty file; {EXPECTED}")
    if len(content) > MAX_BYTES:
        raise ImageError(f"{name}: more than {MAX_BYTES >> 20} MiB; make it smaller")
    return content


def check_size(
    name: str, size: tuple[int, int], max_pixels: int = MAX_PIXELS, max_side: int = MAX_SIDE
) -> None:
    """Raise TooLarge for a width and height of more pixels, or a longer side."""
    width, height = size
    if width * height > max_pixels:
        raise _too_large(name, f"{width}×{height} pixels are ", max_pixels)
    if max(size) > max_side:
        raise TooLarge(f"{name}: a side is longer than {max_side:,} pixels; make it smaller")


def _too_large(name: str, size: str, limit: int) -> TooLarge:
    megapixels, rest = divmod(limit, 1_000_000)
    most = f"{limit:,} pixels" if rest else f"{megapixels:,} megapixels"
    return TooLarge(f"{name}: {size}more than {most}; make it smaller")


def _to_array(picture: Picture, channels: int | None = None) -> Array:
    """A decoded picture of any mode to uint8 h×w×1 or h×w×3, over white where it is transparent.

    In bands of rows: with transparency, arithmetic takes 28 bytes a pixel.
    """
    width, height = picture.size
    step = max(1, BAND // width)
    if step >= height:
        return _band(picture, channels)
    bands = (
        (top, _band(picture.crop((0, top, width, min(top + step, height))), channels))
        for top in range(0, height, step)
    )
    first = next(bands)[1]
    result = np.empty((height, width, first.shape[2]), np.uint8)
    result[:step] = first
    for top, band in bands:
        result[top : top + step] = band
    return result


def _band(picture: Picture, channels: int | None) -> Array:
    if picture.mode.startswith("I"):
        return _from_sixteen_bits(picture)
    grey = picture.mode in ("1", "L", "LA")
    if not picture.has_transparency_data:
        mode = "L" if grey else "RGB"
        if picture.mode != mode:  # else it would be copied
            picture = picture.convert(mode)
        values = np.asarray(picture.convert("L") if channels == 1 else picture)
        return np.array(values.reshape(*values.shape[:2], -1))
    values = np.asarray(picture.convert("LA" if grey else "RGBA")).astype(np.uint32)
    colour, alpha = values[..., :-1], values[..., -1:]
    over_white: Array = ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return over_white


def _from_sixteen_bits(picture: Picture) -> Array:
    """Grey of 0…65535 to 0…255, rounded; the value that a PNG declares transparent is white."""
    values = np.asarray(picture).astype(np.uint32)
    grey = ((values + 128) // 257).astype(np.uint8)
    if "transparency" in picture.info:
        grey[values == picture.info["transparency"]] = 255
    return grey[..., np.newaxis]
