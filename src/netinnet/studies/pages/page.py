"""The page of a study: one HTML file in the style of a run's report, with the parts they share."""

from __future__ import annotations

import datetime
import shlex
import string
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources as package_files
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from netinnet.files import write_text
from netinnet.reports.html import captioned, duration, image_tag, section, text_table
from netinnet.studies.outcome import DeadClass, Outcome
from netinnet.studies.pages.figures import Curve, curves_with_bands
from netinnet.studies.plan import Plan
from netinnet.studies.statistics import Interval, Summary

__all__ = ["Page", "duration", "section", "text_table"]  # the last three for the pages' modules

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


@dataclass(frozen=True)
class Page:
    """What a study's page shows. `cards` are names and values, `sections` HTML."""

    title: str
    cards: Sequence[tuple[str, str]]
    sections: Sequence[str]
    warnings: Sequence[str] = ()

    def write(self, folder: Path, plan: Plan, outcomes: Sequence[Outcome], state: str) -> Path:
        """Write report.html into the folder of a study of arms and seeds."""
        arms = f"{len(plan.arms)} {'arm' if len(plan.arms) == 1 else 'arms'}"
        seeds = f"{len(plan.seeds)} {'seed' if len(plan.seeds) == 1 else 'seeds'}"
        done = sum(outcome.is_settled for outcome in outcomes)
        progress = Progress(state, done, len(outcomes), "runs")
        subtitle = f"{arms}, {seeds}, judged by {plan.judged} accuracy"
        return self.write_into(folder, plan, subtitle, progress)

    def write_into(self, folder: Path, plan: Plan, subtitle: str, progress: Progress) -> Path:
        """Write report.html into a study's folder."""
        template = package_files.files("netinnet.reports").joinpath("page.html").read_text("utf-8")
        refresh = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">'
        cards = "".join(
            f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
            for name, value in self.cards
        )
        recipe = section(
            "Plan",
            f"<details><summary>study.toml</summary><pre>{escape(plan.to_toml().strip())}</pre>"
            "</details>",
        )
        text = string.Template(template).substitute(
            refresh=refresh if progress.state == "running" else "",
            title=escape(self.title),
            subtitle=escape(f"{subtitle}; {folder}"),
            state=_state(folder, plan, progress),
            warnings="\n".join(f'<p class="warning">{escape(text)}</p>' for text in self.warnings),
            headline=f'<dl class="cards">{cards}</dl>',
            sections="\n".join([*(part for part in self.sections if part), recipe]),
        )
        path = folder / "report.html"
        write_text(path, text)
        return path


def _state(folder: Path, plan: Plan, progress: Progress) -> str:
    of = f"{progress.done} of {progress.total} {progress.what} done"
    now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if progress.state == "interrupted":
        command = f"nin {plan.kind} --resume {shlex.quote(str(folder))}"
        return f"Interrupted: {of}; <code>{escape(command)}</code> goes on"
    if progress.state == "running":
        bar = f'<progress value="{progress.done}" max="{max(progress.total, 1)}"></progress>'
        return f"Running: {of} (as of {now}){bar}"
    return f"Finished: {of} (written {now})"


def figure(svg: bytes, alternative: str, caption: str) -> str:
    """A figure with its caption, all of it in the page."""
    return captioned(image_tag(svg, alternative), caption)


def runs_section(folder: Path, outcomes: Sequence[Outcome]) -> str:
    """Every run in a table that unfolds, each with a link to its own report."""
    lines = []
    for o in outcomes:
        cells = (
            _percent(o.accuracy),
            "–" if o.training_seconds is None else duration(o.training_seconds),
            escape(", ".join(_dead(dead) for dead in o.dead)),
        )
        numbers = "".join(f"<td class='n'>{cell}</td>" for cell in cells[:2])
        name = run_link(folder, o, f"{o.arm}, seed {o.seed}")
        lines.append(f"<tr><td>{name}</td><td>{o.state}</td>{numbers}<td>{cells[2]}</td></tr>")
    head = (
        "<tr><th>run</th><th>state</th><th class='n'>accuracy</th>"
        "<th class='n'>training time</th><th>dead classes (first epoch)</th></tr>"
    )
    table = f"<table><thead>{head}</thead><tbody>{chr(10).join(lines)}</tbody></table>"
    return section(
        "Runs",
        f'<details><summary>All {len(outcomes)} runs</summary><div class="scroll">{table}</div>'
        "</details>",
    )


def _dead(dead: DeadClass) -> str:
    return f"{dead.name} ({'in the last' if dead.epoch is None else dead.epoch})"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}%"


def run_link(folder: Path, outcome: Outcome, text: str) -> str:
    """A link to a run's own report, where there is one."""
    report = outcome.folder / "report.html"
    if not report.is_file():
        return escape(text)
    return f'<a href="{quote(report.relative_to(folder).as_posix())}">{escape(text)}</a>'


def mean_and_spread(found: Summary | None, form: str = ".4f", scale: float = 1.0) -> str:
    """ "0.9213 ± 0.0015", without a spread for one value; with a scale of 100, in per cent."""
    if found is None:
        return "–"
    spread = "" if found.sd is None else f" ± {scale * found.sd:{form}}"
    return f"{scale * found.mean:{form}}{spread}"


def difference(found: Interval | None, form: str = "+.4f", scale: float = 1.0) -> str:
    """ "+0.0042 (-0.0010 to +0.0094)"."""
    if found is None:
        return "–"
    text = f"{scale * found.estimate:{form}}"
    if found.low is None or found.high is None:
        return text
    return f"{text} ({scale * found.low:{form}} to {scale * found.high:{form}})"


class ArmRuns(Protocol):
    """A row of any study's table: an arm and its runs."""

    @property
    def arm(self) -> str: ...

    @property
    def runs(self) -> tuple[Outcome, ...]: ...


def learning_curves(panels: Sequence[tuple[str, Sequence[ArmRuns]]]) -> str:
    """A section with a panel of curves for each title; empty where no run has two epochs yet."""
    shown = []
    for title, rows in panels:
        curves = [
            Curve(row.arm, [[p.accuracy for p in o.curve] for o in row.runs if o.curve])
            for row in rows
        ]
        shown.append((title, [curve for curve in curves if curve.accuracies]))
    if not any(len(run) > 1 for _, curves in shown for c in curves for run in c.accuracies):
        return ""
    svg = curves_with_bands(shown)
    caption = "Mean accuracy after each epoch; the band is one standard deviation each way."
    return section("Learning curves", figure(svg, "Learning curves", caption))


def lost_runs(outcomes: Sequence[Outcome]) -> list[str]:
    """A warning for runs that diverged or failed."""
    texts = []
    for state in ("diverged", "failed"):
        lost = [f"{o.arm}, seed {o.seed} ({o.reason})" for o in outcomes if o.state == state]
        if lost:
            more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
            texts.append(f"{len(lost)} {state}: {'; '.join(lost[:5])}{more}.")
    return texts
