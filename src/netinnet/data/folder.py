"""A data set as a folder: NumPy or IDX files, and `dataset.json` with the facts.

    train-images.npy  train-labels.npy  test-images.npy  test-labels.npy     (memory-mapped)
    train-images-idx3-ubyte  train-labels-idx1-ubyte  t10k-…                 (or each with .gz)

A validation split (`validation-images.npy`, …) and `dataset.json` may be left out. In what `save`
writes, `dataset.json` has the SHA-256 of the other files, and its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from netinnet.data import pictures, source
from netinnet.data.idx import open_idx
from netinnet.data.source import Dataset, Progress, chunks, silent
from netinnet.errors import DataError, NetinnetError
from netinnet.files import cannot_write
from netinnet.units import counted

FACTS_FILE = "dataset.json"
FILES = (
    "train-images.npy, train-labels.npy, test-images.npy, test-labels.npy, or MNIST's IDX files, "
    "or class folders of pictures"
)
_IDX = {"images": "images-idx3-ubyte", "labels": "labels-idx1-ubyte"}
_FACTS = ("name", "classes", "mean", "std", "horizontal_flip")
_SAVED = ("digest", "files", "sha256")
"""What `save` adds: the content's digest, each file's SHA-256, and that of all this as JSON."""


def load(folder: Path, on_progress: Progress = silent) -> Dataset:
    """The data set in a folder, its pictures memory-mapped where they are not compressed.

    Facts that `dataset.json` doesn't have are computed, and `on_progress` is told. Raises DataError
    for what is missing or malformed.
    """
    if not folder.is_dir():
        what = "a file, not a folder" if folder.exists() else "no such folder"
        raise DataError(f"{folder}: {what}; a data set's has {FILES}")
    described = _facts(folder / FACTS_FILE)
    facts = {"name": folder.resolve().name, **{k: described[k] for k in _FACTS if k in described}}
    pairs: dict[str, Any] = {}
    for split in source.SPLITS:
        files = {kind: _find(folder, split, kind) for kind in _IDX}
        missing = [f"{split} {kind}" for kind, file in files.items() if file is None]
        if not missing:
            pairs[split] = tuple(_array(file) for file in files.values() if file)
        elif split != "validation" or len(missing) == 1:
            raise DataError(f"{folder}: no {' and '.join(missing)} in it; it should have {FILES}")
    digest = _check_files(folder, described)
    try:
        made = source.from_arrays(**facts, **pairs, on_progress=on_progress)
    except DataError as error:
        raise DataError(f"{folder}: {error}") from error
    if beside := list(pictures.files([folder], lambda line: None)):
        on_progress(
            f"{folder}: its arrays are read, and not the {counted(len(beside), 'picture')} beside "
            f"them ({beside[0].relative_to(folder)}, …): move one or the other elsewhere",
            0,
            None,
        )
    return dataclasses.replace(made, digest=digest)


def _check_files(folder: Path, described: dict[str, Any]) -> str:
    """The digest of a saved data set, "" of another. Raises DataError naming a file that is not
    what was saved."""
    file, on_purpose = folder / FACTS_FILE, "if it was changed on purpose, leave out"
    kept = {key: value for key, value in described.items() if key != "sha256"}
    if described.get("sha256") not in (None, _sha256_of(kept)):
        raise DataError(f"{file}: damaged, it is not what was saved; {on_purpose} its sha256")
    for name, sha256 in described.get("files", {}).items():
        if _sha256_of_file(folder / Path(name).name) != sha256:
            raise DataError(
                f"{folder / name}: damaged, it is not what was saved; take a copy of it "
                f"({on_purpose} files and sha256 in {FACTS_FILE})"
            )
    return str(described["digest"]) if "files" in described else ""


def _sha256_of_file(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error


def _sha256_of(described: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def has_arrays(folder: Path) -> bool:
    """Whether any of the files of arrays is in a folder."""
    return any(_find(folder, split, kind) for split in source.SPLITS for kind in _IDX)


def _find(folder: Path, split: str, kind: str) -> Path | None:
    plain = f"{'t10k' if split == 'test' else split}-{_IDX[kind]}"
    names = (f"{split}-{kind}.npy", plain, f"{plain}.gz")
    return next((folder / name for name in names if (folder / name).exists()), None)


def _array(file: Path) -> npt.NDArray[Any]:
    """The array in a file. Raises DataError where there is none."""
    if file.suffix != ".npy":
        return open_idx(file)
    try:
        return np.lib.format.open_memmap(file, mode="r")
    except Exception as error:  # NumPy raises almost anything for a damaged header
        reason = " ".join(str(error).split())
        raise DataError(f"{file}: not a NumPy file of numbers, or damaged ({reason})") from error


def _facts(file: Path) -> dict[str, Any]:
    """What dataset.json says; {} without one. Raises DataError for what is no such fact."""
    if not file.exists():
        return {}
    try:
        facts = json.loads(file.read_text("utf-8"))
        unknown = set(facts) - {*_FACTS, *_SAVED}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{file}: not an object in JSON, or damaged ({error})") from error
    kinds = {"name": str, "files": dict}
    wrong = not isinstance(facts, dict) or any(
        not isinstance(facts.get(key, kind()), kind) for key, kind in kinds.items()
    )
    if unknown or wrong or ("files" in facts and "digest" not in facts):
        raise DataError(
            f"{file}: should hold {', '.join(_FACTS)}, got {', '.join(map(str, facts))}"
        )
    return {**facts}


def save(dataset: Dataset, folder: str | Path) -> Path:
    """Write a data set as a folder of NumPy files that `recipe.dataset` can name; returns it.

    The folder appears whole or not at all; one that holds something is not written over. Raises
    NetinnetError where it can't be written.

    Example: `save(data, "dots")`, then `nin train --dataset ./dots`.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise NetinnetError(f"{folder} exists and is not empty; choose another folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            for split, part in dataset.splits.items():
                np.save(beside / f"{split}-labels.npy", part.labels)
                shape = (len(part), *part.pictures(np.arange(1)).shape[1:])
                file = beside / f"{split}-images.npy"
                images = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
                for chunk in chunks(len(part)):
                    images[chunk] = part.pictures(chunk)
                images.flush()
            record = dataset.record.to_dict()
            described = {k: record[k] for k in (*_FACTS, "digest")}
            described["files"] = {
                file.name: _sha256_of_file(file) for file in sorted(beside.iterdir())
            }
            described["sha256"] = _sha256_of(described)
            text = json.dumps(described, ensure_ascii=False, indent=1)
            (beside / FACTS_FILE).write_text(text + "\n", "utf-8")
            beside.chmod(0o755)
            os.replace(beside, folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return folder
