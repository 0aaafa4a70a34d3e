"""Files that are whole or absent: written beside their place, synced, then renamed into it."""

from __future__ import annotations

import contextlib
import datetime
import errno
import itertools
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from netinnet.errors import NetinnetError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that takes the place of `path` when the block ends without an error.

    What was written can be read back before that (`seek`, `read`). The content is on the disk
    before the rename, so after a crash `path` is the old file or the new one. Raises NetinnetError
    for a full disk or a folder that can't be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
        )
        try:
            with os.fdopen(handle, "w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(PermissionError):  # file systems without permissions
                Path(temporary).chmod(0o666 & ~_umask())
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
    _sync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file, atomically: see `replacing`."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_bytes(path, text.encode())


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError of the block, which writes `path`, into NetinnetError of one line."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> NetinnetError:
    """One line for a write that failed: what, where, and what would be right."""
    reason = error.strerror or str(error)
    cure = {
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "free some space",
        errno.EACCES: "choose a folder you may write to",
        errno.EROFS: "choose a folder you may write to",
        errno.ENOTDIR: "choose another place",
        errno.EISDIR: "choose another name",
    }.get(error.errno or 0)
    return NetinnetError(f"{path}: cannot be written ({reason})" + (f"; {cure}" if cure else ""))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, where the system can sync a folder (Windows and some mounts can't)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def cache_root() -> Path:
    """Where what was fetched or made of files is kept: NETINNET_CACHE, or the platform's cache."""
    from platformdirs import user_cache_path

    root = os.environ.get("NETINNET_CACHE")
    return Path(root) if root else user_cache_path("netinnet")


def folder_name(name: str) -> str:
    """A name as that of a folder, on any system."""
    return re.sub(r"[^\w.=,+-]", "-", name).strip(".") or "unnamed"


def new_dated_folder(parent: Path, name: str) -> Path:
    """Make parent/DATE-name, a folder that no other process has.

    Raises NetinnetError where it cannot be written.
    """
    stamp = datetime.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    for n in itertools.count(1):
        folder = parent / f"{stamp}-{name}{'' if n == 1 else f'-{n}'}"
        with writing(folder), contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AssertionError("unreachable")
