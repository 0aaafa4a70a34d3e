"""Which pictures a folder has: their classes and splits, by folders or by a file of labels.

    FOLDER/{train,test[,validation]}/CLASS/**     FOLDER/CLASS/**     FOLDER/labels.csv (path,class)

Nothing is opened here but the file of labels. What is left out is kept, with its reason.
"""

from __future__ import annotations

import csv
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from netinnet.data.folder import has_arrays
from netinnet.data.pictures import SUFFIXES, natural
from netinnet.errors import DataError
from netinnet.units import counted

SPLIT_NAMES = {
    **{"train": "train", "test": "test"},
    **dict.fromkeys(("validation", "val", "valid"), "validation"),
}
LABELS_FILE = "labels.csv"
UNREAD = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".svg", ".dng", ".cr2", ".nef", ".arw")
"""Names of pictures that can't be read: they are looked at, and named as damaged ones are."""
_NAMED_AS_PICTURES = (*SUFFIXES, *UNREAD)
NAMED = 5
"""So many files are named in a line, the rest is counted."""
LAYOUTS = (
    "FOLDER/train/CLASS and FOLDER/test/CLASS, FOLDER/CLASS, or FOLDER/labels.csv (path,class)"
)


class Entry(NamedTuple):
    """A picture file: its path below the folder (with /), class, and split ("": to be made)."""

    path: str
    label: str
    split: str = ""


@dataclass
class Listing:
    """What a folder has."""

    folder: Path
    entries: list[Entry] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """Paths that are no picture of the data set, and why."""
    cautions: list[str] = field(default_factory=list)

    @property
    def is_split(self) -> bool:
        return any(entry.split for entry in self.entries)


def shown(text: str) -> str:
    """A file's name need not be UTF-8; what is printed and written must be."""
    return text.encode(errors="replace").decode()


def named(text: str, names: Sequence[str]) -> str:
    """How many files, what of them, and the first names."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"{counted(len(names), 'file')} {text}: {', '.join(names[:NAMED])}{more}"


def is_one(path: Path) -> bool:
    """Whether a path is such a folder, or its file of labels, by what stands at its top."""
    if path.suffix.lower() == ".csv" and path.is_file():
        return True
    if not path.is_dir() or has_arrays(path):
        return False
    inside = list(path.iterdir())
    return any(p.is_dir() or _is_picture(p.name) or p.name == LABELS_FILE for p in inside)


def scan(path: Path) -> Listing:
    """List the pictures of a folder in natural order, or of a file of labels in the file's order.

    Raises DataError where it has none of the layouts, or fewer than two classes.
    """
    folder, file = (path.parent, path) if path.is_file() else (path, path / LABELS_FILE)
    listing = Listing(folder)
    if file.is_file():
        _from_labels(listing, file)
    else:
        _from_folders(listing)
    labels = {entry.label for entry in listing.entries}
    if len(labels) < 2:
        raise DataError(
            f"{path}: {counted(len(listing.entries), 'picture')} of {len(labels)} classes, and two "
            f"classes at least are needed; it should have {LAYOUTS}"
        )
    for label in labels:
        if not label.isprintable():  # surrogates, of names that are not UTF-8, are not either
            raise DataError(f"{path}: the class {label!a} has no name that can be shown; rename it")
    alike = defaultdict(list)
    for label in sorted(labels):
        alike[unicodedata.normalize("NFKC", label).casefold().strip()].append(label)
    for names in alike.values():
        if len(names) > 1:
            listing.cautions.append(f"classes whose names are all but the same: {', '.join(names)}")
    return listing


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(_NAMED_AS_PICTURES)


def _from_folders(listing: Listing) -> None:
    tops, loose = _inside(listing)
    splits = {top: SPLIT_NAMES.get(top.lower()) for top in tops}
    if not tops or None in splits.values():
        reason = "beside the class folders, so it has no class"
        listing.left_out += [(path, reason) for path in loose]
        for top in tops:
            _add_class(listing, top, "")
        return
    names = Counter(splits.values())
    if names["train"] != 1 or names["test"] != 1 or names["validation"] > 1:
        raise DataError(
            f"{listing.folder}: its folders {', '.join(splits)} are splits, but one train, one "
            f"test and at most one validation (val, valid) are needed; or put all pictures into "
            f"class folders, and they are split"
        )
    for top in tops:
        folders, files = _inside(listing, top)
        listing.left_out += [(path, "in no class folder") for path in [*loose, *files]]
        loose = []
        for folder in folders:
            _add_class(listing, folder, SPLIT_NAMES[top.lower()])


def _add_class(listing: Listing, folder: str, split: str) -> None:
    files, name = _pictures(listing, folder), folder.rpartition("/")[2]
    below = [file[len(folder) + 1 :] for file in files]
    if not files:
        listing.cautions.append(f"{folder} has no picture: it is no class")
    elif all("/" in path for path in below):
        inside = ", ".join(dict.fromkeys(path.partition("/")[0] for path in below))
        listing.cautions.append(f"{folder} holds only folders ({inside}), all of the class {name}")
    listing.entries += [Entry(file, name, split) for file in files]


def _inside(listing: Listing, folder: str = "") -> tuple[list[str], list[str]]:
    """The folders in one that are entered, and its picture files, both in natural order."""
    root = os.path.realpath(listing.folder)
    folders: list[str] = []
    files: list[str] = []
    with os.scandir(listing.folder / folder) as inside:
        for item in sorted(inside, key=lambda item: natural(item.name)):
            path = f"{folder}/{item.name}" if folder else item.name
            is_link = item.is_symlink()
            is_folder = os.path.isdir(item.path) if is_link else item.is_dir()  # noqa: PTH112 - loops
            reason = ""
            if item.name.startswith("."):
                reason = "hidden"
            elif is_folder:
                reason = "a link to a folder" if is_link else ""
            elif not _is_picture(item.name):
                reason = "not a picture by its name"
            elif is_link and not Path(os.path.realpath(item.path)).is_relative_to(root):
                reason = "a link out of the folder"
            if reason:
                listing.left_out.append((path, reason))
            else:
                (folders if is_folder else files).append(path)
    return folders, files


def _pictures(listing: Listing, folder: str = "") -> list[str]:
    """The picture files in a folder and in those below it."""
    folders, files = _inside(listing, folder)
    return files + [path for below in folders for path in _pictures(listing, below)]


def _from_labels(listing: Listing, file: Path) -> None:
    """The pictures of a CSV file with the columns path and class, and perhaps split."""
    root = Path(os.path.realpath(file.parent))
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as CSV in UTF-8 ({error})") from error
    labels: dict[str, str] = {}
    for line, row in rows:
        path, label = (str(row.get(name) or "").strip() for name in ("path", "class"))
        where = f"{file}, line {line}"
        if not path or not label:
            raise DataError(
                f"{where}: no path or no class; the first line should be path,class (or "
                f"path,class,split), and each other one name a picture and its class"
            )
        try:
            plain = _below(root, PurePosixPath(path.replace("\\", "/")))
        except ValueError as error:  # a NUL, or what the system's encoding of names has not
            raise DataError(f"{where}: no file can be called {path!a} ({error})") from error
        if plain is None:
            raise DataError(f"{where}: {path} lies outside of the folder of {file.name}")
        split = str(row.get("split") or "").strip().lower()
        if split and split not in SPLIT_NAMES:
            raise DataError(f"{where}: split must be train, test or validation, got {split}")
        if plain in labels:
            raise DataError(f"{where}: {path} is named twice; leave out one of the lines")
        labels[plain] = label
        listing.entries.append(Entry(plain, label, SPLIT_NAMES.get(split, "")))
    given = {entry.split for entry in listing.entries}
    if given != {""} and ("" in given or not {"train", "test"} <= given):
        raise DataError(f"{file}: give a split to all pictures, train and test among them, or none")
    others = [path for path in _pictures(listing) if path not in labels]
    listing.left_out += [(path, f"not in {file.name}") for path in others]
    listing.left_out = [left for left in listing.left_out if left[0] != file.name]


def _below(root: Path, path: PurePosixPath) -> str | None:
    """A path below the folder `root`, which no link leads to, as the folder's list has it.

    None where it lies outside. An absolute one, or one through `..`, would else be another name of
    the same file.
    """
    if not Path(os.path.realpath(root / path)).is_relative_to(root):
        return None
    if not path.is_absolute() and ".." not in path.parts:
        return path.as_posix()
    direct = Path(os.path.realpath(root / path.parent), path.name)
    return direct.relative_to(root).as_posix() if direct.is_relative_to(root) else None
