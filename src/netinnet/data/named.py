"""A data set that has a name: where its files are found, how they are fetched and checked.

They are looked for in the folder that the user names; else in netinnet's cache and in the system's
folder, and then they are fetched into the cache, from each source in turn. Wherever they come from,
their content is checked. What the files are and mean, each data set's own module says.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from netinnet import files
from netinnet.data import debian, download
from netinnet.data.original import OriginalFile, read
from netinnet.data.source import Arrays, Dataset, DatasetRecord, Facts, Progress, silent
from netinnet.errors import DataError, NetinnetError

Originals = Sequence[OriginalFile]
Fetch = Callable[[Originals, Path, Progress], list[str]]
"""Puts files into a folder; returns why it could not, or an empty list."""
Parse = Callable[[Sequence[tuple[Path, bytes]]], tuple[Arrays, Arrays]]
"""Makes the training and the test split of the files' paths and checked content, in order."""


def mirrors(addresses: Sequence[str]) -> Fetch:
    """Fetches from folders on the web, over HTTPS."""
    return lambda wanted, folder, progress: download.fetch(wanted, addresses, folder, progress)


def debian_package(package: str, system_folder: Path) -> Fetch:
    """Fetches from a Debian package, which would install the files into `system_folder`."""
    inside = str(system_folder.relative_to("/"))
    return lambda wanted, folder, progress: debian.fetch(wanted, package, inside, folder, progress)


@dataclass(frozen=True)
class Status:
    """Where the data set is (None: nowhere yet), whether its content is right, and words for it."""

    folder: Path | None
    verified: bool
    message: str
    name: str


@dataclass(frozen=True)
class NamedDataset:
    """All that is known of a data set before it is loaded.

    `files` are the published ones, which are fetched; the `unpacked` ones will do in their place.
    `inside` is the folder below `--data-dir` in which other programs keep them. `pickled` are names
    of a version that is refused. `digest` is that of the content, where the files' SHA-256 say it,
    and `requires` raises NetinnetError where something is missing for reading them.
    """

    name: str
    title: str
    description: str
    facts: Facts
    counts: Mapping[str, int]
    megabytes: int
    """To be fetched."""
    files: tuple[OriginalFile, ...]
    sources: tuple[Fetch, ...]
    parse: Parse
    unpacked: tuple[OriginalFile, ...] = ()
    inside: str = ""
    system_folder: Path | None = None
    pickled: tuple[str, ...] = ()
    digest: Callable[[Originals], str] = lambda _files: ""
    requires: Callable[[], None] = lambda: None

    @property
    def cache_folder(self) -> Path:
        """Where fetched files are kept: below NETINNET_CACHE, or the platform's cache for users."""
        return files.cache_root() / self.name

    def record(self) -> DatasetRecord:
        """What a run keeps of it, as far as it is known without reading it: the digest is "" where
        it does not follow from the files'."""
        return DatasetRecord(self.name, self.facts, self.counts, self.digest(self.files))

    def locate(self, data_dir: Path | None = None) -> Path | None:
        """Return the first folder that has all files, plain or .gz, without reading them.

        Only `data_dir` is looked at when it is given. None where the files are nowhere.
        """
        return next((folder for folder, _ in self._complete(data_dir)), None)

    def load(self, data_dir: Path | None = None, *, on_progress: Progress = silent) -> Dataset:
        """Load it: images uint8 (n, height, width, channels), labels int64 (n,).

        With `data_dir` the files must be there. Without it, they are fetched where they are neither
        in the cache nor in the system's folder, and a damaged copy is replaced. `on_progress` is
        called with a text and the bytes done and in all (None: unknown); with 0 and None it is a
        message. Raises DataError for files that are missing or damaged and cannot be had.
        """
        self.requires()
        for folder, wanted in self._complete(data_dir):
            try:
                return self._load(folder, wanted)
            except DataError as error:
                if data_dir is not None:
                    cure = "replace it, or leave out --data-dir and it is found or fetched"
                    raise DataError(f"{error}; {cure}") from error
                on_progress(f"{error}; looking for another copy", 0, None)
        if data_dir is not None:
            raise DataError(self._missing(data_dir))
        self.obtain(on_progress)
        return self._load(self.cache_folder, self.files)

    def status(self, data_dir: Path | None = None) -> Status:
        """Look for the data set and check it. Never fetches anything and never raises DataError."""
        for folder, wanted in self._complete(data_dir):
            try:
                for file in wanted:
                    _read(folder, file)
            except DataError as error:
                replaced = data_dir is None
                cure = "it is fetched again when it is next used" if replaced else "replace it"
                return Status(folder, False, f"{error}; {cure}", self.name)
            return Status(folder, True, "complete, SHA-256 checked", self.name)
        message = f"not here yet; it is fetched when it is first used ({self.megabytes} MB)"
        return Status(None, False, self._missing(data_dir) if data_dir else message, self.name)

    def obtain(self, progress: Progress) -> None:
        """Fetch what is missing or damaged in the cache. One process at a time does it.

        Raises DataError that names every source and its reason when files are still missing, and
        NetinnetError for a folder that cannot be written.
        """
        reasons: list[str] = []
        folder = self.cache_folder
        with _alone_in(folder, self.title, progress):
            wanted = _remove_damaged(self.files, folder, progress)
            for source in self.sources:
                if wanted:
                    reasons += source(wanted, folder, progress)
                    wanted = _not_in(folder, self.files)
        if wanted:
            raise DataError(
                f"{self.title} could not be fetched ({'; '.join(reasons)}); connect to a network,"
                f" or put {_names(self.files)} into a folder DIR and pass --data-dir DIR"
            )

    def _complete(self, data_dir: Path | None) -> Iterator[tuple[Path, Originals]]:
        """The folders that have all files, and which files those are."""
        places = (self.cache_folder, self.system_folder)
        if data_dir is not None:
            places = (data_dir, data_dir / self.inside if self.inside else None)
        for folder in filter(None, places):
            for wanted in filter(None, (self.files, self.unpacked)):
                if not _not_in(folder, wanted):
                    yield folder, wanted

    def _load(self, folder: Path, wanted: Originals) -> Dataset:
        """Load from a folder; raises DataError for a file that is missing or not the original."""
        train, test = self.parse([_read(folder, file) for file in wanted])
        return Dataset(self.name, self.facts, train, test, digest=self.digest(self.files))

    def _missing(self, folder: Path) -> str:
        if not folder.is_dir():
            return f"{folder}: no such folder; --data-dir takes a folder with {_names(self.files)}"
        for name in self.pickled:
            if (folder / name).exists():
                return (
                    f"{folder / name}: {self.title} as Python pickles is not read, because a pickle"
                    f" can run any program; put {_names(self.files)}, the binary version, there, or"
                    " leave out --data-dir and it is found or fetched"
                )
        missing = _not_in(folder, self.files)
        if len(_not_in(folder, self.unpacked)) < len(self.unpacked):
            missing = _not_in(folder, self.unpacked)
        return (
            f"{folder}: {_names(missing)} not found; put the original files there, or leave out"
            " --data-dir and they are found or fetched"
        )


def _read(folder: Path, file: OriginalFile) -> tuple[Path, bytes]:
    """The path and checked content of a file in a folder."""
    path = file.find(folder) or folder / file.packed_name
    return path, read(path, file)


def _not_in(folder: Path, wanted: Originals) -> list[OriginalFile]:
    return [file for file in wanted if file.find(folder) is None]


def _names(wanted: Originals) -> str:
    return ", ".join(file.packed_name for file in wanted)


def _remove_damaged(wanted: Originals, folder: Path, progress: Progress) -> list[OriginalFile]:
    """Delete the damaged files in the cache; return those that are to be fetched."""
    for file in wanted:
        path = file.find(folder)
        if path is None:
            continue
        try:
            read(path, file)
        except DataError as error:
            progress(f"{error}; it is fetched again", 0, None)
            with files.writing(path):
                path.unlink()
    return _not_in(folder, wanted)


@contextlib.contextmanager
def _alone_in(folder: Path, title: str, progress: Progress) -> Iterator[None]:
    """Make `folder` and hold its lock, so that runs started together fetch the files once.

    The lock goes with the process. Where there is none (Windows, some network file systems), two
    processes may fetch the same: what is damaged by that is seen and fetched again.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / ".lock").open("ab")
    except OSError as error:
        raise NetinnetError(
            f"{folder}: cannot be written ({error.strerror}); set NETINNET_CACHE to a folder you"
            " may write to"
        ) from error
    with stream:
        if os.name != "nt":
            import fcntl

            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress(f"waiting for another process that fetches {title}", 0, None)
                fcntl.flock(stream, fcntl.LOCK_EX)
            except OSError as error:
                progress(f"{folder}: no locks here ({error.strerror})", 0, None)
        yield
