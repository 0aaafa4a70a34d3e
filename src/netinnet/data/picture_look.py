"""A look at a folder of pictures before anything is learnt of them: every file is opened.

What each one is (size, mode, damage, SHA-256, a thumbnail) is kept in the cache by the file's size
and time, so that a later look opens only what is new.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from netinnet.data import picture_folder, picture_split, picture_table
from netinnet.data.picture_folder import NAMED, Entry, Listing, named, shown
from netinnet.data.picture_split import SHARES, joined
from netinnet.data.picture_table import Seen
from netinnet.data.pictures import natural
from netinnet.data.source import SPLITS, Progress, silent
from netinnet.errors import DataError
from netinnet.units import counted

FEW, UNEQUAL = 20, 10
"""A class of fewer pictures is cautioned, and one that has so many times fewer than the largest."""


@dataclass(frozen=True)
class Look:
    """What a look at a folder shows. `seen` has a row for each entry of `listing`."""

    listing: Listing
    seen: Seen
    errors: dict[int, str]
    """Why a picture can't be used, by its place."""
    near: Sequence[Sequence[int]]
    """Pairs of near-duplicates, by place."""
    shares: Mapping[str, float]
    """Of each class for each split, where the folder is not split."""
    group_by: str | None = None
    """A regular expression: pictures in whose paths it finds the same stay on one side."""
    in_blocks: bool = True
    """How `picture_split.split` goes about it; earlier versions did otherwise."""

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
        return shown(self.entries[place].path)

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
        return joined(self.good.tolist(), self._pairs)

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
    def apart(self) -> list[str]:
        """What `group_by` finds in several splits of a folder that is split already."""
        return [name for name, places in self.subjects.items() if self._is_apart(places)]

    def _is_apart(self, places: Iterable[int]) -> bool:
        return len({self.split_of[i] for i in places}) > 1

    @cached_property
    def groups(self) -> list[list[int]]:
        """Pictures that stay on one side of a split: copies, and those of one subject."""
        if self.group_by is None:
            return self.copies
        same = [pair for places in self.subjects.values() for pair in pairwise(places)]
        return joined(self.good.tolist(), [*self._pairs, *same])

    @cached_property
    def splits(self) -> dict[str, list[int]]:
        """The places of each split's pictures: as given, or made by `shares`, groups together.

        They are in an order by content, so that the first so many of them are of all classes.
        """
        places = self.good.tolist()
        labels = {i: self.entries[i].label for i in places}
        by_class = self.in_blocks and not self.listing.is_split
        tied = [*labels.values()] if by_class else None
        rank = picture_split.ranks(places, self.sha256, tied)
        made: dict[str, list[int]] = {split: [] for split in SPLITS}
        if self.listing.is_split:
            for place in places:
                made[self.entries[place].split].append(place)
        else:
            made |= picture_split.split(
                self.groups, labels, rank, self.shares, in_blocks=self.in_blocks
            )
        return {split: sorted(made[split], key=rank.__getitem__) for split in SPLITS if made[split]}

    @cached_property
    def split_of(self) -> dict[int, str]:
        """The split of each picture, by its place."""
        return {i: split for split, places in self.splits.items() for i in places}

    @property
    def how_split(self) -> str:
        if self.listing.is_split:
            apart = f", {counted(len(self.apart), 'group')} by {self.group_by} in several splits"
            return "as given" + apart * bool(self.apart)
        shares = "/".join(f"{100 * share:g}" for share in self.shares.values())
        same = "copies" if self.group_by is None else f"copies and groups by {self.group_by}"
        how = picture_split.IN_BLOCKS if self.in_blocks else picture_split.IN_TURNS
        return f"{'/'.join(self.shares)} {shares} of each class {how}, {same} together"

    @property
    def has_splits(self) -> bool:
        """Whether there are pictures to train and to test."""
        return {"train", "test"} <= self.splits.keys()

    def check(self, skip_bad: bool) -> None:
        """Raise DataError for pictures that can't be used, and for splits without a picture."""
        if self.errors and not skip_bad:
            first = "; ".join(list(self.errors.values())[:NAMED])
            more = f"; and {len(self.errors) - NAMED:,} more" if len(self.errors) > NAMED else ""
            raise DataError(
                f"{counted(len(self.errors), 'picture')} of {len(self.seen):,} can't be used: "
                f"{first}{more}. Repair or remove them, or leave them out with --skip-bad"
            )
        usable = f"{self.listing.folder}: {counted(len(self.good), 'usable picture')}"
        if len(self.classes) > 1 and self.has_splits:
            return
        grouped = not self.listing.is_split and len(self.groups) < len(self.good)
        if len(self.classes) > 1 and grouped:
            why, cure = "copies of each other", "add other pictures"
            if self.group_by is not None:
                why, cure = f"copies, and --group-by {self.group_by}", "choose another --group-by"
            raise DataError(
                f"{usable}, kept together in {counted(len(self.groups), 'group')} ({why}): none is "
                f"left to test; {cure}"
            )
        lost = "".join(f"; {line}" for line in self._about_lost())
        raise DataError(
            f"{usable}; there must be two classes, and pictures to train and to test{lost}"
        )

    @cached_property
    def cautions(self) -> list[str]:
        """What somebody should know before learning from these pictures, a line each."""
        lines = [*self._about_lost(), *self.listing.cautions]
        if self.errors:
            lines.append(self._files("left out, can't be used", self.errors))
        reasons = defaultdict(list)
        for path, reason in self.listing.left_out:
            reasons[reason].append(path)
        lines += [named(f"left out, {reason}", paths) for reason, paths in reasons.items()]
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
            ("dark, as at most 12 of their 16 bits are used: stretch their values", seen["dark"]),
        ):
            if chosen.any():
                lines.append(self._files(text, self.good[chosen]))
        return [shown(line) for line in lines]

    def _about_lost(self) -> list[str]:
        counts = Counter(entry.label for entry in self.entries)
        return [
            f"class {name} is left out: not one of its {counted(count, 'picture')} can be used"
            for name, count in counts.items()
            if name not in self.classes
        ]

    def _about_copies(self) -> list[str]:
        lines = []
        copies = [group for group in self.copies if len(group) > 1]
        across = [g for g in copies if len({self.entries[i].label for i in g}) > 1]
        apart = [g for g in copies if self._is_apart(g)]
        for text, groups in (
            ("the same picture in several classes", across),
            ("the same picture on both sides of the split", apart),
        ):
            if groups:
                first = "; ".join(
                    " = ".join(self.entries[i].path for i in g[:3]) for g in groups[:3]
                )
                lines.append(
                    f"{text}: {counted(len(groups), 'time')} ({first}{' …' * (len(groups) > 3)})"
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
        if not self.apart:
            return [line]
        names = ", ".join(self.apart[:NAMED]) + " …" * (len(self.apart) > NAMED)
        return [
            line,
            f"groups by {self.group_by} that are in several splits: {len(self.apart):,} ({names}); "
            f"the folder is split already, which --group-by does not change",
        ]

    def _files(self, text: str, places: Iterable[int]) -> str:
        return named(text, [self.entries[i].path for i in places])

    def to_csv(self) -> str:
        """Path, class and split of each picture, in order: a file of labels for this folder."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("path", "class", "split"))
        entries = self.entries
        for split, places in self.splits.items():
            rows.writerows((*entries[i][:2], split) for i in places)
        return shown(text.getvalue())

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data for JSON."""
        seen, path = self.seen[self.good], [entry.path for entry in self.entries]
        counts = Counter((self.entries[i].label, split) for i, split in self.split_of.items())
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
            "dark_16_bit": [path[i] for i in self.good[seen["dark"]]],
            "damaged": [{"file": path[i], "reason": text} for i, text in self.errors.items()],
            "left_out": [{"file": f, "reason": why} for f, why in self.listing.left_out],
            "duplicates": [[path[i] for i in group] for group in self.exact],
            "near_duplicates": [[path[i], path[j]] for i, j in self.near],
            "cautions": self.cautions,
        }
        plain: dict[str, Any] = json.loads(shown(json.dumps(result, ensure_ascii=False)))
        return plain


def look(
    path: Path,
    cache: Path,
    on_progress: Progress = silent,
    *,
    group_by: str | None = None,
    split: str | None = None,
    how_split: str = "",
    verify: bool = False,
) -> Look:
    """Look at a folder of pictures (or its file of labels), opening what wasn't seen before.

    Args:
        path: A folder with one of the layouts of `picture_folder`, or its CSV file.
        cache: The folder in which what was seen is kept.
        on_progress: Called with the bytes of the files opened and in all.
        group_by: A regular expression: pictures in whose paths it finds the same stay together.
        split: Per cent for training, test and validation, as in 80/10/10; 70/15/15 if None.
        how_split: What the record of a data set says of its split, to make it in the same way; as
            this version does if "".
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
    shares = SHARES if split is None else picture_split.parse(split)
    seen, reasons, near = picture_table.of(listing, path, cache, on_progress, verify=verify)
    errors = {i: f"{listing.folder / listing.entries[i].path}: {r}" for i, r in reasons.items()}
    in_blocks = picture_split.is_in_blocks(how_split)
    return Look(listing, seen, errors, near, shares, group_by, in_blocks)


def _check_expression(group_by: str) -> None:
    try:
        re.compile(group_by)
    except (re.error, OverflowError, RecursionError) as error:
        raise DataError(f"group_by is no regular expression: {error}") from error
