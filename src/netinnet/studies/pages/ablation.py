"""The page of an ablation: every arm beside the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from netinnet.reports.figures import drawn
from netinnet.studies import ablation
from netinnet.studies.ablation import QUESTIONS
from netinnet.studies.outcome import Outcome
from netinnet.studies.pages import figures, page
from netinnet.studies.plan import Plan


def write(folder: Path, plan: Plan, outcomes: Sequence[Outcome], state: str) -> Path:
    """Write report.html into the study's folder and return its path."""
    rows = ablation.table(plan, outcomes)
    effects = [(row.arm, row.difference) for row in rows if row.difference is not None]
    # The arms of each question, the baseline first.
    asked = {name: [row for row in rows if row.question in (None, name)] for name in QUESTIONS}
    asked = {name: arms for name, arms in asked.items() if len(arms) > 1}
    return page.write_arms(
        *("ablation.html", folder, plan, outcomes, state),
        panels=list(asked.items()),
        title=f"Ablation of {plan.arms[0].network.name}",
        baseline=rows[0],
        questions=[(QUESTIONS[name].title, arms) for name, arms in asked.items()],
        effects=drawn(figures.effects, effects) if effects else None,
    )
