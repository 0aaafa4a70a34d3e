"""Files that are whole or absent: written beside their place, synced, then renamed into it."""

from __future__ import annotations

import contextlib
import datetime
import errno
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from netinnet.errors import NetinnetError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What systems say where there is no space left."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that takes the place of `path` when the block ends without an error.

    What was written can be read back before that (`seek`, `read`). The content is on the disk
    before the rename, so after a crash `path` is the old file or the new one. Raises NetinnetError
    for a full disk or a folder that can't be written.
    """
    with writing(path):
        make_folder(path.parent)
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
            with contextlib.suppress(OSError):  # what went wrong is said, not that it stays
                os.unlink(temporary)
        sync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file, atomically: see `replacing`."""
    with writing(path, len(content)), replacing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_bytes(path, text.encode())


class CannotWrite(NetinnetError):
    """A file could not be written; `error` is the system's."""

    def __init__(self, message: str, error: OSError) -> None:
        super().__init__(message)
        self.error = error


@contextlib.contextmanager
def writing(path: Path, size: int | None = None) -> Iterator[None]:
    """Turn an OSError of the block, which writes `path`, into CannotWrite, one line.

    `size` is what is written, in bytes, if that is known.
    """
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error, size) from error
    except CannotWrite as failed:
        if size is None:
            raise
        raise cannot_write(path, failed.error, size) from failed.error


def cannot_write(path: Path, error: OSError, size: int | None = None) -> CannotWrite:
    """One line for a write that failed: what, where, and what would be right."""
    reason = error.strerror or str(error)
    if error.errno in FULL and size is not None:
        free = free_bytes(path.parent)
        reason += f": it needs {size:,} bytes" + ("" if free is None else f", {free:,} are free")
    cure = _cure(path, error)
    text = f"{path}: cannot be written ({reason})" + (f"; {cure}" if cure else "")
    return CannotWrite(text, error)


def _cure(path: Path, error: OSError) -> str | None:
    """What would put it right, where that is known."""
    elsewhere = (errno.EACCES, errno.EROFS, errno.EEXIST, errno.ENOTDIR)
    if error.errno in (*FULL, *elsewhere) and _is_in_cache(path):
        other = "NETINNET_CACHE names another folder for the cache"
        return f"free some space, or {other}" if error.errno in FULL else other
    return {
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "free some space",
        errno.ENOENT: "its folder is gone: put it back",
        errno.EACCES: "choose a folder you may write to",
        errno.EROFS: "choose a folder you may write to",
        errno.EEXIST: "its folder's name is that of a file: choose another place",
        errno.ENOTDIR: "choose another place",
        errno.EISDIR: "choose another name",
    }.get(error.errno or 0)


def _is_in_cache(path: Path) -> bool:
    return path.resolve().is_relative_to(cache_root().resolve())


def free_bytes(folder: Path) -> int | None:
    """Bytes that can be written into a folder that is there or will be made, if known."""
    there = next((f for f in (folder, *folder.absolute().parents) if f.is_dir()), Path())
    try:
        return shutil.disk_usage(there).free
    except OSError:
        return None


def make_folder(folder: Path) -> None:
    """Make a folder and those above it where they are missing, and their names durable."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def _umask() -> int:
    # Linux tells it. Elsewhere it is asked by setting it, for a moment, for all threads.
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text("ascii", "replace")
        if found := re.search(r"^Umask:\s*([0-7]+)", status, re.MULTILINE):
            return int(found[1], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


_NO_SYNC = (errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EISDIR)
"""What systems say that can't sync a folder: Windows and some mounts."""


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, as after a rename, where the system can do that."""
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def remove_temporary(folder: Path) -> None:
    """Remove the half-written files that a kill left in a folder that no other process writes."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


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
    # Not in the loop: a file of the parent's name would be tried for ever.
    with writing(parent):
        make_folder(parent)
    stamp = datetime.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    for n in itertools.count(1):
        folder = parent / f"{stamp}-{name}{'' if n == 1 else f'-{n}'}"
        with writing(folder), contextlib.suppress(FileExistsError):
            folder.mkdir()
            sync_folder(parent)
            return folder
    raise AssertionError("unreachable")
