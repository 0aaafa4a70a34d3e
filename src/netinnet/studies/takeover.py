"""A killed searcher's trials are taken over by another one of the same storage.

Optuna's own heartbeats belong to `optimize`, not to ask and tell. Here each searcher counts up a
number in each of its running trials, `beat`, every BEAT_SECONDS. The others watch whether it moves,
by their own clocks, so that clocks need not agree. Where it stands still for too long, one of them
writes itself into the trial as its `searcher`, and looks a moment later whether it still stands
there: of several that do so at a time, the one that wrote last has it. A searcher that was only
slow sees at its next beat that its trial is another's, and leaves it.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from netinnet.data.source import DatasetRecord
from netinnet.errors import NetinnetError
from netinnet.files import make_folder, sync_folder
from netinnet.studies.outcome import OUTCOME_FILE
from netinnet.studies.plan import Job
from netinnet.training.claim import LOCK_FILE
from netinnet.training.run import Run

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

BEAT_SECONDS = 30.0
"""How often a searcher says of its running trials that it is there."""
SILENT_BEATS, BUSY_BEATS = 1.5, 1.75
"""A trial whose number stands still so many beats long has no searcher any more; one that has a
worker free claims it first."""
LOOK_BEATS = 1 / 30
"""How often others are looked at: so it takes less than two beats from a kill to the next owner."""


class Watch:
    """What one searcher knows of the trials of all."""

    def __init__(self, study: optuna.Study, searcher: str) -> None:
        self.study, self.searcher = study, searcher
        self._beats = 0
        self._next_beat = self._next_look = 0.0
        self._seen: dict[int, _Seen] = {}
        """What was seen of others' running trials."""
        self._claimed: set[int] = set()

    def own(self, trial: optuna.Trial, folder: Path) -> None:
        """Say whose a trial is, and where its run is."""
        trial.set_user_attr("searcher", self.searcher)
        trial.set_user_attr("folder", str(folder.absolute()))

    def is_own(self, number: int) -> bool:
        """Whether a trial runs and is still this searcher's."""
        found = self.study.get_trials(deepcopy=False)[number]
        return _runs(found) and found.user_attrs.get("searcher") == self.searcher

    def beat(self, trials: Collection[optuna.Trial]) -> set[int]:
        """Say of one's running trials, if it is time, that one is there; give those lost."""
        if time.monotonic() < self._next_beat:
            return set()
        self._next_beat, self._beats = time.monotonic() + BEAT_SECONDS, self._beats + 1
        lost = {trial.number for trial in trials if not self.is_own(trial.number)}
        for trial in trials:
            if trial.number not in lost:
                self._write(trial._trial_id, "beat", self._beats)
        return lost

    def look(self, beats: float, stopping: Collection[int] = ()) -> list[FrozenTrial]:
        """Trials, if it is time to look, that are now this one's; claim one silent for `beats`.

        Not one that was lost and whose own process here is still `stopping`.
        """
        now = time.monotonic()
        if now < self._next_look:
            return []
        self._next_look = now + LOOK_BEATS * BEAT_SECONDS
        running = [trial for trial in self.study.get_trials(deepcopy=False) if _runs(trial)]
        is_mine = {t.number: t.user_attrs.get("searcher") == self.searcher for t in running}
        won = [t for t in running if is_mine[t.number] and t.number in self._claimed]
        self._claimed.clear()
        others = [trial for trial in running if not is_mine[trial.number]]
        self._seen = {t.number: self._see(t, now) for t in others}
        for trial in others:
            is_silent = now - self._seen[trial.number].since >= beats * BEAT_SECONDS
            if is_silent and not self._claimed and trial.number not in stopping:
                self._write(trial._trial_id, "searcher", self.searcher)
                self._claimed.add(trial.number)
        return won

    def _see(self, trial: FrozenTrial, now: float) -> _Seen:
        state = trial.user_attrs.get("searcher"), trial.user_attrs.get("beat")
        before = self._seen.get(trial.number)
        if before is None:
            return _Seen(state, since=now, moved=-math.inf)
        return before if before.state == state else _Seen(state, since=now, moved=now)

    def may_take(self, since: float) -> bool:
        """Whether a trial may become this one's: nothing was heard of its owner since a time."""
        return bool(self._claimed) or any(seen.moved < since for seen in self._seen.values())

    def _write(self, trial: int, name: str, value: object) -> None:
        """An attribute of a trial, unless it is over by now."""
        from optuna.exceptions import UpdateFinishedTrialError

        with contextlib.suppress(UpdateFinishedTrialError):
            self.study._storage.set_trial_user_attr(trial, name, value)


class _Seen(NamedTuple):
    """What was seen of another searcher's trial: it, since when, and when it last changed."""

    state: tuple[object, object]
    since: float
    moved: float


def _runs(trial: FrozenTrial) -> bool:
    return trial.state.name == "RUNNING"


def fetch(job: Job, folder: str, record: DatasetRecord) -> bool:
    """Copy another searcher's run, as far as it is, to where a job's is to be; whether it is there.

    It is copied because that searcher may be alive after all, and may have another data folder.
    """
    there, own = Run(Path(folder)), Run(job.folder)
    if own.recipe_file.exists():
        return True
    copy = Run(job.folder.with_name(f".{job.folder.name}.copy"))
    shutil.rmtree(copy.folder, ignore_errors=True)
    try:
        make_folder(job.folder.parent)
        _copy(there, copy)
        if copy.recipe() == job.recipe and copy.network() == job.network:
            copy.write_dataset(record)
            shutil.rmtree(own.folder, ignore_errors=True)  # what a kill left before it began
            copy.folder.rename(own.folder)
            sync_folder(own.folder.parent)
            return True
    except (OSError, shutil.Error, NetinnetError):
        pass  # it can't be reached from here, or is not whole: the trial begins again
    with contextlib.suppress(OSError):
        shutil.rmtree(copy.folder)
    return False


def _copy(there: Run, copy: Run) -> None:
    """Copy a run, to which a slow owner may still write: what is written last comes first.

    So nothing is there without what it builds on. The log comes last: resuming cuts off what is
    newer in it than the checkpoint.
    """
    ends = there.folder / OUTCOME_FILE, there.metrics_file
    checkpoints = sorted(there.checkpoints.glob("*.safetensors"), reverse=True)
    first = [*ends, *checkpoints]  # of checkpoints the newest; the good one to roll back to last
    rest = [
        path
        for path in there.folder.iterdir()
        if path.is_file() and path not in first and not _is_passing(path)
    ]
    rest.sort(key=lambda path: path == there.events_file)
    make_folder(copy.checkpoints)
    for path in [*first, *rest]:
        # The end may not have come, and its owner removes old checkpoints.
        with contextlib.suppress(*([FileNotFoundError] if path in first else [])):
            shutil.copy2(path, copy.folder / path.relative_to(there.folder))


def _is_passing(path: Path) -> bool:
    return path.name == LOCK_FILE or path.suffix == ".tmp"
