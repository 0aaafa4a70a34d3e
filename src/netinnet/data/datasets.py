"""The data sets that have a name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from netinnet.data import fashion_mnist
from netinnet.data.dataset import Dataset
from netinnet.data.download import Progress
from netinnet.errors import DataError, nearest
from netinnet.networks.layers import Shape


class Loader(Protocol):
    """Finds or fetches a data set and checks it; see `fashion_mnist.load`."""

    def __call__(
        self, data_dir: Path | None = None, *, on_progress: Progress | None = None
    ) -> Dataset: ...


@dataclass(frozen=True)
class NamedDataset:
    """What is known of a data set before it is loaded.

    `shape` is a picture's (channels, height, width); `mean` and `std` are the training pictures'
    per channel, on the scale 0…1.
    """

    name: str
    description: str
    classes: tuple[str, ...]
    shape: Shape
    mean: tuple[float, ...]
    std: tuple[float, ...]
    load: Loader
    status: Callable[[Path | None], fashion_mnist.Status]


@dataclass(frozen=True)
class SetStatus:
    """A data set's place on this machine: `folder` is None where it is not here."""

    name: str
    description: str
    folder: Path | None
    verified: bool
    message: str


DATASETS = {
    fashion_mnist.NAME: NamedDataset(
        name=fashion_mnist.NAME,
        description="60,000 training and 10,000 test pictures of clothing, grey 28×28, 10 classes",
        classes=fashion_mnist.CLASSES,
        shape=Shape(1, 28, 28),
        mean=(0.2860,),
        std=(0.3530,),
        load=fashion_mnist.load,
        status=fashion_mnist.status,
    )
}


def find(name: str) -> NamedDataset:
    """Return the data set of that name. Raises DataError that lists the names there are."""
    try:
        return DATASETS[name]
    except KeyError:
        raise DataError(
            f"no data set '{name}'{nearest(name, DATASETS)}; known: {', '.join(DATASETS)}"
        ) from None


def load(name: str, data_dir: Path | None = None, on_progress: Progress | None = None) -> Dataset:
    """Load a data set by name, from `data_dir` or wherever it is found, or fetch it.

    `on_progress` is called with a text and the bytes done and in all. Raises DataError.
    """
    return find(name).load(data_dir, on_progress=on_progress)


def status(data_dir: Path | None = None) -> list[SetStatus]:
    """Where each data set is, checked. Fetches nothing."""
    found = [(known, known.status(data_dir)) for known in DATASETS.values()]
    return [
        SetStatus(known.name, known.description, state.folder, state.verified, state.message)
        for known, state in found
    ]
