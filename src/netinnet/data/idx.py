"""IDX, the file format of MNIST and its kin: parsing, and checking content against its SHA-256.

A file is a header and then bytes: two zeros, the type of an element (0x08: unsigned byte), the
number of dimensions, each dimension as a big-endian 32-bit number, and the elements in row order.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from netinnet.errors import DataError
from netinnet.units import times

UNSIGNED_BYTE = 0x08
# What a gzip container may add to content that doesn't compress at all, generously.
CONTAINER_BYTES = 1 << 20
HEADER_BYTES = 4 + 4 * 32  # of the longest header


@dataclass(frozen=True)
class IdxFile:
    """What a file must be: its name without ".gz", and size and SHA-256 of the content in it.

    The gzip containers differ between distributors, so only the decompressed content is compared.
    """

    name: str
    size: int
    sha256: str

    @property
    def largest_container(self) -> int:
        """No honest file, compressed or not, has more bytes than this."""
        return self.size + CONTAINER_BYTES

    def find(self, folder: Path) -> Path | None:
        """The plain or compressed file in `folder`; None where neither is there."""
        for path in (folder / self.name, folder / f"{self.name}.gz"):
            try:
                if path.is_file():
                    return path
            except PermissionError:
                return path  # reading it says that it may not be read
        return None


def read(path: Path, file: IdxFile) -> bytes:
    """Return the decompressed content of `path`, checked. Raises DataError if it isn't `file`."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(file.largest_container + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    return checked(raw, file, str(path))


def checked(raw: bytes, file: IdxFile, where: str) -> bytes:
    """Decompress `raw` if it is gzip and compare it with `file`. Raises DataError if it differs.

    Never makes more than one byte beyond the expected size, so a decompression bomb stays small.
    """
    content = _decompress(raw, file.size, where) if raw[:2] == b"\x1f\x8b" else raw
    if len(content) < file.size:
        raise DataError(
            f"{where}: truncated, it holds {len(content):,} bytes instead of {file.size:,}"
        )
    if len(content) > file.size:
        raise DataError(f"{where}: too long, it holds more than {file.size:,} bytes")
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise DataError(
            f"{where}: not the original {file.name}, its SHA-256 is {digest[:12]}…"
            f" instead of {file.sha256[:12]}…"
        )
    return content


def _decompress(raw: bytes, size: int, where: str) -> bytes:
    """At most `size` + 1 bytes of gzip data; deflate makes 1032 times as much of them at most."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as stream:
            return stream.read(min(size, 1032 * len(raw)) + 1)
    except EOFError as error:
        raise DataError(f"{where}: truncated, the gzip data end early") from error
    except (OSError, zlib.error) as error:
        raise DataError(f"{where}: damaged gzip data") from error


def parse_idx(content: bytes, where: str) -> npt.NDArray[np.uint8]:
    """Parse the content of an IDX file of unsigned bytes into a read-only array of its shape.

    `where` begins every error. Raises DataError for another format or element type, a dimension
    of 0, or a length that isn't the header's.
    """
    shape, start = _header(content, where)
    _check_length(len(content) - start, shape, where)
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def open_idx(path: Path) -> npt.NDArray[np.uint8]:
    """The array in an IDX file, read-only: memory-mapped, or in memory where it is gzip.

    Of gzip data no more is unpacked than the header promises. Raises DataError as `parse_idx` does.
    """
    where = str(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(HEADER_BYTES)
            if raw[:2] == b"\x1f\x8b":
                raw += stream.read()
                shape, start = _header(_decompress(raw, HEADER_BYTES, where), where)
                return parse_idx(_decompress(raw, start + math.prod(shape), where), where)
        shape, start = _header(raw, where)
        _check_length(path.stat().st_size - start, shape, where)
        return np.memmap(path, np.uint8, "r", start, shape)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _header(content: bytes, where: str) -> tuple[tuple[int, ...], int]:
    """The shape that an IDX header promises, and its length."""
    if len(content) < 4 or content[:2] != b"\0\0":
        raise DataError(
            f"{where}: not an IDX file, it should begin with two zero bytes, the element type"
            f" and the number of dimensions, not with {content[:4].hex(' ') or 'nothing'}"
        )
    kind, dimensions = content[2], content[3]
    if kind != UNSIGNED_BYTE:
        raise DataError(f"{where}: IDX elements of type 0x{kind:02x}, expected 0x08 (bytes)")
    if not 1 <= dimensions <= 32:  # 32 is what every NumPy can hold
        raise DataError(f"{where}: IDX with {dimensions} dimensions, expected 1 to 32")
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DataError(f"{where}: truncated, {len(content)} bytes of an IDX header of {start}")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if 0 in shape:
        raise DataError(f"{where}: IDX of {times(shape)} elements, no dimension may be 0")
    return shape, start


def _check_length(behind: int, shape: tuple[int, ...], where: str) -> None:
    if behind != math.prod(shape):
        raise DataError(
            f"{where}: {behind:,} bytes behind the IDX header, which promises"
            f" {times(shape)} = {math.prod(shape):,}"
        )
