"""The page of a comparison of networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from netinnet.reports.figures import drawn
from netinnet.studies import comparison
from netinnet.studies.outcome import Outcome
from netinnet.studies.pages import figures, page
from netinnet.studies.pages.figures import Place
from netinnet.studies.plan import Plan


def write(folder: Path, plan: Plan, outcomes: Sequence[Outcome], state: str) -> Path:
    """Write report.html into the study's folder and return its path."""
    rows = comparison.table(plan, outcomes)
    places = [
        Place(row.arm, row.parameters, row.seconds.mean, row.accuracy)
        for row in rows
        if row.accuracy is not None and row.seconds is not None
    ]
    return page.write_arms(
        *("comparison.html", folder, plan, outcomes, state),
        panels=[("", rows)],
        title="Networks compared",
        rows=rows,
        recipes=[arm.recipe for arm in plan.arms],
        places=drawn(figures.accuracy_against_cost, places) if places else None,
    )
