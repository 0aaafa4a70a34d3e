"""How long will a study take? A few training steps of each arm, timed before anything is begun.

    python -m netinnet.studies.timing < request.json

As many arms are timed at once as will be trained at once, so that they share the machine as they
will then.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from netinnet.data.source import Facts
from netinnet.errors import FrameworkError
from netinnet.fresh_process import answer, ask, environment
from netinnet.networks.network import Network
from netinnet.studies import outcome
from netinnet.studies.arms import Arm
from netinnet.studies.estimate import Estimate
from netinnet.studies.events import Timing
from netinnet.studies.models import with_copies
from netinnet.studies.plan import Plan
from netinnet.studies.workload import Workload
from netinnet.training.listening import Listener
from netinnet.training.recipe import Recipe
from netinnet.training.step_time import EVALUATED, seconds_of_steps

LONG_MACS = 5e12
"""Multiply-accumulates of a worker that take it minutes on a CPU: worth some seconds of timing."""
ALL_SECONDS = 60.0
"""After so long no further arm is begun."""


def before_a_long_study(
    plan: Plan,
    workloads: Sequence[Workload],
    unfinished: Sequence[str],
    workers: int,
    emit: Listener,
    study: Path | None = None,
) -> dict[str, float]:
    """Seconds of one run of each arm, by its name; empty where the study is short.

    `study` is its folder, which may have copies of the models that the recipes name.

    `unfinished` names the arm of each run that is left and whose time is not known yet. Arms that
    can't be timed are left out: an estimate is nothing to fail for.
    """
    macs = {load.arm: load.training_macs for load in workloads}
    at_once = max(min(workers, len(unfinished)), 1)
    if sum(macs[name] for name in unfinished) < LONG_MACS * at_once:
        return {}
    try:
        return _of_unfinished(plan, workloads, unfinished, workers, emit, study)
    except FrameworkError:
        return {}


def _of_unfinished(
    plan: Plan,
    workloads: Iterable[Workload],
    names: Sequence[str],
    workers: int,
    emit: Listener,
    study: Path | None,
) -> dict[str, float]:
    """`seconds_of_a_run` for the arms of the unfinished runs, and the event that says so."""
    arms = [
        Arm(arm.name, with_copies(arm.recipe, study), arm.base, arm.facts)
        for arm in plan.arms
        if arm.name in names
    ]
    emit(Timing(len(arms)))
    return seconds_of_a_run(arms, workloads, min(workers, len(names)))


def seconds_needed(
    plan: Plan,
    workloads: Sequence[Workload],
    workers: int,
    folder: Path | None = None,
    listener: Listener = lambda event: None,
) -> float | None:
    """Seconds that a study, or the rest of the one in `folder`, will take, by steps timed now.

    None where nothing is left to do. Raises FrameworkError where nothing can be trained here.
    """
    jobs = plan.jobs(folder or Path())
    left = [job for job in jobs if folder is None or not outcome.read(job).is_settled]
    if not left:
        return None
    timed = _of_unfinished(plan, workloads, [job.arm for job in left], workers, listener, folder)
    return Estimate.of(workloads, timed).seconds_left(left, workers)


def seconds_of_a_run(
    arms: Sequence[Arm], workloads: Iterable[Workload], workers: int
) -> dict[str, float]:
    """Seconds of one run of each of some arms, by its name, while `workers` are at work.

    Arms that can't be timed are left out, and those for which there is no time. Raises
    FrameworkError where no arm can be timed.
    """
    work = {load.arm: load.images + load.evaluated * EVALUATED for load in workloads}
    deadline = time.monotonic() + ALL_SECONDS
    failures: list[FrameworkError] = []
    times: dict[str, list[float]] = defaultdict(list)

    def timed(arm: Arm) -> None:
        if time.monotonic() > deadline:
            return
        began = time.monotonic()
        try:
            request = {"recipe": vars(arm.recipe), "network": arm.network.to_dict()}
            request["facts"] = dataclasses.asdict(arm.facts)
            seconds = ask(__name__, request, environment(arm.recipe.threads or 1))
        except FrameworkError as error:
            failures.append(error)
            return
        # Starting, building and compiling is what the process took without the timed steps.
        fixed = time.monotonic() - began - sum(seconds)
        image = statistics.median(seconds) / arm.recipe.batch_size
        times[arm.name].append(fixed + image * work[arm.name])

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(timed, [*arms] * -(-workers // len(arms))))
    if failures and not times:
        raise failures[0]
    return {name: statistics.fmean(seconds) for name, seconds in times.items()}


def _answer(request: dict[str, Any]) -> list[float]:
    network, facts = Network.from_dict(request["network"]), Facts.from_dict(request["facts"])
    return seconds_of_steps(Recipe(**request["recipe"]), network, facts)


if __name__ == "__main__":
    answer(_answer)
