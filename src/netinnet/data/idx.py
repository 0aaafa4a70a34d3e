"""IDX, the file format of MNIST and its kin.

A file is a header and then bytes: two zeros, the type of an element (0x08: unsigned byte), the
number of dimensions, each dimension as a big-endian 32-bit number, and the elements in row order.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from netinnet.data.original import OriginalFile, decompress
from netinnet.data.source import Arrays, digest_of
from netinnet.errors import DataError
from netinnet.units import times

UNSIGNED_BYTE = 0x08
HEADER_BYTES = 4 + 4 * 32  # of the longest header


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
                shape, start = _header(decompress(raw, HEADER_BYTES, where), where)
                return parse_idx(decompress(raw, start + math.prod(shape), where), where)
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
            f"{where}: {behind:,} bytes after the IDX header, which announces"
            f" {times(shape)} = {math.prod(shape):,}"
        )


def files(listed: str) -> tuple[OriginalFile, ...]:
    """The four files of a data set, gzip or plain, from lines of name, size and SHA-256."""
    lines = map(str.split, listed.strip().splitlines())
    return tuple(OriginalFile(name, int(size), sha256, gzip=True) for name, size, sha256 in lines)


def splits(found: Sequence[tuple[Path, bytes]]) -> tuple[Arrays, Arrays]:
    """The training and the test split in the content of those four: pictures, labels, of each."""
    train, train_labels, test, test_labels = (parse_idx(c, str(path)) for path, c in found)
    return _split(train, train_labels), _split(test, test_labels)


def _split(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> Arrays:
    # Copied, because PyTorch warns of memory that it may not write to.
    return Arrays(np.array(images)[..., np.newaxis], labels.astype(np.int64))


def digest(originals: Sequence[OriginalFile]) -> str:
    """The data set's digest, which is known without reading those four."""
    train, train_labels, test, test_labels = (file.sha256 for file in originals)
    return digest_of({"train": (train, train_labels), "test": (test, test_labels)})
