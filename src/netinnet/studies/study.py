"""A study of arms over seeds: every run of its plan that is not settled yet."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from netinnet.errors import NetinnetError
from netinnet.studies import outcome, scheduler
from netinnet.studies import plan as plans
from netinnet.studies.estimate import Estimate
from netinnet.studies.events import RunEnd, Share, StudyProgress, StudyStart
from netinnet.studies.outcome import Outcome
from netinnet.studies.plan import Job, Plan
from netinnet.training.events import Event
from netinnet.training.listening import Listener

Report = Callable[[Path, Plan, Sequence[Outcome], str], object]
"""Called with the study's folder, its plan, what came of each run so far, and the state: "running",
"interrupted" or "finished"."""


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
    plan = plans.as_begun(plan, output)
    setup = scheduler.prepare(plan, workers, data_dir, listener, output)
    grid = scheduler.run(
        plan, output, setup, lambda plan, folder: Grid(plan, folder, listener, report)
    )
    results = list(grid.outcomes.values())
    if not any(result.is_settled for result in results):
        raise NetinnetError(f"every run failed: {results[0].reason}")
    return grid.plan, grid.folder, results


@dataclass
class Grid:
    """The scheduler's policy for arms over seeds: all that is left, seed by seed."""

    plan: Plan
    folder: Path
    listener: Listener
    write_report: Report

    def __post_init__(self) -> None:
        self.jobs = self.plan.jobs(self.folder)
        self.outcomes = {job.folder: outcome.read(job) for job in self.jobs}
        self.waiting = deque(job for job in self.jobs if not self.outcomes[job.folder].is_settled)

    missing = ""

    def untimed(self) -> list[str]:
        known = {o.arm for o in self.outcomes.values() if o.wall_seconds is not None}
        return [job.arm for job in self.waiting if job.arm not in known]

    def begin(self, estimate: Estimate, workers: int) -> StudyStart:
        self.estimate = estimate
        for job in self.jobs:
            seconds = self.outcomes[job.folder].wall_seconds
            if seconds is not None:
                estimate.know(job, seconds)
        runs, arms, seeds = len(self.jobs), len(self.plan.arms), len(self.plan.seeds)
        done = runs - len(self.waiting)
        return StudyStart(runs, done, arms, seeds, str(self.folder), workers)

    def next_job(self) -> Job | None:
        if not self.waiting:
            return None
        self.estimate.started(self.waiting[0], time.monotonic())
        return self.waiting.popleft()

    def attend(self) -> bool:
        return False

    def on_event(self, job: Job, event: Event) -> bool:
        if isinstance(event, Share):
            self.estimate.saw(job, event.share, time.monotonic())
        return False

    def on_end(self, job: Job, result: Outcome) -> None:
        self.estimate.ended(job, time.monotonic())
        self.outcomes[job.folder] = result
        self.listener(RunEnd(result))

    def progress(self, workers: int) -> StudyProgress:
        unfinished = [j for j in self.jobs if self.outcomes[j.folder].state == "unfinished"]
        seconds = self.estimate.seconds_left(unfinished, workers)
        return StudyProgress(len(self.jobs) - len(unfinished), seconds)

    def standing(self) -> str:
        done = sum(result.is_settled for result in self.outcomes.values())
        return f"{done} of {len(self.jobs)} runs done, all saved"

    def report(self, state: str) -> None:
        self.write_report(self.folder, self.plan, list(self.outcomes.values()), state)
