"""What a study will take before it is run: its runs, their work, seconds by steps timed now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from netinnet.errors import FrameworkError
from netinnet.studies import timing, workload
from netinnet.studies.plan import Plan, SearchPlan
from netinnet.studies.workers import workers_for
from netinnet.studies.workload import Workload
from netinnet.training.listening import Listener


@dataclass(frozen=True)
class Forecast:
    """`macs` are those of all runs' steps; `over` trials of a search are not among its `runs`.

    `seconds_of_runs` is None where nothing is left to do, or where steps can't be timed: `reason`
    says why. `seconds` are the same, or a search's limit where that is less.
    """

    arms: tuple[Workload, ...]
    runs: int
    over: int
    workers: int
    macs: int
    seconds_of_runs: float | None
    seconds: float | None
    reason: str | None
    percent_held_out: float
    """Of the training pictures, for validation."""


def of(
    plan: Plan | SearchPlan,
    *,
    workers: int | None = None,
    folder: Path | None = None,
    data_dir: Path | None = None,
    listener: Listener = lambda event: None,
    minutes: float | None = None,
    storage: str | None = None,
) -> Forecast:
    """What a study will take here, or the rest of the one in `folder`.

    A search with its `minutes` and `storage` is judged by trials of the recipe as given. Raises
    NetinnetError for a plan that can't be run.
    """
    over, wanted = 0, 1
    if isinstance(plan, SearchPlan):
        from netinnet.studies import tuning

        plan.check_end(minutes)
        if folder is not None:
            over = sum(trial.is_over for trial in tuning.load(folder, storage).trials)
        wanted, folder = (plan.trials or 0) - over, None
        plan = plan.as_study(wanted)
    count = workers_for(plan, workers)
    arms: tuple[Workload, ...] = ()
    seconds, reason = None, None
    if wanted > 0:
        data = workload.load_data(plan, data_dir)
        arms = tuple(workload.of_arms(plan, data))
        try:
            seconds = timing.seconds_needed(plan, arms, count, folder, listener)
        except FrameworkError as error:
            reason = str(error)
    ends = (seconds, None if minutes is None else 60 * minutes)
    return Forecast(
        arms=arms,
        runs=len(arms) * len(plan.seeds),
        over=over,
        workers=count,
        macs=sum(cost.training_macs for cost in arms) * len(plan.seeds),
        seconds_of_runs=seconds,
        seconds=min((end for end in ends if end is not None), default=None),
        reason=reason,
        percent_held_out=100 * plan.arms[0].recipe.validation,
    )
