"""The page of a comparison of networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from netinnet.reports.figures import drawn
from netinnet.studies import comparison
from netinnet.studies.outcome import Outcome
from netinnet.studies.pages import figures, page
from netinnet.studies.plan import Plan


def write(folder: Path, plan: Plan, outcomes: Sequence[Outcome], state: str) -> Path:
    """Write report.html into the study's folder and return its path."""
    rows = comparison.table(plan, outcomes)
    done = [(r, r.accuracy, r.seconds.mean) for r in rows if r.accuracy and r.seconds]
    names, accuracies = [row.arm for row, *_ in done], [accuracy for _, accuracy, _ in done]
    costs: dict[str, list[float]] = {
        "parameters": [row.parameters for row, *_ in done],
        "training time (s)": [seconds for *_, seconds in done],
    }
    return page.write_arms(
        *("comparison.html", folder, plan, outcomes, state),
        panels=[("", rows)],
        title="Networks compared",
        rows=rows,
        recipes=[arm.recipe for arm in plan.arms],
        places=drawn(figures.accuracy_against_cost, names, costs, accuracies) if done else None,
    )
