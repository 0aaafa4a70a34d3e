"""How the pictures of a folder are split: by their content, classes and copies alone.

Of each class it is first counted how many pictures each split gets; then they are given in blocks
of a random order. So a picture more or less moves at most one other over each border of two splits,
where pictures are not grouped: in a group it moves the group, and others behind it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from netinnet.data.source import SPLITS
from netinnet.errors import DataError

SHARES = {"train": 0.7, "test": 0.15, "validation": 0.15}
"""Of each class, where the folder is not split."""
SEED = 0
IN_TURNS = f"by seed {SEED}"
"""What the record of a data set says of a split by an earlier version: the split whose turn it was
got the next picture of the order, so that one more moved many."""
IN_BLOCKS = f"{IN_TURNS}, in blocks"


def is_in_blocks(how_split: str) -> bool:
    """Whether a folder whose record says so was split as now, and not by an earlier version."""
    return IN_TURNS not in how_split or IN_BLOCKS in how_split


def joined(places: Iterable[int], pairs: Sequence[Sequence[int]]) -> list[list[int]]:
    """The places in groups that such pairs connect, each in order.

    Example: `joined(range(4), [(1, 3)])` is `[[0], [1, 3], [2]]`.
    """
    parent = {int(i): int(i) for pair in pairs for i in pair}

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for i, j in pairs:
        first, last = sorted((root(i), root(j)))
        parent[last] = first
    grouped = defaultdict(list)
    for i in places:
        grouped[root(i) if i in parent else i].append(i)
    return list(grouped.values())


def ranks(
    places: Sequence[int], sha256: Sequence[bytes], labels: Sequence[str] | None = None
) -> dict[int, int]:
    """The number of each place in a random order that depends on its picture's content.

    Among files of the same bytes it depends on the class, if `labels` are given, so that renaming a
    file moves none, else on the place.
    """
    keys = [hashlib.sha256(b"%d %s" % (SEED, digest)).digest() for digest in sha256]
    order = sorted(zip(keys, labels or [""] * len(places), places, strict=True))
    return {place: rank for rank, (_, _, place) in enumerate(order)}


def split(
    groups: Iterable[list[int]],
    label_of: Mapping[int, str],
    rank: Mapping[int, int],
    shares: Mapping[str, float],
    *,
    in_blocks: bool = True,
) -> dict[str, list[int]]:
    """The places of each split, groups together, shares kept of each class, larger groups first.

    A group is of the class of its first member by rank.
    """
    made: dict[str, list[int]] = {name: [] for name in shares}
    names = list(made)
    alike = defaultdict(list)
    for group in groups:
        first = min(group, key=rank.__getitem__) if in_blocks else group[0]
        alike[len(group), label_of[first]].append((rank[first], group))
    taken: dict[str, list[int]] = defaultdict(lambda: [0] * len(shares))
    for size, label in sorted(alike, reverse=True):
        ranked = sorted(alike[size, label])
        turns = _turns(len(ranked), size, taken[label], [*shares.values()])
        for turn, (_, group) in zip(sorted(turns) if in_blocks else turns, ranked, strict=True):
            made[names[turn]] += group
    return made


def _turns(count: int, size: int, taken: list[int], shares: Sequence[float]) -> list[int]:
    """Which split takes each of so many groups, as seats are given to parties (Sainte-Laguë).

    What it takes is added to `taken`. One group more changes none of the turns before it.
    """
    turns = []
    for _ in range(count):
        waiting = [(n + size / 2) / share for n, share in zip(taken, shares, strict=True)]
        turns.append(waiting.index(min(waiting)))
        taken[turns[-1]] += size
    return turns


def parse(text: str) -> dict[str, float]:
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
