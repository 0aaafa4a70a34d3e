"""The one scheduler of studies: it trains a policy's jobs in worker processes, some at a time.

A policy says which run comes next and what is made of its end: `study.Grid` has arms over seeds,
`search.Search` asks Optuna. All else is here: the claim on the folder, workers that are killed,
progress, reports, and saving when asked to stop.
"""

from __future__ import annotations

import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeVar

from netinnet import frameworks
from netinnet.data.source import Dataset, DatasetRecord
from netinnet.errors import ModelError, NetinnetError, nin
from netinnet.signals import SIGNALS
from netinnet.studies import outcome, timing, workload
from netinnet.studies import plan as plans
from netinnet.studies.estimate import Estimate
from netinnet.studies.events import StudyProgress, WorkerEnd
from netinnet.studies.models import Models
from netinnet.studies.outcome import Outcome
from netinnet.studies.plan import AnyPlan, Job, Plan
from netinnet.studies.workers import Workers, workers_for
from netinnet.studies.workload import Workload
from netinnet.training import events
from netinnet.training import run as runs
from netinnet.training.claim import check_inside, claimed
from netinnet.training.events import Event
from netinnet.training.interruption import Interrupted, StopRequest, stop_request
from netinnet.training.listening import Listener, data_progress, write_report
from netinnet.training.prepared import replaced
from netinnet.training.run import Run

KILLED_BEFORE_FAILED = 3
"""A run whose process a signal has ended is started again; ended so often, it has failed."""
REPORT_SECONDS = 60.0
"""Least time between two reports while the study goes on."""
PROGRESS_SECONDS = 0.5
"""Least time between two StudyProgress."""


class Policy(Protocol):
    """What the scheduler asks of a kind of study, all from one thread."""

    waiting: deque[Job]
    """Runs to begin or to go on with; the scheduler puts one that a signal has ended in front."""

    @property
    def missing(self) -> str:
        """Flags that resuming needs and that are not kept, "" where there is none."""

    def untimed(self) -> Sequence[str]:
        """The arm of each run that is left and whose time is not known yet."""

    def begin(self, estimate: Estimate, workers: int) -> Event:
        """What a listener is told first."""

    def next_job(self) -> Job | None:
        """The run to start now; None where there is none (left) to start."""

    def attend(self) -> bool:
        """Called again and again; whether a run may still come although there is none now."""

    def on_event(self, job: Job, event: Event) -> bool:
        """Take in Share or Evaluated; whether to stop the run."""

    def on_end(self, job: Job, result: Outcome) -> None:
        """A run is over; one that was stopped by `on_event` may be "unfinished"."""

    def progress(self, workers: int) -> StudyProgress:
        """How far the study is; the time left is that with so many workers."""

    def standing(self) -> str:
        """How far the study is and what is kept, for one who has interrupted it."""

    def report(self, state: str) -> object:
        """Write the report; `state` is "running", "interrupted" or "finished"."""


AnyPolicy = TypeVar("AnyPolicy", bound=Policy)


@dataclass(frozen=True)
class Setup:
    """How runs are done: `workers` at a time, each like one of the `arms`."""

    arms: Plan
    workers: int
    data: Mapping[str, Dataset]
    workloads: Sequence[Workload]
    models: Models
    data_dir: Path | None
    listener: Listener


def prepare(
    arms: Plan,
    workers: int | None,
    data_dir: Path | None,
    listener: Listener,
    output: Path | None = None,
) -> Setup:
    """Check all that can be wrong before a folder is made, and fetch the data.

    `output` is the study's folder, which may be there already.

    Raises NetinnetError for a number of workers below 1, a missing framework, data that can't be
    had, an impossible network, a model to start or learn from that is not there or does not fit.
    """
    count = workers_for(arms, workers)
    for framework in {arm.recipe.framework for arm in arms.arms}:
        if not frameworks.framework(framework).is_installed:
            frameworks.adapter(framework)  # says what to install
    models = Models(listener, output)
    for arm in arms.arms:
        models.of(arm.recipe, arm.network)
    data = workload.load_data(arms, data_dir, listener)
    for arm in arms.arms:
        models.compare(arm.recipe, data[arm.recipe.dataset].record)
    if not arms.data:  # a new study
        lines = [line for arm in arms.arms for line in replaced(arm.recipe, arm.network)]
        for line in dict.fromkeys(lines):
            data_progress(listener)(line, 0, None)
    return Setup(arms, count, data, workload.of_arms(arms, data), models, data_dir, listener)


def run(
    plan: AnyPlan, output: Path | None, setup: Setup, make: Callable[[AnyPlan, Path], AnyPolicy]
) -> AnyPolicy:
    """Train until the policy has no more jobs, in the study's folder, and return the policy.

    `make` makes it once the folder is claimed. Raises Interrupted when asked to stop, after all
    running trainings have saved.
    """
    plan, folder = plans.settle(plans.with_data(plan, setup.data), output)
    workers, listener = setup.workers, setup.listener
    with claimed(folder):
        # The plan first: with it, whatever a kill leaves here is a study that can go on.
        plans.write(plan, folder)
        setup.models.keep_in(folder)
        policy = make(plan, folder)
        timed = timing.before_a_long_study(
            setup.arms, setup.workloads, policy.untimed(), workers, listener, folder
        )
        start = policy.begin(Estimate.of(setup.workloads, timed), workers)
        with stop_request() as stop, Workers(workers, folder / "logs", setup.data_dir) as pool:
            listener(start)
            command = nin(plan.kind, "--resume", folder)
            if policy.missing:
                command += f" {policy.missing}"
            Scheduler(policy, pool, listener, command, plan.data, setup.models).run(stop)
    return policy


@dataclass
class Scheduler:
    """One sitting: jobs of the policy in the pool's workers, until there are no more."""

    policy: Policy
    pool: Workers
    listener: Listener
    command: str
    """What goes on with the study."""
    data: Mapping[str, DatasetRecord]
    """What runs keep of their data sets, by the recipes' names for them."""
    models: Models = field(default_factory=Models)
    interrupted: bool = False
    stopped: set[Path] = field(default_factory=set)
    """Folders of the runs that the policy has stopped."""
    begun: set[Path] = field(default_factory=set)
    """Folders of the runs of this sitting that are not over."""
    killed: Counter[Path] = field(default_factory=Counter)
    emitted: float = 0.0
    reported: float = 0.0

    def run(self, stop: StopRequest) -> None:
        self._report("running")
        while True:
            if stop.signal is not None:
                self._interrupt(stop.signal)
            may_come = self.policy.attend()
            while self.pool.has_room and (job := self.policy.next_job()):
                self._start(job)
            if not self.pool.at_work and not may_come:
                break
            self._poll()
            now = time.monotonic()
            if now - self.emitted >= PROGRESS_SECONDS:
                self.emitted = now
                self.listener(self.policy.progress(self.pool.count))
            if now - self.reported >= REPORT_SECONDS:
                self._report("running")
        self._report("finished")

    def _start(self, job: Job) -> None:
        run = Run(job.folder)
        check_inside(run.folder, plans.study_of(job))
        if not run.recipe_file.exists():
            try:
                pretrained, teacher = self.models.of(job.recipe, job.network)
            except ModelError as error:  # a trial's own network; those of arms fit
                self._over(job, replace(outcome.read(job), state="failed", reason=str(error)))
                return
            record = self.data[job.recipe.dataset]
            runs.create(
                *(job.recipe, job.network, job.folder, record),
                pretrained=pretrained,
                teacher=teacher,
            )
        elif run.recipe() != job.recipe:
            raise NetinnetError(
                f"{run.recipe_file} is not the study's; undo the change or remove the run's folder"
            )
        self.begun.add(job.folder)
        self.pool.start(job)

    def _poll(self) -> None:
        """Take in the next event of a run, if there is one."""
        polled = self.pool.poll(timeout=0.2)
        if polled is None:
            return
        job, event = polled
        if isinstance(event, WorkerEnd):
            self._end(job, event.status, event.reason)
            return
        is_asked = self.interrupted or job.folder in self.stopped
        if self.policy.on_event(job, event) and not is_asked:
            self.stopped.add(job.folder)
            self.pool.stop(job)

    def _end(self, job: Job, status: int, reason: str) -> None:
        result = outcome.read(job)
        if not result.is_settled and job.folder not in self.stopped:
            if self.interrupted:
                return  # it goes on with the study
            number = -status if status < 0 else status - 128
            if status < 0 or number in SIGNALS:
                self.killed[job.folder] += 1
                how = "killed" if status < 0 else "asked to stop"
                reason = f"its process was {how} (signal {number})"
                if self.killed[job.folder] < KILLED_BEFORE_FAILED:
                    self.policy.waiting.appendleft(job)
                    return
            reason = reason or f"its process ended with status {status}"
            result = replace(result, state="failed", reason=reason)
        self._over(job, result)

    def _over(self, job: Job, result: Outcome) -> None:
        self.begun.discard(job.folder)
        self.policy.on_end(job, result)

    def _interrupt(self, number: signal.Signals) -> None:
        """Let all runs save, then leave."""
        self.interrupted = True
        self.pool.stop()
        while self.pool.at_work:
            self._poll()
        self._report("interrupted")
        standing = f"with {self.policy.standing()}"
        if unsaved := sum(not _is_saved(Run(folder)) for folder in self.begun):
            which = "a run that" if unsaved == 1 else f"{unsaved} runs that"
            standing = f"with {which} ended without saving: the last checkpoint counts"
        raise Interrupted(f"interrupted {standing}; {self.command} continues", number)

    def _report(self, state: str) -> None:
        self.reported = time.monotonic()
        write_report(lambda: self.policy.report(state), self.listener)


def _is_saved(run: Run) -> bool:
    """Whether nothing of an interrupted run is lost; one that has not begun has nothing."""
    logged = run.events()
    return run.is_finished or not logged or isinstance(logged[-1], events.Interrupted)
