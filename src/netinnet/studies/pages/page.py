"""What the pages of studies have in common: how far a study is, its runs, its learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from netinnet import units
from netinnet.errors import nin
from netinnet.files import write_text
from netinnet.reports.figures import drawn
from netinnet.reports.template import render
from netinnet.studies.outcome import Outcome
from netinnet.studies.pages.figures import curves_with_bands
from netinnet.studies.plan import Plan, SearchPlan
from netinnet.studies.statistics import Interval, Summary

REFRESH_SECONDS = 60
"""How often the page of an unfinished study reloads itself."""


@dataclass(frozen=True)
class Progress:
    """How far a study is: `done` of `total` runs or trials; `state` is "running", "interrupted" or
    "finished"."""

    state: str
    done: int
    total: int
    what: str


class ArmRuns(Protocol):
    """A row of any study's table: an arm and its runs."""

    @property
    def arm(self) -> str: ...

    @property
    def runs(self) -> tuple[Outcome, ...]: ...


def write(
    template: str,
    folder: Path,
    plan: Plan | SearchPlan,
    progress: Progress,
    subtitle: str,
    **data: Any,
) -> Path:
    """Write report.html into a study's folder, from a template that extends study.html."""
    path = folder / "report.html"
    text = render(
        template,
        subtitle=f"{subtitle}; {folder}",
        refresh=REFRESH_SECONDS if progress.state == "running" else None,
        progress=progress,
        command=nin(plan.kind, "--resume", folder),
        plan=plan.to_toml().strip(),
        **data,
    )
    write_text(path, text)
    return path


def write_arms(
    template: str,
    folder: Path,
    plan: Plan,
    outcomes: Sequence[Outcome],
    state: str,
    /,
    panels: Sequence[tuple[str, Sequence[ArmRuns]]],
    **data: Any,
) -> Path:
    """The same for a study of arms and seeds, from a template that extends arms.html.

    Each of the `panels` is a title and the rows of a table whose learning curves it shows.
    """
    done = sum(outcome.is_settled for outcome in outcomes)
    lost = {s: [o for o in outcomes if o.state == s] for s in ("diverged", "failed")}
    subtitle = (
        f"{units.counted(len(plan.arms), 'arm')}, {units.counted(len(plan.seeds), 'seed')}, "
        f"judged by {plan.judged} accuracy"
    )
    return write(
        *(template, folder, plan, Progress(state, done, len(outcomes), "runs"), subtitle),
        runs=[(outcome, _report(folder, outcome)) for outcome in outcomes],
        lost={name: lost_runs for name, lost_runs in lost.items() if lost_runs},
        curves=_curves(panels),
        spread=mean_and_spread,
        difference=difference,
        **data,
    )


def _report(folder: Path, outcome: Outcome) -> str | None:
    """The address of a run's own report, where there is one."""
    report = outcome.folder / "report.html"
    return quote(report.relative_to(folder).as_posix()) if report.is_file() else None


def _curves(panels: Sequence[tuple[str, Sequence[ArmRuns]]]) -> str | None:
    """A panel of curves for each title; None where no run has two epochs yet."""
    shown = []
    for title, rows in panels:
        curves = {r.arm: [[p.accuracy for p in o.curve] for o in r.runs if o.curve] for r in rows}
        shown.append((title, {arm: runs for arm, runs in curves.items() if runs}))
    if not any(len(run) > 1 for _, curves in shown for runs in curves.values() for run in runs):
        return None
    return drawn(curves_with_bands, shown)


def mean_and_spread(summary: Summary | None, form: str = ".4f", scale: float = 1.0) -> str:
    """ "0.9213 ± 0.0015", without a spread for one value; with a scale of 100, in per cent."""
    if summary is None:
        return units.MISSING
    spread = "" if summary.sd is None else f" ± {scale * summary.sd:{form}}"
    return f"{scale * summary.mean:{form}}{spread}"


def difference(interval: Interval | None, form: str = "+.4f", scale: float = 1.0) -> str:
    """ "+0.0042 (-0.0010 to +0.0094)"."""
    if interval is None:
        return units.MISSING
    text = f"{scale * interval.estimate:{form}}"
    if interval.low is None or interval.high is None:
        return text
    return f"{text} ({scale * interval.low:{form}} to {scale * interval.high:{form}})"
