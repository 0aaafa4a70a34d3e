"""The page of a reliability study: how many runs converged, and what died in the others."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from netinnet.reports.figures import drawn
from netinnet.studies import reliability
from netinnet.studies.outcome import Outcome
from netinnet.studies.pages import figures, page
from netinnet.studies.pages.figures import Recalls
from netinnet.studies.plan import Plan
from netinnet.studies.reliability import ArmReliability

MOST_CARDS = 8
MOST_CLASSES = 40
"""A map of more classes than this could not be read."""


def write(folder: Path, plan: Plan, outcomes: Sequence[Outcome], state: str) -> Path:
    """Write report.html into the study's folder and return its path."""
    rows = reliability.table(plan, outcomes)
    networks = ", ".join(sorted({arm.network.name for arm in plan.arms}))
    classes = plan.arms[0].facts.classes
    threshold = plan.settings["threshold"]
    return page.write_arms(
        *("reliability.html", folder, plan, outcomes, state),
        panels=[("", rows)],
        title=f"How reliably does {networks} learn?",
        rows=rows,
        most_cards=MOST_CARDS,
        ends=[s for s in ("diverged", "failed") if any(getattr(row, s) for row in rows)],
        threshold=threshold,
        strips=_strips(rows, threshold),
        **_dead_classes(outcomes, len(classes)),
        **_recalls(rows, classes),
    )


def _finished(row: ArmReliability) -> list[tuple[float, Outcome]]:
    return [(o.accuracy, o) for o in row.runs if o.accuracy is not None]


def _strips(rows: Sequence[ArmReliability], threshold: float) -> str | None:
    arms = {row.arm: [(a, bool(o.dead)) for a, o in _finished(row)] for row in rows}
    return drawn(figures.accuracy_strips, arms, threshold) if any(arms.values()) else None


def _dead_classes(outcomes: Sequence[Outcome], classes: int) -> dict[str, Any]:
    """Accuracy by the number of dead classes: does one account for the other?

    And in which epochs the classes died that were dead in the end.
    """
    by_count: dict[int, list[float]] = defaultdict(list)
    for o in outcomes:
        if o.accuracy is not None:
            by_count[len(o.dead)].append(o.accuracy)
    fewest = min(by_count, default=0)
    alive = classes - fewest
    best = statistics.median(by_count[fewest]) * classes / alive if by_count and alive else None
    points = [(count, a) for count in sorted(by_count) for a in by_count[count]]
    epochs = Counter(dead.epoch for o in outcomes for dead in o.dead)
    return {
        "by_count": [
            (count, len(shares), statistics.median(shares), min(shares), max(shares))
            for count, shares in sorted(by_count.items())
        ],
        "has_dead": any(by_count),
        "dead_and_accuracy": drawn(figures.dead_and_accuracy, points, classes, best)
        if any(by_count)
        else None,
        "died_in": sorted((epoch, n) for epoch, n in epochs.items() if epoch is not None),
        "died_last": epochs[None],
    }


def _recalls(rows: Sequence[ArmReliability], classes: Sequence[str]) -> dict[str, Any]:
    """Which classes each run found: a class that is never found is not always a dead one."""
    arms = []
    for row in rows:
        runs = [o for _, o in sorted(_finished(row), key=lambda pair: -pair[0])]
        dead = [[name in {d.name for d in o.dead} for name in classes] for o in runs]
        if runs and len(classes) <= MOST_CLASSES:
            arms.append(Recalls(row.arm, [o.recall for o in runs], dead))
    return {
        "classes": classes,
        "recall_maps": drawn(figures.recall_maps, arms, classes) if arms else None,
        "median_recalls": [
            (arm.name, [_median([run[i] for run in arm.recalls]) for i in range(len(classes))])
            for arm in arms
        ],
    }


def _median(recalls: Sequence[float | None]) -> float | None:
    known = [recall for recall in recalls if recall is not None]
    return statistics.median(known) if known else None
