"""One process at a time trains in a folder: its lock, who holds it, and who held it before."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from netinnet.errors import NetinnetError
from netinnet.files import writing

LOCK_FILE = ".lock"
BEAT_SECONDS = 10.0
"""How often a holder touches its lock: locks of the system need not reach other machines."""
ALIVE_SECONDS = 60.0
"""A holder on another machine whose lock is older than this has ended without a word."""


@dataclass(frozen=True)
class Claim:
    """A folder that is this process's. `before` says whose it was, if that one was killed."""

    folder: Path
    before: str = ""
    lock: IO[str] | None = None

    def check(self) -> None:
        """Raise NetinnetError where the folder is gone, or another one has its name."""
        if not self._is_there():
            raise NetinnetError(
                f"{self.folder}: moved or removed while it was trained in; put it back"
            )

    def _is_there(self) -> bool:
        if self.lock is None:  # no locks here (Windows)
            return self.folder.is_dir()
        try:
            there = os.stat(self.folder / LOCK_FILE)  # noqa: PTH116
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(self.lock.fileno()))


def check_inside(place: Path, folder: Path) -> None:
    """Raise NetinnetError where a path below a folder leads out of it by a link.

    What is written there would be written elsewhere: a run may have come from somebody else.
    """
    if not Path(os.path.realpath(place)).is_relative_to(os.path.realpath(folder)):
        raise NetinnetError(
            f"{place}: leads out of its folder by a link, and would be written to; put there what "
            f"it leads to, or make the whole folder a link"
        )


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[Claim]:
    """Keep other processes from training in a folder.

    A lock of the system's, which a kill frees, tells apart those of one machine, and of others
    where the file system carries locks. Elsewhere the lock's age tells: its holder touches it.
    Raises NetinnetError where another process holds it, or something in it is a link out of it.
    """
    for place in folder.iterdir() if folder.is_dir() else ():
        check_inside(place, folder)
    try:
        import fcntl
    except ImportError:  # Windows
        yield Claim(folder)
        return
    with writing(folder / LOCK_FILE):
        file = (folder / LOCK_FILE).open("a+", encoding="utf-8")
    with file:
        holder = _holder(file)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _taken(folder, holder) from None
        holder = _holder(file)
        is_elsewhere = bool(holder) and holder.get("host") != platform.node()
        if is_elsewhere and _age(file, folder) < ALIVE_SECONDS:
            raise _taken(folder, holder)
        # Who holds it is a help; on a full disk the system's lock alone must do.
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        _note(file, json.dumps({"host": platform.node(), "process": os.getpid(), "since": now}))
        ended = threading.Event()
        beat = threading.Thread(target=_beat, args=(file, ended), daemon=True, name="claim")
        beat.start()
        try:
            yield Claim(folder, _described(holder), file)
        finally:
            ended.set()
            beat.join()
            _note(file, "")


def _beat(file: IO[str], ended: threading.Event) -> None:
    while not ended.wait(BEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(file.fileno())


def _note(file: IO[str], text: str) -> None:
    with contextlib.suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), text.encode())  # at its end: it was opened to append


def _holder(file: IO[str]) -> dict[str, Any]:
    """What the lock says of who holds it, or held it when it was killed; {} for nothing."""
    file.seek(0)
    try:
        found = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _described(holder: dict[str, Any]) -> str:
    """ "process 12 on host, since …" of a holder, "" for none."""
    if not holder:
        return ""
    words = [ascii(holder.get(name, "?")).strip("'") for name in ("process", "host", "since")]
    return "process {} on {}, since {}".format(*words)


def _taken(folder: Path, holder: dict[str, Any]) -> NetinnetError:
    who = _described(holder)
    more = f" ({who})" if who else ""
    return NetinnetError(f"{folder}: another process is training in this folder{more}")


def _age(file: IO[str], folder: Path) -> float:
    """Seconds since the lock was touched, by the clock of the machine that keeps the files."""
    with writing(folder), tempfile.TemporaryFile(dir=folder) as now:
        return os.fstat(now.fileno()).st_mtime - os.fstat(file.fileno()).st_mtime
