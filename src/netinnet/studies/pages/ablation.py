"""The page of an ablation: every arm beside the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from netinnet.studies import ablation
from netinnet.studies.ablation import QUESTIONS, ArmEffect
from netinnet.studies.outcome import Outcome
from netinnet.studies.pages import figures
from netinnet.studies.pages.page import (
    Page,
    difference,
    duration,
    figure,
    learning_curves,
    lost_runs,
    mean_and_spread,
    runs_section,
    section,
    text_table,
)
from netinnet.studies.plan import Plan


def write(folder: Path, plan: Plan, outcomes: Sequence[Outcome], state: str) -> Path:
    """Write report.html into the study's folder and return its path."""
    rows = ablation.table(plan, outcomes)
    baseline = rows[0]
    cards = [
        ("baseline accuracy (%)", mean_and_spread(baseline.accuracy, ".2f", 100)),
        ("baseline parameters", f"{baseline.parameters:,}"),
    ]
    questions = [name for name in QUESTIONS if any(row.question == name for row in rows)]
    page = Page(
        f"Ablation of {plan.arms[0].recipe.network}",
        cards,
        (
            _effects(rows),
            *(
                _question(name, [r for r in rows if r.question in (None, name)])
                for name in questions
            ),
            learning_curves([(name, _arms(rows, name)) for name in questions]),
            runs_section(folder, outcomes),
        ),
        lost_runs(outcomes),
    )
    return page.write(folder, plan, outcomes, state)


def _arms(rows: Sequence[ArmEffect], question: str) -> list[ArmEffect]:
    """The arms of one question, the baseline first."""
    return [row for row in rows if row.question in (None, question)]


def _effects(rows: Sequence[ArmEffect]) -> str:
    shown = [(row.arm, row.difference) for row in rows if row.difference is not None]
    if not shown:
        return ""
    caption = (
        "Mean difference from the baseline, seed by seed, with Student's 95 % interval. Where the "
        "interval holds 0, the runs do not tell the arm from the baseline. In the tables below, "
        "accuracy is a mean ± standard deviation; MACs and activations "
        "(float32) are those of one picture in a forward pass; time is that of a training."
    )
    svg = figures.effects(shown)
    return section("What each change does", figure(svg, "Differences from the baseline", caption))


def _question(name: str, rows: Sequence[ArmEffect]) -> str:
    header = ["arm", "runs", "accuracy (%)", "against baseline (points)", "parameters", "MACs"]
    header += ["activations", "time"]
    cells = [
        [
            row.arm,
            str(row.accuracy.count if row.accuracy else 0),
            mean_and_spread(row.accuracy, ".2f", 100),
            difference(row.difference, "+.2f", 100),
            f"{row.parameters:,}",
            f"{row.macs:,}",
            f"{row.activation_bytes / 1024:,.0f} KiB",
            duration(row.seconds.mean) if row.seconds else "–",
        ]
        for row in rows
    ]
    return section(QUESTIONS[name].title, text_table(header, cells, numbers=range(1, 8)))
