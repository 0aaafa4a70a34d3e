"""The door of data: what a source of pictures is, what is known of a data set, what a run keeps.

A source is asked for pictures by their indices and says nothing of where they lie: in memory, in a
memory-mapped file, or anywhere else. Parts of it are views by index; nothing copies a whole set.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from netinnet.errors import DataError, NetinnetError, is_text
from netinnet.networks.layers import Shape
from netinnet.networks.network import Preprocessing
from netinnet.units import times

Pictures = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int64]
Progress = Callable[[str, int, int | None], None]
"""Called with what happens, and bytes done and in all (None: unknown); 0 and None: a message."""
SPLITS = ("train", "test", "validation")
MOST_CLASSES = 65_536
CHUNK = 250
"""Pictures looked at together where a whole set is gone through."""


def silent(_text: str, _done: int, _total: int | None) -> None:
    """The progress nobody wants to see."""


class Source(Protocol):
    """Labelled pictures. `pictures` may be called from another thread than the one that made it."""

    @property
    def labels(self) -> Labels:
        """The class number of each picture, int64, n."""

    def __len__(self) -> int: ...

    def pictures(self, indices: Indices) -> Pictures:
        """Those pictures, uint8, n×height×width×channels, all of one shape."""


@dataclass(frozen=True)
class Arrays:
    """A source over arrays in memory, or memory-mapped: pictures n×h×w×c (uint8), labels (int64).

    Example: `Arrays(np.zeros((10, 8, 8, 3), np.uint8), np.arange(10) % 2)`.
    """

    images: Pictures
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def pictures(self, indices: Indices) -> Pictures:
        return np.asarray(self.images[indices])


class View:
    """Some pictures of another source, by index."""

    def __init__(self, source: Source, indices: Indices) -> None:
        self.source, self.indices = source, indices
        self.labels: Labels = source.labels[indices]

    def __len__(self) -> int:
        return len(self.indices)

    def pictures(self, indices: Indices) -> Pictures:
        return self.source.pictures(self.indices[indices])


def first(source: Source, count: int | None) -> Source:
    """The first pictures of a source; None keeps all."""
    return source if count is None else View(source, np.arange(len(source))[:count])


def chunks(count: int, size: int = CHUNK) -> Iterator[Indices]:
    """0 … count - 1 in order, `size` indices at a time."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


@dataclass(frozen=True)
class Facts:
    """What is known of the pictures of a data set.

    `shape` is a picture's (channels, height, width), None where sizes are mixed: then a source
    answers in the shape that the network takes. `mean` and `std` are the training pictures' per
    channel, on the scale 0…1. `horizontal_flip` says whether a mirrored picture keeps its class.
    """

    classes: tuple[str, ...]
    shape: Shape | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    horizontal_flip: bool = True

    def __post_init__(self) -> None:
        Preprocessing(self.mean, self.std)  # checks both
        named = self.classes and all(isinstance(name, str) for name in self.classes)
        fits = self.shape is None or self.shape.channels == self.channels
        if not named or not fits or not isinstance(self.horizontal_flip, bool):
            raise DataError(
                "classes must be names, mean and std a number for each channel, "
                "horizontal_flip true or false"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Facts:
        """The inverse of `dataclasses.asdict`, behind JSON. Raises DataError or TypeError."""
        facts: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in values.items()
        }
        shape = facts.pop("shape", None)
        return cls(shape=None if shape is None else Shape(*shape), **facts)

    @property
    def channels(self) -> int:
        return len(self.mean)


@dataclass(frozen=True)
class DatasetRecord:
    """What a run keeps of its data set (`dataset.json`): the facts used, the number of pictures of
    each split, and the digest of the content, which says whether another folder holds the same."""

    name: str
    facts: Facts
    counts: Mapping[str, int]
    digest: str
    how_split: str = ""
    read_from: str = dataclasses.field(default="", compare=False)
    """The folder that held it, absolute; "" where it is found by its name."""

    def __post_init__(self) -> None:
        if not is_text(self.name + self.read_from):
            raise DataError(
                f"{self.read_from or self.name!a}: a path with bytes that are no text can't be "
                f"kept in a run; rename it"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON and TOML; what is not known is left out."""
        facts = {k: v for k, v in dataclasses.asdict(self.facts).items() if v is not None}
        more = {"how_split": self.how_split, "read_from": self.read_from}
        how = {name: text for name, text in more.items() if text}
        return {"name": self.name, **facts, **self.counts, "digest": self.digest, **how}

    def to_json(self, indent: int | None = None) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=indent)

    @classmethod
    def from_dict(cls, values: Any, where: str) -> DatasetRecord:
        """The inverse of `to_dict`, or of `to_json`. Raises DataError where it is none."""
        try:
            facts = json.loads(values) if isinstance(values, str) else {**values}
            counts = {split: int(facts.pop(split)) for split in SPLITS if split in facts}
            name, digest = str(facts.pop("name")), str(facts.pop("digest"))
            how, place = (str(facts.pop(key, "")) for key in ("how_split", "read_from"))
            return cls(name, Facts.from_dict(facts), counts, digest, how, place)
        except (
            *(KeyError, TypeError, ValueError, AttributeError, RecursionError),
            NetinnetError,
        ) as error:
            raise DataError(f"{where}: damaged, no record of a data set ({error!r})") from error

    def check(self, other: DatasetRecord) -> None:
        """Raise DataError where `other` has another content than this."""
        if other.digest != self.digest:
            raise DataError(
                f"{other.name}: not the data set that was used ({self.name}), its pictures or "
                f"labels differ (digest {other.digest[:12]}… instead of {self.digest[:12]}…); "
                f"--data-dir names the folder that holds it"
            )


@dataclass(frozen=True)
class Dataset:
    """A named data set: facts, a training and a test split, and perhaps one for validation.

    `digest` is that of the content where it is known; else `record` computes it.
    """

    name: str
    facts: Facts
    train: Source
    test: Source
    validation: Source | None = None
    digest: str = ""
    how_split: str = ""
    cautions: tuple[str, ...] = ()
    """What should be known before it is learnt."""
    files: str = ""
    """Path, class and split of each picture in CSV, where they are files."""
    at_size: Callable[[Shape, Preprocessing, Progress], Dataset] | None = None
    """Makes it of one shape, where its pictures have none."""
    groups: Indices | None = None
    """A number for each training picture: those that have the same one show the same and stay on
    one side of a split."""
    median_side: int = 0
    """The median of the pictures' shorter sides in pixels, where they have no one shape."""
    read_from: str = ""
    """The folder that holds it, absolute; "" where it is found by its name."""

    def sized(
        self,
        shape: Shape | tuple[int, int, int],
        on_progress: Progress = silent,
        preprocessing: Preprocessing | None = None,
    ) -> Dataset:
        """The data set with pictures of that shape (channels, height, width), where they have none
        of their own; `preprocessing` says how they come to it (its fit, and its mean for padding).
        Raises DataError where one can't be read."""
        if self.at_size is None:
            return self
        return self.at_size(Shape(*shape), preprocessing or Preprocessing(), on_progress)

    @property
    def side(self) -> int:
        """The shorter side of a picture in pixels, the median of them where sizes are mixed."""
        return self.median_side if self.facts.shape is None else min(self.facts.shape[1:])

    @property
    def splits(self) -> dict[str, Source]:
        """The splits there are, by name."""
        found = {"train": self.train, "test": self.test, "validation": self.validation}
        return {name: source for name, source in found.items() if source is not None}

    def limited(self, train: int | None, test: int | None) -> Dataset:
        """The first `train` and `test` pictures only; None keeps all."""
        groups = None if self.groups is None else self.groups[:train]
        kept = {"train": first(self.train, train), "test": first(self.test, test)}
        return dataclasses.replace(self, digest="", groups=groups, **kept)  # type: ignore[arg-type]

    @cached_property
    def record(self) -> DatasetRecord:
        """What a run keeps of it; its digest is computed once, from all pictures and labels."""
        counts = {name: len(source) for name, source in self.splits.items()}
        digest = self.digest or digest_of({n: _digest(s) for n, s in self.splits.items()})
        return DatasetRecord(self.name, self.facts, counts, digest, self.how_split, self.read_from)


def digest_of(parts: Mapping[str, tuple[str, str]]) -> str:
    """The digest of a data set from the SHA-256 of each split's pictures and labels as IDX files.

    So it is the same however a set is stored, and known from the files where they are checked.
    """
    lines = (f"{split} {' '.join(digests)}\n" for split, digests in parts.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _digest(source: Source) -> tuple[str, str]:
    """The SHA-256 of pictures (n×h×w, and n×h×w×c in colour) and labels as IDX files."""
    height, width, channels = source.pictures(np.arange(1)).shape[1:]
    shape = (len(source), height, width, channels)[: 3 if channels == 1 else 4]
    pictures = hashlib.sha256(_header(0x08, *shape))
    for chunk in chunks(len(source)):
        pictures.update(np.ascontiguousarray(source.pictures(chunk)).data)
    kind, code = ("u1", 0x08) if source.labels.max() < 256 else (">i4", 0x0C)
    labels = _header(code, len(source)) + source.labels.astype(kind).tobytes()
    return pictures.hexdigest(), hashlib.sha256(labels).hexdigest()


def _header(code: int, *shape: int) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape)


def from_arrays(
    name: str,
    train: tuple[Any, Any],
    test: tuple[Any, Any],
    validation: tuple[Any, Any] | None = None,
    *,
    classes: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    horizontal_flip: bool = True,
    on_progress: Progress = silent,
) -> Dataset:
    """A data set over arrays in memory or memory-mapped, checked; none of them is copied.

    Args:
        name: What it is called in runs and reports.
        train: Pictures (uint8, n×h×w or n×h×w×c) and their labels (integers from 0, n).
        test: The same for the test split; validation: for a validation split, if there is one.
        classes: Class names, in the order of the labels; "0", "1", … if not given.
        mean: The training pictures' mean per channel (0…1), computed if not given; std likewise.
        horizontal_flip: Whether a mirrored picture keeps its class.
        on_progress: Told which facts were computed.

    Raises:
        DataError: for shapes, types or labels that don't fit, in one line.

    Example:
        data = from_arrays("dots", (pictures, labels), (other_pictures, other_labels))
        netinnet.train("fashion", dataset=data, epochs=1)
    """
    given = {"train": train, "test": test, "validation": validation}
    splits = {s: _checked(*pair, f"{name}: {s}") for s, pair in given.items() if pair is not None}
    most = MOST_CLASSES if classes is None else len(classes)
    largest = max(int(source.labels.max()) for source in splits.values())
    shapes = {times(source.images.shape[1:]) for source in splits.values()}
    if largest >= most or len(shapes) > 1:
        wrong = f"it has label {largest}, pictures {' and '.join(sorted(shapes))}"
        raise DataError(f"{name}: labels must be below {most:,} and pictures of one shape, {wrong}")
    means, stds = _mean_and_std(splits["train"]) if mean is None or std is None else (mean, std)
    _, height, width, channels = splits["train"].images.shape
    try:
        facts = Facts(
            tuple(map(str, range(largest + 1)) if classes is None else classes),
            Shape(channels, height, width),
            tuple(map(float, means if mean is None else mean)),
            tuple(map(float, stds if std is None else std)),
            horizontal_flip,
        )
    except (NetinnetError, TypeError, ValueError) as error:
        raise DataError(f"{name}: {error}") from error
    if classes is None or mean is None or std is None:
        known = f"{len(facts.classes)} classes, mean {facts.mean}, std {facts.std}"
        on_progress(f"{name}: taken from the pictures and labels: {known}", 0, None)
    return Dataset(name, facts, splits["train"], splits["test"], splits.get("validation"))


def _checked(images: Any, labels: Any, where: str) -> Arrays:
    """The arrays of a split as a source. Raises DataError."""
    images, labels = np.asanyarray(images), np.asarray(labels)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape:
        raise DataError(
            f"{where} pictures must be uint8 (0…255), n×h×w or n×h×w×c, and at least one; "
            f"got {images.dtype} {times(images.shape)}"
        )
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1] or labels.min() < 0:
        raise DataError(
            f"{where} labels must be whole numbers from 0, one for each of {len(images):,} "
            f"pictures; got {labels.dtype} {times(labels.shape)}"
        )
    grey = images.ndim == 3
    return Arrays(images[..., np.newaxis] if grey else images, labels.astype(np.int64))


def _mean_and_std(source: Arrays) -> tuple[list[float], list[float]]:
    """Of each channel, on the scale 0…1, from a count of its values; 1 for a constant's std."""
    counts = np.zeros((source.images.shape[3], 256))
    for chunk in chunks(len(source)):
        channels = np.moveaxis(source.pictures(chunk), 3, 0)
        counts += [np.bincount(channel.ravel(), minlength=256) for channel in channels]
    shares = counts / counts.sum(axis=1, keepdims=True)
    values = np.arange(256) / 255
    mean = shares @ values
    std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(axis=1))
    return [round(float(m), 6) for m in mean], [round(float(s), 6) or 1.0 for s in std]
