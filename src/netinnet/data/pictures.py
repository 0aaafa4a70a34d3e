"""One picture file to an array: what is not a picture, or is too large, is refused in one line."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from netinnet.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MAX_PIXELS = 50_000_000
EXPECTED = "expected a PNG, JPEG, WebP or BMP picture"

Array = npt.NDArray[np.uint8]


def read(path: Path) -> Array:
    """Read a picture as uint8 height×width×channels, 1 channel for grey and 3 for RGB.

    EXIF orientation is applied. Transparent pixels are laid over white, as on the page that they
    were made for. 16-bit grey is scaled to 8 bits. Of an animation it is the first frame. Colour
    profiles are not applied. Raises ImageError for anything but a PNG, JPEG, WebP or BMP picture of
    at most 50 megapixels, which is looked at before anything is decoded.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    _check_file(path)
    with warnings.catch_warnings():
        # Pillow warns of odd metadata, which are no concern here, and of enormous pictures.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=FORMATS) as picture:
                _check_size(path, picture.size)
                picture.load()
                return _to_array(ImageOps.exif_transpose(picture))
        except ImageError:
            raise
        except UnidentifiedImageError as error:
            raise ImageError(f"{path}: not a picture that can be read; {EXPECTED}") from error
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise _too_large(path, "") from error
        # Decoders raise almost anything for damaged files.
        except Exception as error:
            raise ImageError(
                f"{path}: damaged or truncated picture ({_one_line(error)}); save it again"
            ) from error


def as_channels(picture: Array, channels: int) -> Array:
    """Convert …×1 or …×3 channels to `channels`: grey is repeated, RGB becomes its luma.

    The luma is ITU-R 601's, rounded as Pillow's "L" does it. Raises ImageError for other numbers.
    """
    present = picture.shape[-1]
    if present not in (1, 3) or channels not in (1, 3):
        raise ImageError(f"cannot make {channels} channels of {present}; grey has 1, RGB has 3")
    if present == channels:
        return picture
    if channels == 3:
        return np.repeat(picture, 3, axis=-1)
    # Weights in 65,536ths of 0.299, 0.587, 0.114.
    weighted = picture.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32)
    return ((weighted + 0x8000) >> 16).astype(np.uint8)[..., np.newaxis]


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise ImageError(f"{path}: is a folder; {EXPECTED}")
        if not path.exists():
            raise ImageError(f"{path}: no such file; {EXPECTED}")
        if not path.is_file():
            raise ImageError(f"{path}: not a regular file; {EXPECTED}")
        if path.stat().st_size == 0:
            raise ImageError(f"{path}: empty file; {EXPECTED}")
        with path.open("rb"):
            pass
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error})") from error


def _check_size(path: Path, size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise _too_large(path, f"{width}×{height} pixels are ")


def _too_large(path: Path, size: str) -> ImageError:
    limit = MAX_PIXELS // 1_000_000
    return ImageError(f"{path}: {size}more than {limit} megapixels; make it smaller")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _to_array(picture: Picture) -> Array:
    """A decoded picture of any mode to uint8 h×w×1 or h×w×3, over white where it is transparent."""
    if picture.mode.startswith("I"):
        return _from_sixteen_bits(picture)
    grey = picture.mode in ("1", "L", "LA")
    if not picture.has_transparency_data:
        values = np.asarray(picture.convert("L" if grey else "RGB"))
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
