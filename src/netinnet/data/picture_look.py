"""A look at a folder of pictures before anything is learnt of them: every file is opened.

What each one is (size, mode, damage, SHA-256, a thumbnail) is kept in the cache by the file's size
and time, so that a later look opens only what is new.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from netinnet import files
from netinnet.data import near_duplicates, picture_folder
from netinnet.data.loader import ahead
from netinnet.data.near_duplicates import Thumbnails
from netinnet.data.picture_folder import Entry, Listing
from netinnet.data.picture_table import (
    FORMAT,
    SEEN,
    Kept,
    Seen,
    no_thumbnails,
    open_picture,
    read_kept,
    sha256_of,
    stamp,
)
from netinnet.data.pictures import natural
from netinnet.data.source import SPLITS, Progress, silent
from netinnet.errors import DataError
from netinnet.units import counted

WORKERS = min(8, os.cpu_count() or 1)
"""Threads that open or decode pictures."""
SHARES = {"train": 0.7, "test": 0.15, "validation": 0.15}
"""Of each class, where the folder is not split."""
SPLIT_SEED = 0
FEW, UNEQUAL = 20, 10
"""A class of fewer pictures is cautioned, and one that has so many times fewer than the largest."""
NAMED = 5
"""So many files are named in a line, the rest is counted."""


@dataclass(frozen=True)
class Look:
    """What a look at a folder shows. `seen` has a row for each entry of `listing`."""

    listing: Listing
    seen: Seen
    errors: dict[int, str]
    """Why a picture can't be used, by its place."""
    near: Sequence[Sequence[int]]
    """Pairs of near-duplicates, by place."""
    shares: Mapping[str, float] = field(default_factory=lambda: SHARES)
    """Of each class for each split, where the folder is not split."""
    group_by: str | None = None
    """A regular expression: pictures in whose paths it finds the same stay on one side."""

    @cached_property
    def good(self) -> npt.NDArray[np.int64]:
        """The places of the pictures that can be used, in order."""
        return np.array([i for i in range(len(self.seen)) if i not in self.errors], np.int64)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The classes of the pictures that can be used, in natural order."""
        return tuple(sorted({self.entries[i].label for i in self.good}, key=natural))

    @property
    def entries(self) -> list[Entry]:
        return self.listing.entries

    def shown_path(self, place: int) -> str:
        """A picture's path below the folder, as it can be printed."""
        return _shown(self.entries[place].path)

    @cached_property
    def sha256(self) -> list[bytes]:
        """Of each good picture's file."""
        digests: list[bytes] = self.seen["sha256"][self.good].tolist()
        return digests

    @cached_property
    def exact(self) -> list[list[int]]:
        """The places of pictures whose files have the same bytes, a list for each such file."""
        same = defaultdict(list)
        if len(set(self.sha256)) == len(self.sha256):
            return []
        for i, sha256 in zip(self.good.tolist(), self.sha256, strict=True):
            same[sha256].append(i)
        return [places for places in same.values() if len(places) > 1]

    @cached_property
    def copies(self) -> list[list[int]]:
        """Pictures that are copies of each other, exact or near, each group in order."""
        return self._joined(self._pairs)

    @property
    def _pairs(self) -> list[Sequence[int]]:
        return [*(pair for same in self.exact for pair in pairwise(same)), *self.near]

    @cached_property
    def subjects(self) -> dict[str, list[int]]:
        """The places of the pictures in whose paths `group_by` finds the same, by what it finds:
        its first group in parentheses, or all of it."""
        found = defaultdict(list)
        for i in map(int, self.good if self.group_by is not None else ()):
            if match := re.search(str(self.group_by), self.entries[i].path):
                found[match[1] or "" if match.re.groups else match[0]].append(i)
        return found

    @cached_property
    def groups(self) -> list[list[int]]:
        """Pictures that stay on one side of a split: copies, and those of one subject."""
        if self.group_by is None:
            return self.copies
        same = [pair for places in self.subjects.values() for pair in pairwise(places)]
        return self._joined([*self._pairs, *same])

    def _joined(self, pairs: Sequence[Sequence[int]]) -> list[list[int]]:
        """The good pictures in groups that such pairs connect."""
        parent = {int(i): int(i) for pair in pairs for i in pair}

        def root(i: int) -> int:
            while parent[i] != i:
                parent[i] = i = parent[parent[i]]
            return i

        for i, j in pairs:
            first, last = sorted((root(i), root(j)))
            parent[last] = first
        grouped = defaultdict(list)
        for i in self.good.tolist():
            grouped[root(i) if i in parent else i].append(i)
        return list(grouped.values())

    @cached_property
    def _rank(self) -> dict[int, int]:
        """The number of each good picture in a random order that depends on its content alone: so
        renaming a file moves none, and adding one few."""
        keys = [hashlib.sha256(b"%d %s" % (SPLIT_SEED, s)).digest() for s in self.sha256]
        places = self.good.tolist()
        return {
            places[i]: rank for rank, i in enumerate(sorted(range(len(keys)), key=keys.__getitem__))
        }

    @cached_property
    def splits(self) -> dict[str, list[int]]:
        """The places of each split's pictures: as given, or made by `shares`, copies together.

        They are in an order by content, so that the first so many of them are of all classes.
        """
        made: dict[str, list[int]] = {split: [] for split in SPLITS}
        for place in map(int, self.good if self.listing.is_split else ()):
            made[self.entries[place].split].append(place)
        names, shares = [*self.shares], [*self.shares.values()]
        counts: dict[str, list[int]] = defaultdict(lambda: [0] * len(shares))
        rank = self._rank
        groups = [] if self.listing.is_split else self.groups
        for group in sorted(groups, key=lambda group: (-len(group), rank[group[0]])):
            taken = counts[self.entries[group[0]].label]
            # As seats are given to parties (Sainte-Laguë).
            half = len(group) / 2
            turns = [(n + half) / share for n, share in zip(taken, shares, strict=True)]
            chosen = turns.index(min(turns))
            taken[chosen] += len(group)
            made[names[chosen]] += group
        return {split: sorted(made[split], key=rank.__getitem__) for split in SPLITS if made[split]}

    @property
    def how_split(self) -> str:
        if self.listing.is_split:
            return "as given"
        shares = "/".join(f"{100 * share:g}" for share in self.shares.values())
        same = "copies" if self.group_by is None else f"copies and groups by {self.group_by}"
        how = f"{'/'.join(self.shares)} {shares} of each class by seed {SPLIT_SEED}"
        return f"{how}, {same} together"

    def check(self, skip_bad: bool) -> None:
        """Raise DataError for pictures that can't be used, and for splits without a picture."""
        if self.errors and not skip_bad:
            named = "; ".join(list(self.errors.values())[:NAMED])
            more = f"; and {len(self.errors) - NAMED:,} more" if len(self.errors) > NAMED else ""
            raise DataError(
                f"{counted(len(self.errors), 'picture')} of {len(self.seen):,} can't be used: "
                f"{named}{more}. Repair or remove them, or leave them out with --skip-bad"
            )
        if not {"train", "test"} <= set(self.splits) or len(self.classes) < 2:
            raise DataError(
                f"{self.listing.folder}: {counted(len(self.good), 'usable picture')}; there must "
                f"be two classes, and pictures to train and to test"
            )

    @cached_property
    def cautions(self) -> list[str]:
        """What somebody should know before learning from these pictures, a line each."""
        lines = list(self.listing.cautions)
        if self.errors:
            lines.append(self._files("left out, can't be used", self.errors))
        reasons = defaultdict(list)
        for path, reason in self.listing.left_out:
            reasons[reason].append(path)
        lines += [_named(f"left out, {reason}", paths) for reason, paths in reasons.items()]
        lines += self._about_copies()
        if self.group_by is not None:
            lines += self._about_subjects()
        counts = Counter(self.entries[i].label for i in self.splits.get("train", []))
        largest = max(counts.values(), default=0)
        for name in self.classes:
            for split, places in self.splits.items():
                if not any(self.entries[i].label == name for i in places):
                    lines.append(f"class {name} has no picture in {split}")
            if 0 < counts[name] < FEW:
                lines.append(f"class {name} has only {counted(counts[name], 'training picture')}")
            elif counts[name] and largest >= UNEQUAL * counts[name]:
                lines.append(
                    f"class {name} has {counts[name]:,} training pictures, others {largest:,}"
                )
        seen = self.seen[self.good]
        for text, chosen in (
            ("of several frames or pages, the first is used", seen["animated"]),
            ("with a colour profile other than sRGB, which is not applied", seen["profile"]),
        ):
            if chosen.any():
                lines.append(self._files(text, self.good[chosen]))
        return [_shown(line) for line in lines]

    def _about_copies(self) -> list[str]:
        lines = []
        split_of = {i: split for split, places in self.splits.items() for i in places}
        copies = [group for group in self.copies if len(group) > 1]
        across = [g for g in copies if len({self.entries[i].label for i in g}) > 1]
        apart = [g for g in copies if len({split_of[i] for i in g}) > 1]
        for text, groups in (
            ("the same picture in several classes", across),
            ("the same picture on both sides of the split", apart),
        ):
            if groups:
                shown = "; ".join(
                    " = ".join(self.entries[i].path for i in g[:3]) for g in groups[:3]
                )
                lines.append(
                    f"{text}: {counted(len(groups), 'time')} ({shown}{' …' * (len(groups) > 3)})"
                )
        if copies:
            exact = sum(len(group) - 1 for group in self.exact)
            extra = sum(len(group) - 1 for group in copies)
            lines.append(
                f"{counted(extra, 'picture')} more than once: {exact:,} as the same file, "
                f"{extra - exact:,} recompressed, resized or cropped"
            )
        return lines

    def _about_subjects(self) -> list[str]:
        grouped = sum(map(len, self.subjects.values()))
        line = f"--group-by {self.group_by}: {counted(len(self.subjects), 'group')}"
        if without := len(self.good) - grouped:
            line += f", and {counted(without, 'picture')} in none, each for itself"
        return [line]

    def _files(self, text: str, places: Iterable[int]) -> str:
        return _named(text, [self.entries[i].path for i in places])

    def to_csv(self) -> str:
        """Path, class and split of each picture, in order: a file of labels for this folder."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("path", "class", "split"))
        entries = self.entries
        for split, places in self.splits.items():
            rows.writerows((*entries[i][:2], split) for i in places)
        return _shown(text.getvalue())

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data for JSON."""
        seen, path = self.seen[self.good], [entry.path for entry in self.entries]
        split_of = {i: split for split, places in self.splits.items() for i in places}
        counts = Counter((self.entries[i].label, split_of[i]) for i in split_of)
        sizes = Counter(zip(seen["width"].tolist(), seen["height"].tolist(), strict=True))
        result = {
            "folder": str(self.listing.folder),
            "pictures": len(self.good),
            "split": self.how_split,
            "classes": {
                name: {split: counts[name, split] for split in self.splits} for name in self.classes
            },
            "sizes": {f"{w}×{h}": n for (w, h), n in sizes.most_common()},
            "modes": dict(Counter(m.decode() for m in seen["mode"].tolist()).most_common()),
            "rotated": [path[i] for i in self.good[seen["rotated"]]],
            "animated": [path[i] for i in self.good[seen["animated"]]],
            "not_srgb": [path[i] for i in self.good[seen["profile"]]],
            "damaged": [{"file": path[i], "reason": text} for i, text in self.errors.items()],
            "left_out": [{"file": f, "reason": why} for f, why in self.listing.left_out],
            "duplicates": [[path[i] for i in group] for group in self.exact],
            "near_duplicates": [[path[i], path[j]] for i, j in self.near],
            "cautions": self.cautions,
        }
        plain: dict[str, Any] = json.loads(_shown(json.dumps(result, ensure_ascii=False)))
        return plain


def parse_split(text: str) -> dict[str, float]:
    """The share of each split, of "80/10/10" or "90/10". Raises DataError for anything else."""
    try:
        shares = [float(part) / 100 for part in text.split("/")]
    except ValueError:
        shares = []
    # Asked so that NaN is refused: it is neither above nor below anything.
    if len(shares) not in (2, 3) or not (min(shares) > 0 and abs(sum(shares) - 1) <= 1e-6):
        raise DataError(
            f"a split is per cent for training, test and perhaps validation, 100 in all, as in "
            f"80/10/10 or 90/10; got '{text}'"
        )
    return dict(zip(SPLITS, shares, strict=False))


def _shown(text: str) -> str:
    """A file's name need not be UTF-8; what is printed and written must be."""
    return text.encode(errors="replace").decode()


def _named(text: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"{counted(len(names), 'file')} {text}: {', '.join(names[:NAMED])}{more}"


def look(
    path: Path,
    cache: Path,
    on_progress: Progress = silent,
    *,
    group_by: str | None = None,
    split: str | None = None,
    verify: bool = False,
) -> Look:
    """Look at a folder of pictures (or its file of labels), opening what wasn't seen before.

    Args:
        path: A folder with one of the layouts of `picture_folder`, or its CSV file.
        cache: The folder in which what was seen is kept.
        on_progress: Called with the bytes of the files opened and in all.
        group_by: A regular expression: pictures in whose paths it finds the same stay together.
        split: Per cent for training, test and validation, as in 80/10/10; 70/15/15 if None.
        verify: Compare the SHA-256 of every file, instead of trusting its size and time.

    Raises:
        DataError: Where it has no such layout, or can't be split so; damaged pictures are no error
            here, but in `errors`.

    Example: `look(Path("photos"), Path("cache")).cautions`.
    """
    if group_by is not None:
        _check_expression(group_by)
    listing = picture_folder.scan(path)
    if split is not None and listing.is_split:
        raise DataError(f"{path}: it is split already; leave out --split {split}")
    shares = SHARES if split is None else parse_split(split)
    splitting: dict[str, Any] = {"shares": shares, "group_by": group_by}
    # One for each folder, wherever the working folder is.
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:24]
    kept_file = cache / f"look{FORMAT}-{name}.npz"
    paths = [entry.path for entry in listing.entries]
    known = read_kept(kept_file)
    stamps = [stamp(f"{listing.folder}/{path}") for path in paths]
    kept_stamps = list(zip(known.seen["bytes"].tolist(), known.seen["time"].tolist(), strict=True))
    if not verify and paths == known.paths and stamps == kept_stamps:
        errors = {int(place): text for place, text in known.errors.items()}
        return Look(listing, known.seen, errors, known.near.tolist(), **splitting)
    seen = np.zeros(len(paths), SEEN)
    places = {path: i for i, path in enumerate(known.paths)}
    old = {i: places[path] for i, path in enumerate(paths) if path in places}
    opened = [i for i, now in enumerate(stamps) if i not in old or kept_stamps[old[i]] != now]
    if verify:
        trusted = {i: j for i, j in old.items() if i not in set(opened)}
        opened = sorted([*opened, *_edited(listing, known, trusted, on_progress)])
    for i in opened:
        old.pop(i, None)
    seen[list(old)] = known.seen[list(old.values())]
    errors = {i: known.errors[str(j)] for i, j in old.items() if str(j) in known.errors}
    if not opened and paths == known.paths:
        return Look(listing, seen, errors, known.near.tolist(), **splitting)
    thumbnails = no_thumbnails(len(paths))
    thumbnails[list(old)] = known.thumbnails()[list(old.values())]
    made = ahead(partial(open_picture, listing.folder), (paths[i] for i in opened), WORKERS)
    done, total = 0, sum(stamps[i][0] for i in opened)
    for i, (row, thumbnail, error) in zip(opened, made, strict=True):
        seen[i], thumbnails[i] = row, thumbnail
        if error:
            errors[i] = error
        done += stamps[i][0]
        on_progress(f"{listing.folder}: looking at pictures", done, total)
    errors = dict(sorted(errors.items()))
    comparing = f"{listing.folder}: comparing {counted(len(seen), 'picture')}"
    near = _near(seen, thumbnails, errors, partial(on_progress, comparing))
    about = {"folder": str(path.resolve()), "paths": paths, "errors": errors}
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    with files.replacing(kept_file) as file:
        np.savez(file, seen=seen, near=near, text=text, thumbnails=thumbnails)
    return Look(listing, seen, errors, near.tolist(), **splitting)


def _check_expression(group_by: str) -> None:
    try:
        re.compile(group_by)
    except (re.error, OverflowError, RecursionError) as error:
        raise DataError(f"group_by is no regular expression: {error}") from error


def _edited(
    listing: Listing, known: Kept, trusted: dict[int, int], on_progress: Progress
) -> list[int]:
    """Of pictures that look unchanged (place: that in `known`), those whose SHA-256 is another."""
    edited: list[int] = []
    paths = (listing.entries[i].path for i in trusted)
    done, total = 0, int(known.seen["bytes"][list(trusted.values())].sum())
    for (i, j), now in zip(
        trusted.items(), ahead(partial(sha256_of, listing.folder), paths, WORKERS), strict=True
    ):
        if now != known.seen["sha256"][j]:
            edited.append(i)
        done += int(known.seen["bytes"][j])
        on_progress(f"{listing.folder}: verifying pictures", done, total)
    line = f"{listing.folder}: {counted(len(trusted), 'file')} verified"
    if edited:
        names = [listing.entries[i].path for i in edited]
        line += f"; {_shown(_named('edited though size and time are the same', names))}"
    on_progress(line, 0, None)
    return edited


def _near(
    seen: Seen,
    thumbnails: Thumbnails,
    errors: dict[int, str],
    on_progress: Callable[[int, int], object],
) -> npt.NDArray[np.int64]:
    """Pairs of near-duplicates among the good pictures; of files of the same bytes the first."""
    good = np.array([i for i in range(len(seen)) if i not in errors], np.int64)
    once = np.sort(good[np.unique(seen["sha256"][good], return_index=True)[1]])
    small = thumbnails[once]
    pairs = near_duplicates.pairs(
        small, lambda share: on_progress(int(share * small.nbytes), small.nbytes)
    )
    return once[np.array(pairs, np.int64).reshape(-1, 2)]
