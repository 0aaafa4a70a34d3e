"""Running a study: every run of its plan that is not settled yet, some at a time."""

from __future__ import annotations

import shlex
import signal
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from netinnet import frameworks
from netinnet.data import datasets
from netinnet.data.source import Dataset
from netinnet.errors import NetinnetError
from netinnet.files import write_text
from netinnet.studies import costs, outcome, timing
from netinnet.studies import plan as plans
from netinnet.studies.costs import ArmCost
from netinnet.studies.estimate import Estimate
from netinnet.studies.outcome import Outcome
from netinnet.studies.plan import Job, Plan
from netinnet.studies.workers import Workers, cores
from netinnet.training import run as runs
from netinnet.training.interruption import Interrupted, StopRequest, stop_request
from netinnet.training.listening import Listener, data_progress, write_report
from netinnet.training.run import Run
from netinnet.training.start import network_for

Report = Callable[[Path, Plan, Sequence[Outcome], str], object]
"""Called with the study's folder, its plan, what came of each run so far, and the state: "running",
"interrupted" or "finished"."""

KILLED_BEFORE_FAILED = 3
"""A run whose process was killed is started again; killed so often, it has failed."""
REPORT_SECONDS = 60.0
"""Least time between two reports while the study goes on."""
SPOKEN_SECONDS = 0.5
"""Least time between two `study_progress` events."""


def load_data(
    plan: Plan, data_dir: Path | None, listener: Listener = lambda event: None
) -> dict[str, Dataset]:
    """The data sets of a plan by name, fetched once, before any run needs them."""
    return {
        name: datasets.load(name, data_dir, data_progress(listener), plan.data.get(name))
        for name in sorted({arm.recipe.dataset for arm in plan.arms})
    }


def workers_for(plan: Plan, wanted: int | None) -> int:
    """Runs at a time: as many as wanted, or as the cores carry. Raises NetinnetError below 1."""
    if wanted is not None and wanted < 1:
        raise NetinnetError(f"--workers must be at least 1, got {wanted}")
    return wanted or max(1, cores() // max(arm.recipe.threads or 1 for arm in plan.arms))


def check_can_start(plan: Plan) -> None:
    """Raise FrameworkError where a framework is missing."""
    for framework in {arm.recipe.framework for arm in plan.arms}:
        if not frameworks.framework(framework).is_installed:
            frameworks.adapter(framework)  # says what to install


def seconds_needed(
    plan: Plan,
    arm_costs: Sequence[ArmCost],
    workers: int,
    folder: Path | None = None,
    listener: Listener = lambda event: None,
) -> float | None:
    """Seconds that a study, or the rest of the one in `folder`, will take, by steps timed now.

    None where nothing is left to do. Raises FrameworkError where nothing can be trained here.
    """
    jobs = plan.jobs(folder or Path())
    left = [job for job in jobs if folder is None or not outcome.read(job).is_settled]
    arms = [arm for arm in plan.arms if any(job.arm == arm.name for job in left)]
    if not arms:
        return None
    listener({"event": "timing", "arms": len(arms)})
    timed = timing.seconds_of_a_run(plan, arms, arm_costs, min(workers, len(left)))
    return Estimate(costs.work(arm_costs), timed).seconds_left(left, workers)


def conduct(
    plan: Plan,
    *,
    output: Path | None = None,
    workers: int | None = None,
    data_dir: Path | None = None,
    listener: Listener = lambda event: None,
    report: Report = lambda folder, plan, outcomes, state: None,
) -> tuple[Plan, Path, list[Outcome]]:
    """Run all of a study that is not done yet; return its plan, its folder and what came of it.

    A folder that holds the same study goes on with it, and keeps its seeds. Raises Interrupted
    when asked to stop, after all running trainings have saved; NetinnetError where nothing can be
    trained at all.
    """
    count = workers_for(plan, workers)
    check_can_start(plan)
    data = load_data(plan, data_dir, listener)
    arm_costs = costs.of_arms(plan, data)  # says an impossible network before any folder
    plan, folder = plans.settle(plans.with_data(plan, data), output)
    jobs = [(job, outcome.read(job)) for job in plan.jobs(folder)]
    known = {job.arm for job, found in jobs if found.wall_seconds is not None}
    left = [job.arm for job, found in jobs if not found.is_settled and job.arm not in known]
    timed = timing.before_a_long_study(plan, arm_costs, left, count, listener)
    with (
        Run(folder).claimed(),
        stop_request() as stop,
        Workers(count, folder / "logs", data_dir) as pool,
    ):
        write_text(folder / plans.PLAN_FILE, plan.to_toml())
        sitting = _Sitting(plan, folder, arm_costs, timed, pool, listener, report)
        return plan, folder, sitting.run(stop)


class _Sitting:
    """One sitting of a study."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        arm_costs: Sequence[ArmCost],
        timed: Mapping[str, float],
        pool: Workers,
        listener: Listener,
        report: Report,
    ) -> None:
        self.plan, self.folder, self.pool = plan, folder, pool
        self.listener, self.report = listener, report
        self.jobs = plan.jobs(folder)
        self.outcomes = {job.folder: outcome.read(job) for job in self.jobs}
        self.waiting = deque(job for job in self.jobs if not self.outcomes[job.folder].is_settled)
        self.killed: dict[Path, int] = defaultdict(int)
        self.totals: dict[Path, int] = {}
        self.estimate = Estimate(costs.work(arm_costs), timed)
        for job in self.jobs:
            known = self.outcomes[job.folder].wall_seconds
            if known is not None:
                self.estimate.know(job, known)
        self.spoken = self.reported = 0.0

    def run(self, stop: StopRequest) -> list[Outcome]:
        self.listener(
            {
                "event": "study_start",
                "study": str(self.folder),
                "runs": len(self.jobs),
                "done": len(self.jobs) - len(self.waiting),
                "arms": len(self.plan.arms),
                "seeds": len(self.plan.seeds),
                "workers": self.pool.count,
            }
        )
        self._write_report("running")
        while self.waiting or self.pool.at_work:
            if stop.signal is not None:
                self._interrupt(stop.signal)
            while self.waiting and self.pool.has_room:
                self._start(self.waiting.popleft())
            self._hear(timeout=0.2)
            self._speak()
            if time.monotonic() - self.reported >= REPORT_SECONDS:
                self._write_report("running")
        found = list(self.outcomes.values())
        self._write_report("finished")
        if not any(result.is_settled for result in found):
            raise NetinnetError(f"every run failed: {found[0].reason}")
        return found

    def _start(self, job: Job) -> None:
        run = Run(job.folder)
        if not run.recipe_file.exists():
            record = self.plan.data[job.recipe.dataset]
            runs.create(job.recipe, network_for(job.recipe, record.facts), job.folder, record)
        elif run.recipe() != job.recipe:
            raise NetinnetError(
                f"{run.recipe_file} is not the study's; undo the change or remove the run's folder"
            )
        self.pool.start(job)
        self.estimate.started(job, time.monotonic())

    def _hear(self, timeout: float) -> None:
        """Take in the next event of a run, if there is one."""
        heard = self.pool.next_event(timeout)
        if heard is None:
            return
        job, event = heard
        match event["event"]:
            case "start":
                self.totals[job.folder] = event["steps_per_epoch"] * event["epochs"]
            case "progress":
                share = event["step"] / self.totals[job.folder]
                self.estimate.saw(job, share, time.monotonic())
            case "worker_end":
                self._ended(job, event["status"], event["reason"])
                return
        self.listener({**event, "arm": job.arm, "seed": job.seed})

    def _ended(self, job: Job, status: int, reason: str) -> None:
        self.estimate.ended(job, time.monotonic())
        found = outcome.read(job)
        if not found.is_settled:
            if status < 0:
                self.killed[job.folder] += 1
                reason = f"its process was killed (signal {-status})"
                if self.killed[job.folder] < KILLED_BEFORE_FAILED:
                    self.waiting.appendleft(job)
                    return
            found = outcome.read(job, reason or f"its process ended with status {status}")
        self.outcomes[job.folder] = found
        self.listener({"event": "run_end", "outcome": found})

    def _unfinished(self) -> list[Job]:
        return [*(worker.job for worker in self.pool.at_work.values()), *self.waiting]

    def _speak(self) -> None:
        if time.monotonic() - self.spoken < SPOKEN_SECONDS:
            return
        self.spoken = time.monotonic()
        unfinished = self._unfinished()
        self.listener(
            {
                "event": "study_progress",
                "runs": len(self.jobs),
                "done": len(self.jobs) - len(unfinished),
                "running": len(self.pool.at_work),
                "seconds_left": self.estimate.seconds_left(unfinished, self.pool.count),
            }
        )

    def _interrupt(self, number: signal.Signals) -> None:
        """Let all runs save, then leave."""
        self.waiting.clear()
        self.pool.stop()
        while self.pool.at_work:
            heard = self.pool.next_event(0.2)
            if heard is not None and heard[1]["event"] == "worker_end":
                self.outcomes[heard[0].folder] = outcome.read(heard[0])
        self._write_report("interrupted")
        done = sum(result.is_settled for result in self.outcomes.values())
        raise Interrupted(
            f"interrupted with {done} of {len(self.jobs)} runs done, all saved; "
            f"nin {self.plan.kind} --resume {shlex.quote(str(self.folder))} goes on",
            130 if number == signal.SIGINT else 143,
        )

    def _write_report(self, state: str) -> None:
        self.reported = time.monotonic()
        found = list(self.outcomes.values())
        write_report(lambda: self.report(self.folder, self.plan, found, state), self.listener)
