"""Running a search: trials in worker processes, stopped early where they fall behind."""

from __future__ import annotations

import math
import shlex
import signal
import statistics
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from netinnet.errors import NetinnetError, NetworkError, RecipeError
from netinnet.files import write_text
from netinnet.studies import costs, outcome, timing, tuning
from netinnet.studies import plan as plans
from netinnet.studies.plan import Job, Plan
from netinnet.studies.study import (
    KILLED_BEFORE_FAILED,
    REPORT_SECONDS,
    SPOKEN_SECONDS,
    check_can_start,
    load_data,
    workers_for,
)
from netinnet.studies.tuning import Tuning
from netinnet.studies.workers import Workers
from netinnet.training import run as runs
from netinnet.training.interruption import Interrupted, StopRequest, stop_request
from netinnet.training.listening import Listener, write_report
from netinnet.training.run import Event, Run
from netinnet.training.start import network_for

if TYPE_CHECKING:
    import optuna

Report = Callable[[Tuning, str], object]
"""Called with what was found so far and the state: "running", "interrupted" or "finished"."""

SEARCHER_FILE = "searcher"
FAILURES = 3
"""So many trials failing one after another end the search: the next would too."""


def conduct(
    plan: Plan,
    *,
    output: Path | None = None,
    minutes: float | None = None,
    workers: int | None = None,
    storage: str | None = None,
    data_dir: Path | None = None,
    listener: Listener = lambda event: None,
    report: Report = lambda found, state: None,
) -> Tuning:
    """Search until the plan's number of trials is over, or the minutes of this sitting.

    The number is that of all searchers of one storage; when the minutes are over, running trials
    are finished. A folder that holds the same search goes on with it: finished trials stay,
    those that a kill left half done go on from their checkpoints. Raises Interrupted when asked
    to stop, after all trials have saved.
    """
    count = workers_for(plan, workers)
    check_can_start(plan)
    if minutes is not None and not 0 < minutes < math.inf:
        raise NetinnetError(f"--minutes must be above 0, got {minutes:g}")
    if not plan.settings["trials"] and minutes is None:
        raise NetinnetError("this search has no end: give --trials or --minutes")
    data = load_data(plan, data_dir, listener)
    plan = plans.with_data(plan, data)
    alike = tuning.as_study(plan, plan.settings["trials"])
    arm_costs = costs.of_arms(alike, data)  # says an impossible network before any folder
    # A storage that can't be used is said before the folder is made, too.
    study = tuning.open_study(plan, Path(), storage) if plan.settings["storage"] else None
    folder = _settle(plan, output)
    # A search that goes on knows how long its trials took.
    left = [] if (folder / plans.PLAN_FILE).exists() else [tuning.AS_GIVEN] * len(alike.seeds)
    timed = timing.before_a_long_study(alike, arm_costs, left, count, listener)
    with (
        Run(folder).claimed(),
        stop_request() as stop,
        Workers(count, folder / "logs", data_dir) as pool,
    ):
        study = study or tuning.open_study(plan, folder, storage)
        write_text(folder / plans.PLAN_FILE, plan.to_toml())
        deadline = None if minutes is None else time.monotonic() + 60 * minutes
        return _Search(plan, folder, study, pool, timed, deadline, listener, report).run(stop)


def _settle(plan: Plan, output: Path | None) -> Path:
    """The search's folder: a new one, or that of the same search, whose end may be another."""
    if output is not None and (output / plans.PLAN_FILE).exists():
        there = plans.load(output)
        settings = {**there.settings, "trials": plan.settings["trials"]}
        if replace(there, settings=settings, data=there.data or plan.data) != plan:
            raise NetinnetError(f"{output} holds another study; choose another --output")
        return output
    return plans.settle(plan, output)[1]


def _searcher(folder: Path) -> str:
    """The folder's own name in the storage, whatever machine it is on: its trials bear it."""
    file = folder / SEARCHER_FILE
    if not file.exists():
        write_text(file, uuid.uuid4().hex + "\n")
    return file.read_text("ascii").strip()


class _Search:
    """One sitting of a search."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        study: optuna.Study,
        pool: Workers,
        timed: Mapping[str, float],
        deadline: float | None,
        listener: Listener,
        report: Report,
    ) -> None:
        self.plan, self.folder, self.study, self.pool = plan, folder, study, pool
        self.deadline, self.listener, self.report = deadline, listener, report
        self.searcher = _searcher(folder)
        self.trials: dict[Path, optuna.Trial] = {}
        """The trials of this sitting by their run's folder."""
        self.pruned: set[Path] = set()
        self.killed: dict[Path, int] = defaultdict(int)
        self.shares: dict[Path, tuple[int, float]] = {}
        """Steps of each running trial, and the share of them that is done."""
        self.failures = 0
        self.timed_trial = timed.get(tuning.AS_GIVEN)
        """Seconds that a trial takes by steps timed before the first; None where none were."""
        self.spoken = self.reported = 0.0

    def run(self, stop: StopRequest) -> Tuning:
        left_behind = self._left_behind()
        self._queue_as_given()
        found = tuning.results(self.study)
        self.listener(
            {
                "event": "search_start",
                "study": str(self.folder),
                "trials": self.plan.settings["trials"],
                "done": sum(trial.is_over for trial in found),
                "workers": self.pool.count,
                "outside": tuning.space_of(self.plan).outside(self.plan.arms[0].recipe),
            }
        )
        self._write_report("running")
        while True:
            if stop.signal is not None:
                self._interrupt(stop.signal)
            while self.pool.has_room:
                if left_behind:
                    self.pool.start(left_behind.pop())
                elif not self._may_ask():
                    break
                elif job := self._ask():
                    self.pool.start(job)
            if not self.pool.at_work:
                break
            self._hear(timeout=0.2)
            self._speak()
            if time.monotonic() - self.reported >= REPORT_SECONDS:
                self._write_report("running")
        return self._write_report("finished")

    # Trials

    def _queue_as_given(self) -> None:
        """The recipe as it was given is the first trial: what is found is measured against it."""
        own = tuning.space_of(self.plan).values_in(self.plan.arms[0].recipe)
        is_known = any(t.as_given and t.state != "failed" for t in tuning.results(self.study))
        if own is not None and not is_known:
            self.study.enqueue_trial(own, user_attrs={"as_given": True})

    def _left_behind(self) -> list[Job]:
        """The jobs of trials that a kill interrupted here, whoever else may be searching."""
        from optuna.trial import Trial, TrialState

        jobs = []
        for found in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if found.user_attrs.get("searcher") != self.searcher:
                continue
            name, folder = self._place(found.number)
            if not Run(folder).recipe_file.exists():
                self.study.tell(found.number, state=TrialState.FAIL)  # it was not even begun
                continue
            self.trials[folder] = Trial(self.study, found._trial_id)
            jobs.append(Job(name, self.plan.seeds[0], Run(folder).recipe(), folder))
        return jobs

    def _may_ask(self) -> bool:
        """Whether another trial may start: neither the number nor the time is used up."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return False
        most = self.plan.settings["trials"]
        begun = sum(trial.state != "waiting" for trial in tuning.results(self.study))
        return not most or begun < most

    def _ask(self) -> Job | None:
        """A new trial, with its run's folder made; None where its values make no recipe."""
        trial = self.study.ask()
        trial.set_user_attr("searcher", self.searcher)
        values = tuning.space_of(self.plan).suggest(trial)
        name, folder = self._place(trial.number)
        self.trials[folder] = trial
        job = Job(name, self.plan.seeds[0], self.plan.arms[0].recipe, folder)
        try:
            job = replace(job, recipe=tuning.trial_recipe(self.plan, values))
            record = self.plan.data[job.recipe.dataset]
            runs.create(job.recipe, network_for(job.recipe, record.facts), folder, record)
        except (RecipeError, NetworkError) as error:
            self._failed(job, str(error))
            return None
        return job

    def _place(self, number: int) -> tuple[str, Path]:
        """A trial's name and its run's folder."""
        name = f"trial-{number:04}"
        return name, self.folder / "runs" / name / f"seed-{self.plan.seeds[0]}"

    # Events

    def _hear(self, timeout: float) -> None:
        """Take in the next event of a trial, if there is one."""
        heard = self.pool.next_event(timeout)
        if heard is None:
            return
        job, event = heard
        match event["event"]:
            case "start":
                self.shares[job.folder] = (event["steps_per_epoch"] * event["epochs"], 0.0)
            case "progress":
                steps = self.shares[job.folder][0]
                self.shares[job.folder] = (steps, event["step"] / steps)
            case "evaluation":
                self._judge(job)
            case "worker_end":
                self._ended(job, event)

    def _judge(self, job: Job) -> None:
        """Tell the study how good each epoch was; stop the trial where it falls behind."""
        trial = self.trials[job.folder]
        known = self.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        evaluations = [e for e in Run(job.folder).events() if e["event"] == "evaluation"]
        for event in evaluations:
            if event["epoch"] not in known:
                trial.report(event["validation"]["accuracy"], event["epoch"])
        if len(evaluations) == job.recipe.epochs or job.folder in self.pruned:
            return
        if trial.should_prune():
            self.pruned.add(job.folder)
            self.pool.stop(job)

    def _ended(self, job: Job, end: Event) -> None:
        from optuna.trial import TrialState

        found = outcome.read(job)
        trial = self.trials[job.folder]
        self.shares.pop(job.folder, None)
        if not found.is_settled and job.folder not in self.pruned:
            if end["status"] < 0:
                self.killed[job.folder] += 1
                if self.killed[job.folder] < KILLED_BEFORE_FAILED:
                    self.pool.start(job)
                    return
            self._failed(job, end["reason"] or f"its process ended with status {end['status']}")
            return
        self.failures = 0
        if found.state == "finished":
            self._judge(job)
            self.study.tell(trial, Run(job.folder).metrics()["validation"]["accuracy"])
        else:
            # To the sampler a run that diverged is a bad one, not one that never was.
            if found.state == "diverged":
                trial.set_user_attr("diverged", found.reason)
            self.study.tell(trial, state=TrialState.PRUNED)
        self._told(job)

    def _failed(self, job: Job, reason: str) -> None:
        from optuna.trial import TrialState

        self.study.tell(self.trials[job.folder], state=TrialState.FAIL)
        self.failures += 1
        self._told(job, reason)
        if self.failures >= FAILURES:
            raise NetinnetError(f"{FAILURES} trials failed one after another: {reason}")

    def _told(self, job: Job, reason: str = "") -> None:
        """Say that a trial is over, and keep the best recipe up to date: a kill may come."""
        found = tuning.results(self.study)
        tuning.write_best(Tuning(self.folder, self.plan, found, {}))
        trial = found[self.trials[job.folder].number]
        self.listener({"event": "trial_end", "trial": trial, "reason": reason})

    def _interrupt(self, number: signal.Signals) -> None:
        """Let all trials save, then leave; they stay open in the study."""
        self.pool.stop()
        while self.pool.at_work:
            heard = self.pool.next_event(0.2)
            if heard is not None and heard[1]["event"] == "worker_end":
                job = heard[0]
                if job.folder in self.pruned or outcome.read(job).is_settled:
                    self._ended(*heard)
        found = self._write_report("interrupted")
        done = sum(trial.is_over for trial in found.trials)
        raise Interrupted(
            f"interrupted with {done} trials over, the running ones saved; "
            f"nin {tuning.KIND} --resume {shlex.quote(str(self.folder))} goes on",
            130 if number == signal.SIGINT else 143,
        )

    # Progress

    def _speak(self) -> None:
        if time.monotonic() - self.spoken < SPOKEN_SECONDS:
            return
        self.spoken = time.monotonic()
        found = tuning.results(self.study)
        best = Tuning(self.folder, self.plan, found, {}).best
        self.listener(
            {
                "event": "search_progress",
                "trials": self.plan.settings["trials"],
                "done": sum(trial.is_over for trial in found),
                "running": len(self.pool.at_work),
                "best": None if best is None else best.accuracy,
                "seconds_left": self._seconds_left(found),
            }
        )

    def _seconds_left(self, found: tuple[tuning.Trial, ...]) -> float | None:
        """By the mean duration of the trials that are over, and the time limit.

        Before any is over, by steps that were timed: most, since trials may be stopped early.
        """
        limit = None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)
        most = self.plan.settings["trials"]
        durations = [trial.seconds for trial in found if trial.is_over and trial.seconds]
        if not durations and self.timed_trial:
            durations = [self.timed_trial]
        if not durations or not most:
            return limit
        begun = sum(share for _, share in self.shares.values())
        left = max(most - sum(trial.is_over for trial in found) - begun, 0.0)
        seconds: float = max(left / self.pool.count, min(left, 1.0)) * statistics.fmean(durations)
        return seconds if limit is None else min(seconds, limit)

    def _write_report(self, state: str) -> Tuning:
        self.reported = time.monotonic()
        found = tuning.look(self.folder, self.plan, self.study)
        tuning.write_best(found)
        write_report(lambda: self.report(found, state), self.listener)
        return found
