"""A body to pictures: uint8 arrays n×height×width×channels, as the model takes them.

Everything is a function of bytes and limits alone, so that it may run in a thread, or in a process
that can be ended.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from netinnet.data import pictures
from netinnet.data.pictures import as_channels
from netinnet.errors import ImageError
from netinnet.serve.limits import Limits
from netinnet.serve.problems import Problem

Pictures = npt.NDArray[np.uint8]

RAW = "application/octet-stream"
NPY = "application/x-npy"
FORM = "multipart/form-data"
PICTURES = tuple(f"image/{kind}" for kind in ("png", "jpeg", "webp", "bmp", "gif", "tiff"))
KINDS = (*PICTURES, FORM, RAW, NPY)
"""The content types of a body."""
_SHAPE = re.compile(r"[0-9]{1,9}(,[0-9]{1,9}){1,3}")


class Part(NamedTuple):
    """One picture's file, or one array, as it came."""

    kind: str
    """Its content type, one of `KINDS`; not a form's."""
    content: bytes
    name: str = "picture"
    """What errors call it."""
    shape: str = ""
    """Of a raw array: sizes with commas between."""


def decode(parts: Sequence[Part], channels: int, limits: Limits) -> list[Pictures]:
    """The pictures of a request, in order, in arrays n×height×width×channels.

    Args:
        parts: What came.
        channels: Those of the network, 1 or 3: grey and RGB are converted.
        limits: How many pictures there may be, and how large.

    Raises:
        Problem: 400 for an array's shape that cannot be, 413 for what is too large or too many, 422
            for what is no picture.

    Example:
        >>> decode([Part(RAW, bytes(784), shape="28,28,1")], 1, Limits())[0].shape
        (1, 28, 28, 1)
    """
    arrays: list[Pictures] = []
    count = values = 0
    try:
        for part in parts:
            reader = READERS.get(part.kind)
            array = reader(part, limits) if reader else _picture(part, channels, limits)
            count += len(array)
            if count > limits.max_pictures:
                few = f"more than {limits.max_pictures} pictures; send fewer at a time"
                raise Problem(413, few)
            arrays.append(as_channels(array, channels))
            values += arrays[-1].size
            if values > limits.values_at_once:
                most = f"{limits.values_at_once:,} values"
                raise Problem(413, f"all pictures together have more than {most}; send fewer")
    except pictures.TooLarge as error:
        raise Problem(413, str(error)) from error
    except ImageError as error:
        raise Problem(422, str(error)) from error
    return arrays


def _picture(part: Part, channels: int, limits: Limits) -> Pictures:
    """1×height×width×channels of a PNG, JPEG …; its size is looked at before it is decoded."""
    return pictures.read(
        part.content,
        part.name,
        channels=channels,
        max_pixels=limits.max_pixels,
        max_side=limits.max_side,
    )[None]


def _raw(part: Part, limits: Limits) -> Pictures:
    """Bytes in the order of rows, columns, channels."""
    if not _SHAPE.fullmatch(part.shape):
        got = f"got {part.shape!r}" if part.shape else "there is none"
        raise Problem(
            400, f"raw values need their shape, as in ?shape=28,28,1 or X-Shape: 28,28,1; {got}"
        )
    shape = tuple(map(int, part.shape.split(",")))
    if len(part.content) != math.prod(shape):
        sizes = "×".join(map(str, shape))
        raise Problem(
            400, f"{part.name}: {len(part.content):,} bytes are no uint8 array of {sizes}"
        )
    return _batch(part.name, np.frombuffer(part.content, np.uint8).reshape(shape), limits)


def _npy(part: Part, limits: Limits) -> Pictures:
    """NumPy's own file; never unpickled, and nothing is made of a shape before it is checked."""
    file = io.BytesIO(part.content)
    readers: dict[tuple[int, int], Callable[..., tuple[tuple[int, ...], bool, np.dtype]]] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        shape, is_fortran, dtype = readers[np.lib.format.read_magic(file)](file)
    except Exception as error:  # a damaged header raises almost anything
        raise Problem(422, f"{part.name}: not a .npy file of version 1 or 2") from error
    if dtype != np.uint8:
        raise Problem(422, f"{part.name}: holds {dtype}; pictures are uint8, values 0…255")
    values = np.frombuffer(part.content, np.uint8, offset=file.tell())
    damaged = Problem(422, f"{part.name}: damaged or truncated .npy file")
    if not is_shape(shape) or len(values) != math.prod(shape):
        raise damaged
    try:
        array = values.reshape(shape, order="F" if is_fortran else "C")
    except (ValueError, OverflowError) as error:  # too many sizes; large ones beside a 0
        raise damaged from error
    return _batch(part.name, array, limits)


def is_shape(sizes: Sequence[object]) -> bool:
    """Whether these are whole numbers, none below 0: a stranger may say anything."""
    return all(type(size) is int and size >= 0 for size in sizes)


def _batch(name: str, array: Pictures, limits: Limits) -> Pictures:
    """h×w, h×w×c or n×h×w×c to n×h×w×c."""
    has_channels = array.ndim == 2 or (array.ndim in (3, 4) and array.shape[-1] in (1, 3))
    if not has_channels or not array.size:
        sizes = "×".join(map(str, array.shape))
        raise Problem(
            400,
            f"{name}: pictures are height×width, height×width×1 or 3, or n×height×width×1 or 3; "
            f"got {sizes or 'a single value'}",
        )
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim == 3:
        array = array[None]
    size = array.shape[2], array.shape[1]
    pictures.check_size(name, size, limits.max_pixels, limits.max_side)
    return array


READERS: dict[str, Callable[[Part, Limits], Pictures]] = {RAW: _raw, NPY: _npy}
"""What reads a part by its content type; all others are picture files."""
