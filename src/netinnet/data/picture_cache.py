"""What the cache keeps of folders of pictures, and which of it no folder needs any more."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from netinnet.data.picture_store import store_prefix
from netinnet.data.picture_table import FORMAT, read_kept
from netinnet.files import writing

LEFT_BEHIND_SECONDS = 24 * 3600
"""A temporary file that nobody wrote to for so long is of a process that was killed."""


@dataclass(frozen=True)
class Cached:
    """A file of the cache. `reason` says why it is old; it is needed where there is none."""

    file: Path
    bytes: int
    reason: str = ""


def files(cache: Path) -> list[Cached]:
    """The looks and stores in a cache, each with what makes it old.

    A look is old where its folder is gone. A store is old where no folder's newest look has the
    pictures it was made of.
    """
    found = sorted(cache.iterdir()) if cache.is_dir() else []
    looks = {file: read_kept(file) for file in found if file.match(f"look{FORMAT}-*.npz")}
    needed = {f: kept for f, kept in looks.items() if kept.folder and Path(kept.folder).exists()}
    prefixes = tuple(store_prefix(kept.sha256.tobytes()) for kept in needed.values())
    result = []
    for file in found:
        status = file.stat()
        reason = ""
        if file.suffix == ".tmp":
            if time.time() - status.st_mtime < LEFT_BEHIND_SECONDS:
                continue
            reason = "left behind by a process that was killed"
        elif file.match("look*.npz") and file not in needed:
            folder = looks[file].folder if file in looks else ""
            reason = f"{folder} is gone" if folder else "of another version, or damaged"
        elif file.match("store-*.npy") and not file.name.startswith(prefixes):
            reason = "of pictures that no folder had when this version looked at it last"
        elif not file.match("look*.npz") and not file.match("store-*.npy"):
            continue
        result.append(Cached(file, status.st_size, reason))
    return result


def clean(cache: Path) -> list[Cached]:
    """Remove what is old; returns `files` as they were. All of it is made anew where it is needed.

    Raises NetinnetError where one can't be removed.

    Example: `sum(file.bytes for file in clean(cache_folder()) if file.reason)`.
    """
    found = files(cache)
    for old in found:
        if old.reason:
            with writing(old.file):
                old.file.unlink(missing_ok=True)
    return found
