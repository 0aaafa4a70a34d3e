"""What a folder of results holds: all that was measured on one machine."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netinnet.bench import machine, page, roofline, scaling, turns, verdict
from netinnet.bench.contests import Contest
from netinnet.bench.kept import file_of
from netinnet.bench.roofline import Roofline
from netinnet.bench.scaling import Point
from netinnet.bench.verdict import Verdict

SCALING, ROOFLINE = "scaling", "roofline"


@dataclass(frozen=True)
class Found:
    """Contests in their order, points of the scaling, and rooflines."""

    verdicts: list[Verdict]
    points: list[Point]
    roofs: list[Roofline]


def read(folder: Path, contests: Mapping[str, Contest], here: dict[str, Any]) -> Found:
    """All results. Raises NetinnetError where some are of another machine, or no results."""
    opened = [
        verdict.judged(contest, turns.opened(contest, folder, here))
        for name, contest in contests.items()
        if file_of(name, folder).exists()
    ]
    alone = machine.seen_by(here)
    points = scaling.kept(file_of(SCALING, folder), alone)
    return Found(opened, points, roofline.kept(file_of(ROOFLINE, folder), alone))


def check(
    folder: Path,
    contests: Mapping[str, Contest],
    names: Collection[str],
    here: dict[str, Any],
    *,
    again: bool,
) -> None:
    """Raise NetinnetError, before anything is measured or removed, where `names` can't be measured
    beside what the folder holds. `again`: what it holds of these is measured again."""
    page.check_own(folder)
    alone = machine.seen_by(here)
    for name, contest in contests.items():
        if again and name in names:
            continue
        results = turns.opened(contest, folder, here)
        if name in names:
            turns.check_size(contest, results, folder)
    for name, read_kept in ((SCALING, scaling.kept), (ROOFLINE, roofline.kept)):
        if not (again and name in names):
            read_kept(file_of(name, folder), alone)
