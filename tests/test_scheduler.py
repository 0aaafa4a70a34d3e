"""The scheduler of studies, with workers and a policy that follow a script."""

from __future__ import annotations

import signal
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from netinnet.data import datasets
from netinnet.errors import NetinnetError
from netinnet.studies import plan as plans
from netinnet.studies.events import Evaluated, StudyProgress
from netinnet.studies.events import WorkerEnd as Ended
from netinnet.studies.outcome import Outcome
from netinnet.studies.plan import Job
from netinnet.studies.scheduler import Scheduler
from netinnet.training import recipe as recipes
from netinnet.training.events import Event
from netinnet.training.interruption import Interrupted, StopRequest
from netinnet.training.parts import network_for

DATA = {"fashion-mnist": datasets.find("fashion-mnist").record()}


class Script:
    """A policy and its workers in one: each start of a process plays the next list of events."""

    def __init__(self, folder: Path, *plays: list[Event], jobs: int = 1) -> None:
        recipe = recipes.load("fashion")
        self.waiting = deque(
            plans.job(folder, "a", recipe.replace(seed=seed), network_for(recipe))
            for seed in range(jobs)
        )
        self.plays, self.count = deque(plays), 1
        self.at_work: dict[Path, Any] = {}
        self.events: deque[tuple[Job, Event]] = deque()
        self.results: list[Outcome] = []
        self.stops: list[Job | None] = []
        self.reports: list[str] = []

    # As workers

    @property
    def has_room(self) -> bool:
        return not self.at_work

    def start(self, job: Job) -> None:
        self.at_work[job.folder] = job
        self.events.extend((job, event) for event in self.plays.popleft())

    def poll(self, timeout: float) -> tuple[Job, Event] | None:
        if not self.events:
            return None
        job, event = self.events.popleft()
        if isinstance(event, Ended):
            del self.at_work[job.folder]
        return job, event

    def stop(self, job: Job | None = None) -> None:
        self.stops.append(job)

    # As a policy

    def next_job(self) -> Job | None:
        return self.waiting.popleft() if self.waiting else None

    def on_event(self, job: Job, event: Event) -> bool:
        return isinstance(event, Evaluated)

    def on_end(self, job: Job, result: Outcome) -> None:
        self.results.append(result)

    def progress(self, workers: int) -> StudyProgress:
        return StudyProgress(len(self.results), None)

    def attend(self) -> bool:
        return False

    def standing(self) -> str:
        return "nothing done"

    def report(self, state: str) -> None:
        self.reports.append(state)

    def run(self, stop: StopRequest | None = None) -> None:
        scheduler: Any = Scheduler(self, self, lambda event: None, "nin x --resume y", DATA)  # type: ignore[arg-type]
        scheduler.run(stop or StopRequest())


@pytest.mark.parametrize(
    ("plays", "reason"),
    [
        ([[Ended(-9)], [Ended(-9)], [Ended(-9)]], "its process was killed (signal 9)"),
        ([[Ended(-9)], [Ended(2, "no such device")]], "no such device"),
        ([[Ended(2)]], "its process ended with status 2"),
    ],
)
def test_a_killed_run_begins_again_but_not_for_ever(
    plays: list[list[Event]], reason: str, tmp_path: Path
) -> None:
    script = Script(tmp_path, *plays)
    script.run()
    assert [(result.state, result.reason) for result in script.results] == [("failed", reason)]
    assert not script.plays
    assert script.reports == ["running", "finished"]


def test_a_run_that_falls_behind_is_asked_once_to_stop(tmp_path: Path) -> None:
    script = Script(tmp_path, [Evaluated(), Evaluated(), Ended(143)], [Ended(2)], jobs=2)
    script.run()
    assert [job.seed for job in script.stops if job] == [0]
    assert [result.state for result in script.results] == ["unfinished", "failed"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_runs_stay_open(number: signal.Signals, status: int, tmp_path: Path) -> None:
    stop = StopRequest()
    script = Script(tmp_path, [Evaluated(), Ended(143)], jobs=2)
    script.start(script.waiting.popleft())
    stop.signal = number
    with pytest.raises(Interrupted) as raised:
        script.run(stop)
    assert str(raised.value) == "interrupted with nothing done; nin x --resume y continues"
    assert raised.value.status == status
    # All are asked to save, once; none is over, and no other one is begun.
    assert script.stops == [None]
    assert not script.results
    assert len(script.waiting) == 1
    assert script.reports == ["running", "interrupted"]


def test_a_changed_recipe_is_not_the_studys(tmp_path: Path) -> None:
    script = Script(tmp_path, [Ended(-9)])
    (job,) = script.waiting
    job.folder.mkdir(parents=True)
    (job.folder / "recipe.toml").write_text(job.recipe.replace(epochs=9).to_toml())
    with pytest.raises(NetinnetError, match=r"recipe.toml is not the study's; undo the change"):
        script.run()
