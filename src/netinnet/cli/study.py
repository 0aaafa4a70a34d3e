"""What the commands that run a study have in common: their flags, resuming, dry runs, progress."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from netinnet.cli.console import WholeNumber, print_json, print_table
from netinnet.cli.progress import duration
from netinnet.cli.study_progress import StudyProgress, counted
from netinnet.errors import FrameworkError, NetinnetError, RecipeError
from netinnet.studies import costs, study
from netinnet.studies import plan as plans
from netinnet.studies.costs import ArmCost
from netinnet.studies.outcome import Outcome
from netinnet.studies.pages.page import mean_and_spread
from netinnet.studies.plan import Plan
from netinnet.studies.statistics import Summary


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class StudyFlags:
    """The flags of every study."""

    workers: WholeNumber | None = None
    """Runs at a time; cores divided by threads of a run (1 unless --threads says more) if not
    given."""
    output: Path | None = None
    """Folder of the study; studies/DATE-COMMAND if not given."""
    resume: Path | None = None
    """Go on with the study in this folder."""
    data_dir: Path | None = None
    """Folder with the data set's files; found or fetched if not given."""
    dry_run: Annotated[bool, Parameter(negative=())] = False
    """Only print the plan, and how long it will take here."""
    quiet: Annotated[bool, Parameter(negative=())] = False
    """No progress, only the result."""
    json: Annotated[bool, Parameter(negative=())] = False
    """Print the result as JSON."""


NO_FLAGS = StudyFlags()


@dataclass(frozen=True)
class Result:
    """What a finished study prints: a table, or `document` as JSON."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int]
    """Columns of numbers."""
    document: Mapping[str, Any]


def carry_out(
    plan: Plan,
    flags: StudyFlags,
    report: study.Report,
    result: Callable[[Plan, Sequence[Outcome]], Result],
) -> None:
    """Print the plan of a study of arms and seeds, or run it and print its result."""
    if flags.dry_run:
        _show_plan(plan, flags)
        return
    with StudyProgress(quiet=flags.quiet) as progress:
        plan, folder, outcomes = study.conduct(
            plan,
            output=flags.resume or flags.output,
            workers=flags.workers,
            data_dir=flags.data_dir,
            listener=progress,
            report=report,
        )
    found = result(plan, outcomes)
    if flags.json:
        print_json({"study": str(folder), "judged": plan.judged, **as_json(found.document)})
        return
    print_table(found.headers, found.rows, right=found.right)
    print(f"study: {folder}  (report: {folder / 'report.html'})")


def resumed(
    flags: StudyFlags, kind: str, given: dict[str, Any], seeds: int | None, first_seed: int
) -> Plan:
    """The plan of the study that --resume names, with more seeds if some are given.

    Raises NetinnetError where it is another kind of study, or where `given` has what it decides.
    """
    found = load_own(flags, kind, given)
    if seeds is None:
        return found
    more = plans.seeds(seeds, first_seed)
    return dataclasses.replace(found, seeds=tuple(dict.fromkeys((*found.seeds, *more))))


def load_own(flags: StudyFlags, kind: str, given: dict[str, Any]) -> Plan:
    """The plan of the study that --resume names.

    Raises NetinnetError where it is another kind of study, or where `given` has what it decides.
    """
    folder = flags.resume
    assert folder is not None
    taken = [n for n, v in {**given, "output": flags.output}.items() if v not in (None, ())]
    if taken:
        # What stands without a flag is named as it is.
        words = taken[-1] if taken[-1] in ("networks", "questions") else f"--{taken[-1]}"
        words = words.replace("_", "-")
        raise RecipeError(f"--resume goes on with the study's own plan; leave out {words}")
    found = plans.load(folder)
    if found.kind != kind:
        raise NetinnetError(f"{folder}: this study goes on with nin {found.kind} --resume")
    return found


def _show_plan(plan: Plan, flags: StudyFlags) -> None:
    """Print the plan of a study: arms, sizes, steps, and how long it will take."""
    data = study.load_data(plan, flags.data_dir)
    plan = plans.with_data(plan, data)
    arm_costs = costs.of_arms(plan, data)
    runs = len(plan.arms) * len(plan.seeds)
    count = study.workers_for(plan, flags.workers)
    seconds, time_text = time_needed(plan, arm_costs, count, flags.quiet, flags.resume)
    if flags.json:
        print_json(
            {
                "kind": plan.kind,
                **plan.settings,
                "runs": runs,
                "seeds": list(plan.seeds),
                "workers": count,
                "seconds": seconds,
                "arms": [dataclasses.asdict(cost) for cost in arm_costs],
            }
        )
        return
    print_table(
        ("arm", "parameters", "MACs", "steps a run", "pictures a run"),
        [
            (c.arm, f"{c.parameters:,}", f"{c.macs:,}", f"{c.steps:,}", f"{c.images:,}")
            for c in arm_costs
        ],
        right=(1, 2, 3, 4),
    )
    total = sum(c.training_macs for c in arm_costs) * len(plan.seeds)
    print(
        f"{counted(runs, 'run')}: {counted(len(plan.arms), 'arm')}, "
        f"{counted(len(plan.seeds), 'seed')}, {count} at a time; "
        f"about {total:.2g} multiply-accumulates.\n"
        f"{time_text}."
    )


def time_needed(
    plan: Plan,
    arm_costs: Sequence[ArmCost],
    workers: int,
    quiet: bool,
    folder: Path | None = None,
) -> tuple[float | None, str]:
    """Seconds that a study will take, or the rest of the one in `folder`, by steps timed now, and
    a sentence that says it.

    None where they can't be timed, or nothing is left to do.
    """
    try:
        with StudyProgress(quiet=quiet) as progress:
            seconds = study.seconds_needed(plan, arm_costs, workers, folder, progress)
    except FrameworkError as error:
        return None, f"How long that takes here is not known: {error}"
    if seconds is None:
        return None, "All of it is done"
    what = "the rest of it" if folder else "this"
    return seconds, f"By the time of a few steps, {what} will take about {duration(seconds)} here"


def millions(count: int) -> str:
    """Multiply-accumulates as "10.8 M"."""
    return f"{count / 1e6:,.1f} M"


def accuracy(found: Summary | None, runs: int) -> str:
    """ "0.9213 ± 0.0015", and of how many of the runs where some are missing."""
    text = mean_and_spread(found)
    done = found.count if found else 0
    return text if done == runs else f"{text} ({done} of {runs} runs)"


def as_json(value: Any) -> Any:
    """Dataclasses and paths as plain data."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value
