"""The data sets that have a name, and those that are a folder: `load` takes either."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from netinnet.data import (
    cifar,
    fashion_mnist,
    mnist,
    picture_folder,
    picture_look,
    picture_store,
    svhn,
)
from netinnet.data import folder as folders
from netinnet.data.named import NamedDataset, Status
from netinnet.data.source import Dataset, DatasetRecord, Facts, Progress, silent
from netinnet.errors import DataError, nearest, quoted

OBJECT = "object:"
"""Begins a recipe's `dataset` where it was given as an object in Python."""
READING = ("skip_bad", "group_by", "split")
"""The options of `load` that say how a folder of pictures is read."""


DATASETS = {
    known.name: known
    for known in (
        fashion_mnist.DATASET,
        mnist.DATASET,
        cifar.CIFAR10,
        cifar.CIFAR100,
        svhn.DATASET,
    )
}


def is_named(dataset: str) -> bool:
    """Whether it is a name: `x` is; `./x` and all with a separator are paths of folders."""
    path = "/" in dataset or "\\" in dataset or dataset in (".", "..")
    return not path and not dataset.startswith(OBJECT)


def find(name: str) -> NamedDataset:
    """Return the data set of that name. Raises DataError that lists the names there are."""
    try:
        return DATASETS[name]
    except KeyError:
        path = f"; {quoted(f'./{name}')} would be a folder" if Path(name).is_dir() else ""
        raise DataError(
            f"no data set '{name}'{nearest(name, DATASETS)}; known: {', '.join(DATASETS)}{path}"
        ) from None


def load(
    dataset: str,
    data_dir: Path | None = None,
    on_progress: Progress = silent,
    expected: DatasetRecord | None = None,
    skip_bad: bool | None = None,
    how_split: str = "",
    **splitting: str | None,
) -> Dataset:
    """Load a data set by its name or the path of its folder.

    Args:
        dataset: A name, which is fetched where it isn't here, or a path, as in `./x`.
        data_dir: The folder that holds it instead, where it moved.
        on_progress: Called with a text and the bytes done and in all.
        expected: What it must be, and where it was read from before, which is where it is looked
            for without a `data_dir`; None takes any.
        skip_bad: Leave out pictures of a folder that can't be used, instead of an error.
        how_split: What a record says of the split of a folder of pictures, to make it in the same
            way, be it an earlier version's; `expected` says it too.
        splitting: How a folder's pictures are split: `group_by`, a regular expression (those in
            whose paths it finds the same stay on one side), and `split`, as in "80/10/10".

    Raises:
        DataError: where it is missing, damaged or not the one expected.
    """
    if dataset.startswith(OBJECT) and data_dir is None:
        name = dataset.removeprefix(OBJECT)
        raise DataError(
            f"the data set {name} was given as an object, which another process can't have: save it"
            f" (netinnet.data.save) and name its folder as the data set, or with --data-dir"
        )
    place = _place(dataset, data_dir, expected)
    if is_named(dataset):
        loaded = find(dataset).load(place, on_progress=on_progress)
    else:
        place = place or Path(dataset).expanduser()
        if expected is not None and data_dir is None and not place.exists():
            raise DataError(
                f"{place}: no such folder; the run was trained on it: --data-dir FOLDER names "
                f"where it is now"
            )
        how_split = how_split if expected is None else expected.how_split
        loaded = _load_path(place, on_progress, bool(skip_bad), how_split, splitting)
    if place is not None:
        loaded = dataclasses.replace(loaded, read_from=str(place.absolute()))
    if expected is not None:
        expected.check(loaded.record)
    return loaded


def _place(dataset: str, data_dir: Path | None, expected: DatasetRecord | None) -> Path | None:
    """The folder to read: the one given, or the one it was read from before, if that is there."""
    before = Path(expected.read_from) if expected and expected.read_from else None
    if data_dir is None and before is not None and before.exists():
        return before
    return data_dir


def _load_path(
    path: Path,
    on_progress: Progress,
    skip_bad: bool,
    how_split: str,
    splitting: dict[str, str | None],
) -> Dataset:
    if not picture_folder.is_one(path):
        given = {"skip_bad": skip_bad or None, **splitting}
        if wrong := [name for name, value in given.items() if value is not None]:
            raise DataError(
                f"{path}: no folder of pictures by class, so it is read as it is: leave out "
                f"{' and '.join(wrong)}"
            )
        return folders.load(path, on_progress)
    return picture_store.load(path, on_progress, skip_bad, how_split=how_split, **splitting)


def verify(
    dataset: str,
    data_dir: Path | None = None,
    on_progress: Progress = silent,
    expected: DatasetRecord | None = None,
) -> None:
    """Compare every file of a folder of pictures with what is kept of it, as `load` trusts it then.

    The files of other data sets are hashed whenever they are loaded; that is said. Raises DataError
    where the folder has no pictures.
    """
    path = _place(dataset, data_dir, expected) or Path(dataset).expanduser()
    if is_named(dataset) or dataset.startswith(OBJECT) or not picture_folder.is_one(path):
        on_progress(f"{dataset}: its files are hashed at every start, verified or not", 0, None)
        return
    picture_look.look(path, picture_store.cache_folder(), on_progress, verify=True)


def facts(dataset: str, data_dir: Path | None = None, **options: Any) -> Facts:
    """What is known of a data set by name or path; one that has a name isn't loaded for it.

    `options` are those of `load`.
    """
    if dataset in DATASETS:
        return DATASETS[dataset].facts
    return load(dataset, data_dir, **options).facts


def status(data_dir: Path | None = None) -> list[Status]:
    """Where each data set with a name is, checked. Fetches nothing."""
    return [known.status(data_dir) for known in DATASETS.values()]
