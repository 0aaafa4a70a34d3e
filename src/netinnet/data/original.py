"""Published files: their content is checked against its size and SHA-256 before it is used."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from dataclasses import dataclass
from pathlib import Path

from netinnet.errors import DataError

# What a gzip container may add to content that doesn't compress at all, generously.
CONTAINER_BYTES = 1 << 20


@dataclass(frozen=True)
class OriginalFile:
    """What a published file must be: its name, and size and SHA-256 of its content.

    `gzip` says that it is published as NAME.gz. Such containers differ between distributors, so
    only the content in them is compared, and the plain file will do too.
    """

    name: str
    size: int
    sha256: str
    gzip: bool = False

    @property
    def packed_name(self) -> str:
        """The name under which it is published and kept."""
        return f"{self.name}.gz" if self.gzip else self.name

    @property
    def largest_container(self) -> int:
        """No honest file, compressed or not, has more bytes than this."""
        return self.size + CONTAINER_BYTES if self.gzip else self.size

    def find(self, folder: Path) -> Path | None:
        """The plain or compressed file in `folder`; None where neither is there."""
        for path in (folder / self.name, folder / self.packed_name):
            try:
                if path.is_file():
                    return path
            except PermissionError:
                return path  # reading it says that it may not be read
        return None


def read(path: Path, file: OriginalFile) -> bytes:
    """Return the content of `path`, checked. Raises DataError if it isn't `file`."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(file.largest_container + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    return checked(raw, file, str(path))


def checked(raw: bytes, file: OriginalFile, where: str) -> bytes:
    """Compare `raw`, or what it holds as gzip, with `file`. Raises DataError if it differs.

    Never makes more than one byte beyond the expected size, so a decompression bomb stays small.
    """
    packed = file.gzip and raw[:2] == b"\x1f\x8b"
    content = decompress(raw, file.size, where) if packed else raw
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


def decompress(raw: bytes, size: int, where: str) -> bytes:
    """At most `size` + 1 bytes of gzip data; deflate makes 1032 times as much of them at most."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as stream:
            return stream.read(min(size, 1032 * len(raw)) + 1)
    except EOFError as error:
        raise DataError(f"{where}: truncated, the gzip data end early") from error
    except (OSError, zlib.error) as error:
        raise DataError(f"{where}: damaged gzip data") from error
