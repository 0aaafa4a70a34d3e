"""A search: trials that Optuna proposes, stopped early where they fall behind."""

from __future__ import annotations

import math
import shlex
import statistics
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from netinnet.errors import NetinnetError, NetworkError, RecipeError
from netinnet.files import write_text
from netinnet.studies import plan as plans
from netinnet.studies import scheduler, tuning
from netinnet.studies.arms import Arm
from netinnet.studies.estimate import Estimate
from netinnet.studies.events import (
    Evaluated,
    SearchStart,
    Share,
    StudyProgress,
    TrialEnd,
    TrialTaken,
)
from netinnet.studies.outcome import Outcome
from netinnet.studies.plan import Job, SearchPlan
from netinnet.studies.takeover import BUSY_BEATS, SILENT_BEATS, Watch, fetch
from netinnet.studies.tuning import Trial, Tuning
from netinnet.training.events import Evaluation, Event, of_kind
from netinnet.training.listening import Listener
from netinnet.training.run import Run

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

Report = Callable[[Tuning, str], object]
"""Called with the results so far and the state: "running", "interrupted" or "finished"."""

SEARCHER_FILE = "searcher"
"""Holds the folder's own name in the storage, whatever machine it is on: its trials bear it."""
FAILURES = 3
"""So many trials failing one after another end the search: the next would too."""


def conduct(
    plan: SearchPlan,
    *,
    output: Path | None = None,
    minutes: float | None = None,
    workers: int | None = None,
    storage: str | None = None,
    data_dir: Path | None = None,
    listener: Listener = lambda event: None,
    report: Report = lambda tuning, state: None,
) -> Tuning:
    """Search until the plan's number of trials is over, or the minutes of this sitting.

    The number is that of all searchers of one storage; when the minutes are over, running trials
    are finished. A folder that holds the same search goes on with it: finished trials stay,
    those that a kill left half done go on from their checkpoints. Raises Interrupted when asked
    to stop, after all trials have saved.
    """
    plan.check_end(minutes)
    plan = plans.as_begun(plan, output)
    arms = plan.as_study(plan.trials or 1)
    setup = scheduler.prepare(arms, workers, data_dir, listener, output)
    # A storage that can't be used is said before the folder is made, too.
    study = tuning.open_study(plan, Path(), storage) if plan.storage else None

    def make(plan: SearchPlan, folder: Path) -> Search:
        opened = study or tuning.open_study(plan, folder, storage)
        return Search(plan, folder, opened, listener, report, minutes)

    search = scheduler.run(plan, output, setup, make)
    results = tuning.look(search.folder, search.plan, search.study)
    tuning.write_best(results)
    return results


@dataclass
class Search:
    """The scheduler's policy for a search: Optuna proposes trials and is told how they end.

    No trial is started when the sitting has lasted so many `minutes`.
    """

    plan: SearchPlan
    folder: Path
    study: optuna.Study
    listener: Listener
    write_report: Report
    minutes: float | None

    def __post_init__(self) -> None:
        file = self.folder / SEARCHER_FILE
        if not file.exists():
            write_text(file, uuid.uuid4().hex + "\n")
        self.searcher = file.read_text("ascii").strip()
        self.trials: dict[Path, optuna.Trial] = {}
        """The trials of this sitting by their run's folder."""
        self.shares: dict[Path, float] = {}
        """The share of its steps that each running trial has done."""
        self.lost: set[Path] = set()
        """Folders of trials that another searcher has taken over: this one was silent too long."""
        self.watch = Watch(self.study, self.searcher)
        self.workers, self.idle_since = 1, 0.0
        self.failures = 0
        self.waiting = self._left_behind()
        # The recipe as it was given is the first trial: the others are measured against it.
        own = self.plan.space.values_in(self.plan.recipe)
        known = any(trial.as_given and trial.state != "failed" for trial in self.so_far.trials)
        if own is not None and not known:
            self.study.enqueue_trial(own, user_attrs={"as_given": True})

    @property
    def missing(self) -> str:
        """The storage, where its password is not kept."""
        is_hidden = ":***@" in self.plan.storage
        return (
            f"--storage {shlex.quote(self.plan.storage)} (with its password)" if is_hidden else ""
        )

    @property
    def so_far(self) -> Tuning:
        """The trials of all searchers until now."""
        return Tuning(self.folder, self.plan, tuning.results(self.study), {})

    def _left_behind(self) -> deque[Job]:
        """The jobs of trials that a kill interrupted here, whoever else may be searching."""
        from optuna.trial import Trial, TrialState

        jobs: deque[Job] = deque()
        for found in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if found.user_attrs.get("searcher") != self.searcher:
                continue
            trial = Trial(self.study, found._trial_id)
            job = self._job(found.number, self.plan.given)
            run = Run(job.folder)
            if run.recipe_file.exists():
                self.trials[job.folder] = trial
                jobs.append(replace(job, recipe=run.recipe(), network=run.network()))
            else:
                # It was not even begun here. The values that were proposed stay.
                jobs.extend(self._taken_over(found))
        return jobs

    def _taken_over(self, found: FrozenTrial) -> list[Job]:
        """The job of a trial that another searcher may have begun."""
        from optuna.trial import Trial

        folder = found.user_attrs.get("folder", "")
        jobs = self._proposed(Trial(self.study, found._trial_id))
        for job in jobs:
            if folder and folder != str(job.folder.absolute()):
                is_there = fetch(job, folder, self.plan.data[job.recipe.dataset])
                self.listener(TrialTaken(found.number, folder, is_there))
        return jobs

    def attend(self) -> bool:
        now = time.monotonic()
        if self.trials:
            self.idle_since = now
        lost = self.watch.beat(self.trials.values())
        self.lost.update(folder for folder, t in self.trials.items() if t.number in lost)
        if now >= self.deadline:
            return False
        beats = SILENT_BEATS if len(self.trials) < self.workers else BUSY_BEATS
        stopping = [self.trials[folder].number for folder in self.lost]
        for found in self.watch.look(math.inf if self.waiting else beats, stopping):
            self.waiting.extend(self._taken_over(found))
        return self.watch.may_take(self.idle_since)

    def _job(self, number: int, arm: Arm) -> Job:
        return plans.job(self.folder, f"trial-{number:04}", arm.recipe, arm.network)

    def untimed(self) -> list[str]:
        # A search that goes on knows how long its trials took.
        return [] if self.so_far.over else [self.plan.given.name] * (self.plan.trials or 1)

    def begin(self, estimate: Estimate, workers: int) -> SearchStart:
        self.timed = estimate.timed.get(self.plan.given.name)
        self.deadline = time.monotonic() + 60 * (self.minutes or math.inf)
        self.workers, self.idle_since = workers, time.monotonic()
        trials, done = self.plan.trials, len(self.so_far.over)
        outside = self.plan.space.outside(self.plan.recipe)
        return SearchStart(trials, done, outside, str(self.folder), workers)

    def next_job(self) -> Job | None:
        while not self.waiting and self._may_ask():
            self._ask()
        while self.waiting:
            job = self.waiting.popleft()
            if self.watch.is_own(self.trials[job.folder].number):
                return job
            del self.trials[job.folder]
            self.lost.discard(job.folder)
        return None

    def _may_ask(self) -> bool:
        """Whether another trial may start: neither the number nor the time is used up."""
        if time.monotonic() >= self.deadline:
            return False
        begun = sum(trial.state != "waiting" for trial in self.so_far.trials)
        return begun < (self.plan.trials or math.inf)

    def _ask(self) -> None:
        """A new trial that waits to begin, or has failed where its values make no recipe."""
        from optuna.trial import TrialState

        if not any(trial.state == "waiting" for trial in self.so_far.trials):
            # A kill behind `ask` must not leave a trial that is nobody's.
            self.study.enqueue_trial({}, user_attrs={"searcher": self.searcher})
        trial = self.study.ask()
        if trial.number >= (self.plan.trials or math.inf):
            # Others asked since `_may_ask` looked. It waits for a search of more trials.
            self.study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
            return
        trial.set_user_attr("searcher", self.searcher)  # the rest may take a moment
        self.waiting.extend(self._proposed(trial))

    def _proposed(self, trial: optuna.Trial) -> list[Job]:
        """The job of a trial that has not begun; none where its values make no recipe."""
        values = self.plan.space.suggest(trial)
        job = self._job(trial.number, self.plan.given)
        self.trials[job.folder] = trial
        self.watch.own(trial, job.folder)
        try:
            return [self._job(trial.number, self.plan.trial(values))]
        except (RecipeError, NetworkError) as error:
            self.on_end(job, Outcome(job.arm, job.seed, job.folder, "failed", str(error)))
            return []

    def on_event(self, job: Job, event: Event) -> bool:
        if isinstance(event, Share):
            self.shares[job.folder] = event.share
        if job.folder in self.lost:
            return True
        return isinstance(event, Evaluated) and self._falls_behind(job, self.trials[job.folder])

    def _falls_behind(self, job: Job, trial: optuna.Trial) -> bool:
        """Tell the study how good each epoch was; whether the trial is worse than the others."""
        known = self.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        evaluations = of_kind(Run(job.folder).events(), Evaluation)
        for event in evaluations:
            if event.epoch not in known:
                trial.report(event.figures["validation"]["accuracy"], event.epoch)
        return len(evaluations) < job.recipe.epochs and trial.should_prune()

    def on_end(self, job: Job, result: Outcome) -> None:
        from optuna.trial import TrialState

        self.shares.pop(job.folder, None)
        trial, failed = self.trials.pop(job.folder), result.state == "failed"
        self.lost.discard(job.folder)
        if not self.watch.is_own(trial.number):
            return  # its end is another searcher's to tell
        if result.state == "finished":
            self._falls_behind(job, trial)
            metrics = Run(job.folder).metrics()
            trial.set_user_attr("seconds", metrics["wall_seconds"])
            accuracy = metrics["validation"]["accuracy"]
            self.study.tell(trial, accuracy, skip_if_finished=True)
        else:
            # To the sampler a run that diverged is a bad one, not one that never was.
            if result.state == "diverged":
                trial.set_user_attr("diverged", result.reason)
            state = TrialState.FAIL if failed else TrialState.PRUNED
            self.study.tell(trial, state=state, skip_if_finished=True)
        so_far = self.so_far
        tuning.write_best(so_far)  # a kill may come
        reason = result.reason if failed else ""
        self.listener(TrialEnd(so_far.trials[trial.number], reason))
        self.failures = self.failures + 1 if failed else 0
        if self.failures >= FAILURES:
            raise NetinnetError(f"{FAILURES} trials failed one after another: {reason}")

    def progress(self, workers: int) -> StudyProgress:
        so_far = self.so_far
        best = so_far.best.accuracy if so_far.best else None
        seconds = self._seconds_left(so_far.over, workers)
        return StudyProgress(len(so_far.over), seconds, best)

    def _seconds_left(self, over: Sequence[Trial], workers: int) -> float | None:
        """By the mean duration of the trials that are over, and the time limit.

        Before any is over, by steps that were timed: most, since trials may be stopped early.
        """
        seconds = max(self.deadline - time.monotonic(), 0.0)
        durations = [trial.seconds for trial in over if trial.seconds] or [self.timed or 0.0]
        if self.plan.trials and any(durations):
            left = max(self.plan.trials - len(over) - sum(self.shares.values()), 0.0)
            shared = max(left / workers, min(left, 1.0))
            seconds = min(seconds, shared * statistics.fmean(durations))
        return seconds if seconds < math.inf else None

    def standing(self) -> str:
        return f"{len(self.so_far.over)} trials over, the running ones saved"

    def report(self, state: str) -> None:
        results = tuning.look(self.folder, self.plan, self.study)
        tuning.write_best(results)
        self.write_report(results, state)
