"""What the commands that run a study have in common: their flags, resuming, dry runs, progress."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclopts import Parameter

from netinnet.cli import recipe_flags
from netinnet.cli.console import Switch, WholeNumber, print_json, print_table, say
from netinnet.cli.recipe_flags import RecipeFlags
from netinnet.cli.study_progress import StudyProgress
from netinnet.errors import NetinnetError, nin
from netinnet.studies import api, forecast
from netinnet.studies import plan as plans
from netinnet.studies.forecast import Forecast
from netinnet.studies.pages.page import mean_and_spread
from netinnet.studies.plan import Plan, SearchPlan
from netinnet.studies.statistics import Summary
from netinnet.units import counted, duration, estimate


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class StudyFlags:
    """The flags of every study."""

    workers: WholeNumber | None = None
    """Number of runs at a time; if not given, the number of cores divided by the threads of a run
    (1, or --threads)."""
    output: Path | None = None
    """Folder of the study; studies/DATE-COMMAND if not given."""
    resume: Path | None = None
    """Continue the study in this folder."""
    data_dir: Path | None = None
    """Folder with the data set's files; found or fetched if not given."""
    dry_run: Switch = False
    """Only print the plan, and how long it will take here."""
    quiet: Switch = False
    """No progress, only the result."""
    json: Switch = False
    """Print the result as JSON."""


NO_FLAGS = StudyFlags()


def run(
    kind: str,
    flags: StudyFlags,
    overrides: RecipeFlags,
    *,
    decided: dict[str, Any],
    seeds: tuple[int | None, int | None, int],
    plan: Callable[[dict[str, Any], tuple[int, ...]], Plan],
    headers: Mapping[str, Callable[[Any], str]],
    right: Sequence[int],
    rows: str = "arms",
) -> None:
    """Print the plan of a study of arms and seeds, or run it and print its table.

    `decided` are the arguments that a study which is gone on with has already; `seeds` are their
    number, the first one and the number if not given; `plan` makes the plan of the changes and the
    seeds. `headers` are the table's, where {judged} is the split that judges, each with the text of
    a row; `rows` names the rows in JSON.
    """
    changes = recipe_flags.given(overrides)
    recipe_flags.refuse_seed(changes)
    number, first, default = seeds
    if flags.resume is None:
        seeds_of_plan = plans.seeds(default if number is None else number, first or 0)
        with recipe_flags.named(changes):
            made = plan(changes, seeds_of_plan)
    else:
        there = load_own(flags, kind, {**decided, **changes})
        assert isinstance(there, Plan)
        if number is None and first is not None:
            raise NetinnetError("--first-seed with --resume adds seeds: say how many with --seeds")
        more = () if number is None else plans.seeds(number, first or 0)
        made = dataclasses.replace(there, seeds=tuple(dict.fromkeys((*there.seeds, *more))))
    if flags.dry_run:
        _show_plan(made, flags)
        return
    with StudyProgress(quiet=flags.quiet) as progress:
        output = flags.resume or flags.output
        made, folder, table = api.run_study(made, output=output, **options(flags, progress))
    if flags.json:
        print_json({"study": folder, "judged": made.judged, **made.settings, rows: table})
        return
    print_table(
        [header.format(judged=made.judged) for header in headers],
        [[text(row) for text in headers.values()] for row in table],
        right=right,
    )
    say(f"study: {folder}  (report: {folder / 'report.html'})")


def options(flags: StudyFlags, progress: StudyProgress) -> dict[str, Any]:
    """The arguments that everything about a study takes."""
    return {"workers": flags.workers, "data_dir": flags.data_dir, "listener": progress}


def load_own(flags: StudyFlags, kind: str, given: dict[str, Any]) -> Plan | SearchPlan:
    """The plan of the study that --resume names.

    Raises NetinnetError where it is another kind of study, or where `given` has what it decides.
    """
    folder = flags.resume
    assert folder is not None
    recipe_flags.refuse({**given, "output": flags.output}, "study's own plan")
    plan = plans.load(folder)
    if plan.kind != kind:
        raise NetinnetError(
            f"{folder}: this study is continued with {nin(plan.kind, '--resume', folder)}"
        )
    return plan


def _show_plan(plan: Plan, flags: StudyFlags) -> None:
    """Print the plan of a study: arms, sizes, steps, and how long it will take."""
    expected = foretell(plan, flags)
    if flags.json:
        fields = ("runs", "workers", "seconds", "arms")
        chosen = {name: getattr(expected, name) for name in fields}
        print_json({"kind": plan.kind, **plan.settings, "seeds": plan.seeds, **chosen})
        return
    print_table(
        ("arm", "parameters", "MACs", "steps a run", "pictures a run"),
        [
            (c.arm, f"{c.parameters:,}", f"{c.macs:,}", f"{c.steps:,}", f"{c.images:,}")
            for c in expected.arms
        ],
        right=(1, 2, 3, 4),
    )
    print(
        f"{counted(expected.runs, 'run')}: {counted(len(plan.arms), 'arm')}, "
        f"{counted(len(plan.seeds), 'seed')}, {expected.workers} at a time; "
        f"about {expected.macs:.2g} multiply-accumulates.\n"
        f"{time_needed(expected, flags.resume)}."
    )


def foretell(plan: Plan | SearchPlan, flags: StudyFlags, **search: Any) -> Forecast:
    """What a study, or a `search` with its limits, will take."""
    with StudyProgress(quiet=flags.quiet) as progress:
        return forecast.of(plan, folder=flags.resume, **options(flags, progress), **search)


def time_needed(expected: Forecast, folder: Path | None = None) -> str:
    """A sentence that says how long a study, or the rest of the one in `folder`, takes."""
    if expected.reason:
        return f"How long that takes here is not known: {expected.reason}"
    if expected.seconds_of_runs is None:
        return "All of it is done"
    what, time = "the rest of it" if folder else "this", estimate(expected.seconds_of_runs)
    return f"By the time of a few steps, {what} will take about {time} here"


def accuracy(row: Any) -> str:
    """ "0.9213 ± 0.0015" of a row's runs, and of how many where some are missing."""
    summary: Summary | None = row.accuracy
    text, runs = mean_and_spread(summary), len(row.runs)
    done = summary.count if summary else 0
    return text if done == runs else f"{text} ({done} of {runs} runs)"


def seconds(row: Any) -> str:
    """The mean time of a row's trainings."""
    return duration(row.seconds.mean if row.seconds else None)
