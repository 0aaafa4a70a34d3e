"""The scheduler of studies, with workers and a policy that follow a script."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from netinnet import weights
from netinnet.data import datasets
from netinnet.errors import ModelError, NetinnetError
from netinnet.studies import plan as plans
from netinnet.studies import scheduler as schedulers
from netinnet.studies import worker
from netinnet.studies.events import Evaluated, StudyProgress
from netinnet.studies.events import WorkerEnd as Ended
from netinnet.studies.outcome import Outcome
from netinnet.studies.plan import Job
from netinnet.studies.scheduler import Scheduler
from netinnet.training import events
from netinnet.training import recipe as recipes
from netinnet.training.events import Event
from netinnet.training.interruption import Interrupted, StopRequest
from netinnet.training.parts import network_for
from netinnet.training.run import Run
from netinnet.warm_process import IS_POSSIBLE
from netinnet.weights import Model
from tests.conftest import FRAMEWORK

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
        # Asked by the system, one that has saved goes on.
        ([[Ended(143)], [Ended(130)], [Ended(129)]], "its process was asked to stop (signal 1)"),
        ([[Ended(143)], [Ended(2, "no such device")]], "no such device"),
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


@pytest.mark.parametrize(
    ("last", "standing"),
    [
        (events.Interrupted("", 3, "SIGTERM"), "nothing done"),
        (events.Resume("", 3), "a run that ended without saving: the last checkpoint counts"),
    ],
)
def test_only_what_was_saved_is_said_to_be(
    last: Event, standing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, script = StopRequest(), Script(tmp_path, [Evaluated(), Ended(143)])

    def stopping(job: Job, event: Event) -> bool:
        Run(job.folder).log(last)
        stop.signal = signal.SIGTERM
        return False

    monkeypatch.setattr(script, "on_event", stopping)
    with pytest.raises(Interrupted) as raised:
        script.run(stop)
    assert str(raised.value) == f"interrupted with {standing}; nin x --resume y continues"


def test_in_a_worker_a_second_signal_is_the_same_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's and the parent's; elsewhere it is a user who can't wait."""
    stop = StopRequest()
    stop(signal.SIGTERM, None)
    with pytest.raises(SystemExit):
        stop(signal.SIGTERM, None)
    monkeypatch.setattr(StopRequest, "second_stops_at_once", True)  # and back, after the worker
    monkeypatch.setattr(sys, "argv", ["worker", "folder"])
    monkeypatch.setattr(worker, "_stop_with_parent", lambda: None)
    asked: list[Path] = []

    def work(folder: Path, data_dir: Path | None) -> None:
        stop(signal.SIGTERM, None)
        asked.append(folder)

    monkeypatch.setattr(worker, "work", work)
    worker.main()
    assert asked
    assert stop.signal == signal.SIGTERM


@pytest.mark.skipif(not IS_POSSIBLE, reason="looks into /proc")
@pytest.mark.usefixtures("fashion_mnist")
def test_a_signal_to_every_process_of_a_study_saves_all(tmp_path: Path) -> None:
    """As SLURM, systemd or a cgroup send it."""
    flags = ["--framework", FRAMEWORK, "--train-examples", "2000", "--test-examples", "40"]
    flags += ["--epochs", "200", "--batch-size", "60", "--checkpoint-seconds", "3600"]
    flags += ["--seeds", "1", "--workers", "1", "--output", str(tmp_path / "study")]
    process = subprocess.Popen(
        [sys.executable, "-m", "netinnet.cli.main", "reliability", *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not any("evaluation" in f.read_text() for f in tmp_path.glob("study/runs/*/*/events.*")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    for number in _with_descendants(process.pid):
        os.kill(number, signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, "0 of 1 runs done, all saved" in said) == (143, True), said
    (log,) = tmp_path.glob("study/runs/*/*/events.jsonl")
    assert json.loads(log.read_text().splitlines()[-1])["event"] == "interrupted"
    assert list(log.parent.glob("checkpoints/step-*"))


def _with_descendants(number: int) -> list[int]:
    """The process first, as the parents of all others."""
    children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
    return [number, *(below for child in children for below in _with_descendants(int(child)))]


def test_a_run_of_a_study_has_what_its_recipe_starts_and_learns_from(tmp_path: Path) -> None:
    script = Script(tmp_path / "s", [Ended(2)], jobs=2)
    first, second = script.waiting
    model = tmp_path / "model.safetensors"
    weights.save(model, Model(first.network, weights.initial(first.network, 0)))
    other = network_for(first.recipe.replace(width=0.5))
    named = first.recipe.replace(pretrained=str(model), teacher=str(model))
    unlike = second.recipe.replace(pretrained=str(model))
    pairs = (named, first.network), (unlike, other)
    script.waiting = deque(plans.job(tmp_path / "s", "a", *pair) for pair in pairs)
    script.run()
    run = Run(first.folder)
    assert run.pretrained_file.is_file()
    assert run.teacher() is not None
    # A trial's own network may not suit: that trial fails, and no other.
    assert "none of its weights fit" in script.results[1].reason
    assert not second.folder.exists()


@pytest.mark.parametrize("field", ["pretrained", "teacher"])
def test_a_model_that_is_not_there_is_said_before_the_folder_is_made(
    field: str, tmp_path: Path
) -> None:
    arm = plans.given("a", "fashion", {field: str(tmp_path / "none.safetensors")})
    with pytest.raises(ModelError, match=r"none.safetensors: no such model file"):
        schedulers.prepare(plans.Plan("ablation", (arm,), (0,)), 1, None, lambda event: None)
