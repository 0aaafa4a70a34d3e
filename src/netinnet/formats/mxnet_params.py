"""MXNet's `.params` files, read and written without MXNet: a list of arrays, then their names.

All numbers are little-endian. MXNet is no longer developed, so the format will not change; this is
the part of it that holds dense arrays (`NDArray::Save` in its sources, versions 2 and 3).
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from netinnet.errors import ModelError
from netinnet.files import write_bytes

_LIST = 0x112
_VERSION_2, _VERSION_3 = 0xF993FAC9, 0xF993FACA
"""Version 3 differs in what a size of 0 means; weights have none."""
_DENSE, _CPU = 0, 1
_TYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "u1", 4: "<i4", 5: "i1", 6: "<i8"}
_LARGEST_RANK = 8


def read(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The named arrays in order. Raises ModelError where the file is damaged or something else."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        return _Reader(data).arrays()
    except (struct.error, ValueError, KeyError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: not an MXNet .params file, or damaged ({error})") from error


class _Reader:
    """Reads numbers off a file's bytes; each read is checked against what is left."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def number(self, form: str) -> int:
        value: int = struct.unpack_from(f"<{form}", self.data, self.place)[0]
        self.place += struct.calcsize(f"<{form}")
        return value

    def bytes(self, count: int) -> bytes:
        if not 0 <= count <= len(self.data) - self.place:
            raise ValueError(f"it ends in the middle, {len(self.data):,} bytes long")
        self.place += count
        return self.data[self.place - count : self.place]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        if self.number("Q") != _LIST:
            raise ValueError("it does not begin as one")
        self.number("Q")
        arrays = [self.array() for _ in range(self.count())]
        names = [self.bytes(self.number("Q")).decode() for _ in range(self.count())]
        if len(names) != len(arrays):
            raise ValueError(f"{len(arrays)} arrays, {len(names)} names")
        return {_dotted(name): array for name, array in zip(names, arrays, strict=True)}

    def count(self) -> int:
        count = self.number("Q")
        if count > len(self.data):
            raise ValueError(f"{count} arrays in {len(self.data):,} bytes")
        return count

    def array(self) -> npt.NDArray[Any]:
        if self.number("I") not in (_VERSION_2, _VERSION_3):
            raise ValueError("an array of a version that is not known")
        if self.number("i") != _DENSE:
            raise ValueError("a sparse array")
        rank = self.number("i")
        if not 0 < rank <= _LARGEST_RANK:
            raise ValueError(f"an array of {rank} axes")
        shape = [self.number("q") for _ in range(rank)]
        if min(shape) < 0:
            raise ValueError(f"an array of shape {shape}")
        self.number("i"), self.number("i")  # where it was: device and its index
        dtype = np.dtype(_TYPES[self.number("i")])
        values = self.bytes(math.prod(shape) * dtype.itemsize)
        return np.frombuffer(values, dtype).reshape(shape)


def _dotted(name: str) -> str:
    """LAYER.TENSOR: what `net.export` writes says `arg:` or `aux:` in front and has no dots."""
    return _FLAT.sub(r"\1.\2", name.removeprefix("arg:").removeprefix("aux:"))


_FLAT = re.compile(r"^([^.]+)_(weight|bias|gamma|beta|running_mean|running_var|alpha)$")


def write(path: Path, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write named float32 arrays, atomically; `net.load_parameters(path)` reads them."""
    parts = [struct.pack("<QQQ", _LIST, 0, len(tensors))]
    for array in tensors.values():
        sizes = struct.pack(f"<i{array.ndim}q", array.ndim, *array.shape)
        parts += [struct.pack("<Ii", _VERSION_2, _DENSE), sizes, struct.pack("<iii", _CPU, 0, 0)]
        parts.append(np.ascontiguousarray(array, "<f4").tobytes())
    parts.append(struct.pack("<Q", len(tensors)))
    for name in tensors:
        parts += [struct.pack("<Q", len(name.encode())), name.encode()]
    write_bytes(path, b"".join(parts))
