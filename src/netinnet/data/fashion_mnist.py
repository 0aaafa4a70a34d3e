"""Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): where it is found, how it is fetched, loading.

70,000 grey pictures of 28×28 in ten classes. It is looked for in the folder that the user names;
else in netinnet's cache and in the system's folder, and then it is fetched into the cache: from
mirrors over HTTPS, then as Debian's package. Wherever it comes from, its content is checked.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from netinnet import files
from netinnet.data import debian, download
from netinnet.data.idx import IdxFile, parse_idx, read
from netinnet.data.source import Arrays, Dataset, DatasetRecord, Facts, Progress, digest_of, silent
from netinnet.errors import DataError, NetinnetError
from netinnet.networks.layers import Shape

NAME = "fashion-mnist"
CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
FACTS = Facts(CLASSES, Shape(1, 28, 28), mean=(0.2860,), std=(0.3530,))
# Name, size and SHA-256 of each file's content, in the order that `_load_folder` takes them.
_CONTENTS = """
train-images-idx3-ubyte 47040016 c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888
train-labels-idx1-ubyte 60008 bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9
t10k-images-idx3-ubyte 7840016 5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b
t10k-labels-idx1-ubyte 10008 0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34
"""
FILES = tuple(
    IdxFile(name, int(size), sha256)
    for name, size, sha256 in map(str.split, _CONTENTS.strip().splitlines())
)
# The authors' repository, and the copies that Keras and MXNet load.
MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
    "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/dataset/fashion-mnist",
)
PACKAGE = "dataset-fashion-mnist"
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")

Fetch = Callable[[Sequence[IdxFile], Path, Progress], list[str]]
"""Puts files into a folder; returns why it could not, or an empty list."""


def _from_mirrors(wanted: Sequence[IdxFile], folder: Path, progress: Progress) -> list[str]:
    return download.fetch(wanted, MIRRORS, folder, progress)


def _from_debian(wanted: Sequence[IdxFile], folder: Path, progress: Progress) -> list[str]:
    inside = str(SYSTEM_FOLDER.relative_to("/"))
    return debian.fetch(wanted, PACKAGE, inside, folder, progress)


SOURCES: tuple[Fetch, ...] = (_from_mirrors, _from_debian)


@dataclass(frozen=True)
class Status:
    """Where the data set is (None: nowhere yet), whether its content is right, and words for it."""

    folder: Path | None
    verified: bool
    message: str
    name: str = NAME


def cache_folder() -> Path:
    """Where fetched files are kept: below NETINNET_CACHE, or the platform's cache for users."""
    return files.cache_root() / NAME


def locate(data_dir: Path | None = None) -> Path | None:
    """Return the first folder that has all four files, plain or .gz, without reading them.

    Only `data_dir` is looked at when it is given. None where the files are nowhere.
    """
    return next(_complete(data_dir), None)


def _complete(data_dir: Path | None) -> Iterator[Path]:
    folders = (cache_folder(), SYSTEM_FOLDER) if data_dir is None else (data_dir,)
    return (folder for folder in folders if all(file.find(folder) for file in FILES))


def load(data_dir: Path | None = None, *, on_progress: Progress = silent) -> Dataset:
    """Load Fashion-MNIST: images uint8 (n, 28, 28, 1), labels int64 (n,); 60,000 and 10,000.

    With `data_dir` the files must be there. Without it, they are fetched where they are neither in
    the cache nor in the system's folder, and a damaged copy is replaced. `on_progress` is called
    with a text and the bytes done and in all (None: unknown); with 0 and None it is a message.
    Raises DataError for files that are missing or damaged and cannot be had.
    """
    for folder in _complete(data_dir):
        try:
            return _load_folder(folder)
        except DataError as error:
            if data_dir is not None:
                cure = "replace it, or leave out --data-dir and it is found or fetched"
                raise DataError(f"{error}; {cure}") from error
            on_progress(f"{error}; looking for another copy", 0, None)
    if data_dir is not None:
        raise DataError(_missing(data_dir))
    obtain(cache_folder(), on_progress)
    return _load_folder(cache_folder())


def status(data_dir: Path | None = None) -> Status:
    """Look for the data set and check it. Never fetches anything and never raises DataError."""
    folder = locate(data_dir)
    if folder is None:
        if data_dir is not None:
            return Status(None, False, _missing(data_dir))
        return Status(None, False, "not here yet; it is fetched when it is first used (31 MB)")
    try:
        _load_folder(folder)
    except DataError as error:
        replaced = data_dir is None
        cure = "it is fetched again when it is next used" if replaced else "replace it"
        return Status(folder, False, f"{error}; {cure}")
    return Status(folder, True, "complete, SHA-256 checked")


def obtain(folder: Path, progress: Progress) -> None:
    """Fetch what is missing or damaged in `folder`. One process at a time does it, others wait.

    Raises DataError that names every source and its reason when files are still missing, and
    NetinnetError for a folder that cannot be written.
    """
    reasons: list[str] = []
    with _alone_in(folder, progress):
        wanted = _remove_damaged(folder, progress)
        for source in SOURCES:
            if wanted:
                reasons += source(wanted, folder, progress)
                wanted = [file for file in FILES if file.find(folder) is None]
    if wanted:
        raise DataError(
            f"Fashion-MNIST could not be fetched ({'; '.join(reasons)}); connect to a network, or"
            f" put {_names(FILES)} into a folder DIR and pass --data-dir DIR"
        )


def _missing(folder: Path) -> str:
    if not folder.is_dir():
        return f"{folder}: no such folder; --data-dir takes a folder with {_names(FILES)}"
    missing = [file for file in FILES if file.find(folder) is None]
    return (
        f"{folder}: {_names(missing)} not found; put the original files there, or leave out"
        " --data-dir and they are found or fetched"
    )


def _names(wanted: Sequence[IdxFile]) -> str:
    return ", ".join(f"{file.name}.gz" for file in wanted)


def _load_folder(folder: Path) -> Dataset:
    """Load from a folder; raises DataError for a file that is missing or not the original."""
    arrays = []
    for file in FILES:
        path = file.find(folder) or folder / f"{file.name}.gz"
        arrays.append(parse_idx(read(path, file), str(path)))
    train_images, train_labels, test_images, test_labels = arrays
    return Dataset(
        NAME,
        FACTS,
        train=_split(train_images, train_labels),
        test=_split(test_images, test_labels),
        digest=record().digest,
    )


def record() -> DatasetRecord:
    """What a run keeps of it: known without reading it, by the SHA-256 of its files."""
    (train, train_labels, test, test_labels) = (file.sha256 for file in FILES)
    digest = digest_of({"train": (train, train_labels), "test": (test, test_labels)})
    return DatasetRecord(NAME, FACTS, {"train": 60_000, "test": 10_000}, digest)


def _split(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> Arrays:
    # Copied, because PyTorch warns of memory that it may not write to.
    return Arrays(np.array(images)[..., np.newaxis], labels.astype(np.int64))


def _remove_damaged(folder: Path, progress: Progress) -> list[IdxFile]:
    """Delete the damaged files in the cache; return those that are to be fetched."""
    wanted = []
    for file in FILES:
        path = file.find(folder)
        if path is None:
            wanted.append(file)
            continue
        try:
            read(path, file)
        except DataError as error:
            progress(f"{error}; it is fetched again", 0, None)
            with files.writing(path):
                path.unlink()
            wanted.append(file)
    return wanted


@contextlib.contextmanager
def _alone_in(folder: Path, progress: Progress) -> Iterator[None]:
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
                progress("waiting for another process that fetches Fashion-MNIST", 0, None)
                fcntl.flock(stream, fcntl.LOCK_EX)
            except OSError as error:
                progress(f"{folder}: no locks here ({error.strerror})", 0, None)
        yield
