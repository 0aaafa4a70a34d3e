"""A folder of pictures as a data set: decoded once, into a memory-mapped file in the cache."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from netinnet import files
from netinnet.data import picture_look, picture_table, pictures
from netinnet.data.loader import ahead
from netinnet.data.picture_look import Look
from netinnet.data.source import (
    Arrays,
    Dataset,
    Facts,
    Indices,
    Labels,
    Pictures,
    Progress,
    View,
    silent,
)
from netinnet.errors import DataError, ImageError, nin
from netinnet.networks.layers import Shape
from netinnet.networks.network import Preprocessing
from netinnet.preprocessing import resize_large

FORMAT = 1
"""Of the stores; another way to decode or resize gets another number."""
CHECKED_TOGETHER = 1 << 22
"""Bytes of a store that are read at a time."""
SAID_FROM = 1 << 30
"""What takes no second is not worth a line."""


@dataclasses.dataclass(frozen=True)
class Unsized:
    """Labels of pictures that have no size yet."""

    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def pictures(self, _indices: Indices) -> Pictures:
        raise DataError("these pictures have many sizes: dataset.sized((3, 32, 32)) chooses one")


def load(
    path: Path,
    on_progress: Progress = silent,
    skip_bad: bool = False,
    **splitting: Any,
) -> Dataset:
    """The data set in a folder of pictures; `Dataset.sized` decodes them.

    Args:
        path: A folder with one of the layouts of `picture_folder`, or its CSV file.
        on_progress: Called with the bytes done and in all.
        skip_bad: Leave out pictures that can't be used, and caution, instead of an error.
        splitting: `group_by`, `split` and `how_split`, as `picture_look.look` takes them.

    Raises:
        DataError: For another layout, or pictures that can't be used.

    Example: `load(Path("photos")).sized(Shape(3, 32, 32)).train.pictures(np.arange(8))`.
    """
    look = picture_look.look(path, cache_folder(), on_progress, **splitting)
    look.check(skip_bad)
    return of(look)


def of(look: Look) -> Dataset:
    """The data set of the pictures that a look can use, without those that it can't."""
    numbers = {name: i for i, name in enumerate(look.classes)}
    labels = np.array([numbers[look.entries[i].label] for i in look.good], np.int64)
    rows = {split: np.searchsorted(look.good, places) for split, places in look.splits.items()}
    seen = look.seen[look.good][rows["train"]]
    channels = int(look.seen[look.good]["channels"].max())
    mean = seen["mean"][:, :channels].astype(np.float64).mean(0)
    std = np.sqrt(np.maximum(seen["square"][:, :channels].astype(np.float64).mean(0) - mean**2, 0))
    facts = Facts(
        look.classes,
        None,
        tuple(round(float(m), 6) for m in mean),
        tuple(round(float(s), 6) or 1.0 for s in std),
    )
    name, unsized = look.listing.folder.resolve().name, Unsized(labels)
    parts: dict[str, Any] = {split: View(unsized, chosen) for split, chosen in rows.items()}

    def at_size(shape: Shape, preprocessing: Preprocessing, on_progress: Progress) -> Dataset:
        source = Arrays(_store(look, shape, preprocessing, on_progress), labels)
        sized: dict[str, Any] = {split: View(source, chosen) for split, chosen in rows.items()}
        return dataclasses.replace(dataset, **sized)

    dataset = Dataset(
        name,
        facts,
        **parts,
        digest=_digest(look, labels, rows),
        how_split=look.how_split,
        cautions=tuple(look.cautions),
        files=look.to_csv(),
        at_size=at_size,
        groups=_groups(look)[rows["train"]],
        median_side=int(np.median(np.minimum(seen["height"], seen["width"]))),
    )
    return dataset


def _groups(look: Look) -> Indices:
    """A number for each good picture, the same for those that stay on one side of a split."""
    numbers = np.arange(len(look.seen))
    for group in look.groups:
        if len(group) > 1:
            numbers[group] = group[0]
    return numbers[look.good]


def cache_folder() -> Path:
    """Where looks and stores are kept."""
    return files.cache_root() / "pictures"


def _digest(look: Look, labels: Labels, rows: dict[str, Indices]) -> str:
    """Of the files' content in order, and their classes: the same where the folder has moved."""
    digest = hashlib.sha256()
    for split, chosen in rows.items():
        digest.update(f"{split}\n".encode())
        for row, label in zip(chosen.tolist(), labels[chosen].tolist(), strict=True):
            digest.update(b"%s %d\n" % (look.sha256[row], label))
    return digest.hexdigest()


def _store(
    look: Look, shape: Shape, preprocessing: Preprocessing, on_progress: Progress
) -> Pictures:
    """All pictures in one shape, memory-mapped; the file is known by their content."""
    channels, height, width = shape
    size = (len(look.good), height, width, channels)
    ways = {"stretch": "", "crop": " crop", "pad": f" pad {preprocessing.mean}"}
    way = hashlib.sha256(f"{size} {FORMAT}{ways[preprocessing.fit]}".encode()).hexdigest()[:16]
    prefix = store_prefix(look.seen["sha256"][look.good].tobytes())
    file = cache_folder() / f"{prefix}{way}.npy"
    if file.exists():
        if (kept := _whole(file, size, on_progress)) is not None:
            return kept
        on_progress(f"{file}: damaged, or of an earlier version; it is made anew", 0, None)
    decode = partial(_decode, look, shape, preprocessing)
    header = {"descr": "|u1", "fortran_order": False, "shape": size}
    sizes = look.seen["bytes"][look.good].cumsum()
    beginning = io.BytesIO()
    np.lib.format.write_array_header_1_0(beginning, header)
    digest = hashlib.sha256(beginning.getvalue())
    with files.replacing(file) as stream:
        stream.write(beginning.getvalue())
        pictures_made = ahead(decode, look.good, picture_table.WORKERS)
        for done, picture in zip(sizes.tolist(), pictures_made, strict=True):
            stream.write(picture.data)
            digest.update(picture.data)
            on_progress(f"{look.listing.folder}: decoding pictures", done, int(sizes[-1]))
        stream.write(digest.digest())
    return np.lib.format.open_memmap(file, mode="r")


def _whole(file: Path, size: tuple[int, ...], on_progress: Progress) -> Pictures | None:
    """The pictures of a store, compared with the SHA-256 that is its end; None where they differ.

    They are read once, which every epoch does again.
    """
    digest, done = hashlib.sha256(), 0
    with contextlib.suppress(OSError, ValueError), file.open("rb") as stream:
        total = file.stat().st_size - digest.digest_size
        while chunk := stream.read(min(CHECKED_TOGETHER, total - done)):
            digest.update(chunk)
            done += len(chunk)
            if done > SAID_FROM:
                on_progress(f"{file}: checking the decoded pictures", done, total)
        if stream.read() == digest.digest():
            kept = np.lib.format.open_memmap(file, mode="r")
            return kept if kept.shape == size else None
    return None


def store_prefix(sha256: bytes) -> str:
    """What the names of all stores of pictures of that content begin with."""
    return f"store-{hashlib.sha256(sha256).hexdigest()[:32]}-"


def _decode(look: Look, shape: Shape, preprocessing: Preprocessing, place: int) -> Pictures:
    """One picture as prediction reads and resizes it, rounded to whole values."""
    file = look.listing.folder / look.entries[place].path
    try:
        content = pictures.bytes_of(file, str(file))
        if hashlib.sha256(content).hexdigest().encode() != look.seen["sha256"][place]:
            cure = f"{nin('data', look.listing.folder, '--verify')} looks at all of them again"
            raise ImageError(f"{file}: not what it was when it was looked at; {cure}")
        picture = pictures.as_channels(pictures.read(content, str(file)), shape.channels)
    except ImageError as error:
        raise DataError(str(error)) from error
    fit = preprocessing.fit
    # Padding is zero where the mean is; elsewhere that would only cost digits.
    mean = np.float32(255) * np.asarray(preprocessing.mean if fit == "pad" else 0, np.float32)
    size = shape.height, shape.width
    resized = resize_large(picture[None], *size, fit, lambda part: part.astype(np.float32) - mean)
    resized += mean
    return np.ascontiguousarray(np.rint(resized[0]).clip(0, 255).astype(np.uint8))
