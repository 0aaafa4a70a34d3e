"""What happens in a study, as objects; what happens in a run is in `training/events.py`."""

from __future__ import annotations

from dataclasses import dataclass

from netinnet.studies.outcome import Outcome
from netinnet.studies.tuning import Trial
from netinnet.training.events import Event


@dataclass(frozen=True)
class Timing(Event):
    """A few steps are timed, to tell how long the study will take."""

    arms: int
    """Arms whose steps are timed."""


@dataclass(frozen=True)
class StudyStart(Event):
    """A study of arms over seeds begins, or is gone on with."""

    runs: int
    """Runs in all."""
    done: int
    """Those that need no more training."""
    arms: int
    """Number of arms."""
    seeds: int
    """Number of seeds."""
    study: str
    """The study's folder."""
    workers: int
    """Runs at a time."""


@dataclass(frozen=True)
class SearchStart(Event):
    """A search begins, or is gone on with."""

    trials: int | None
    """Trials in all; None where only time ends the search."""
    done: int
    """Trials that are over."""
    outside: list[str]
    """Fields whose value as given lies outside what is searched: so it is no trial."""
    study: str
    """The study's folder."""
    workers: int
    """Trials at a time."""


@dataclass(frozen=True)
class StudyProgress(Event):
    """How far a study is, now and then."""

    done: int
    """Runs that are settled, or trials that are over."""
    seconds_left: float | None
    """An estimate; None if it is not known yet."""
    best: float | None = None
    """A search's best validation accuracy so far."""


@dataclass(frozen=True)
class RunEnd(Event):
    """A run of a study is over."""

    outcome: Outcome
    """What came of it (`netinnet.studies.outcome.Outcome`)."""


@dataclass(frozen=True)
class TrialEnd(Event):
    """A trial of a search is over."""

    trial: Trial
    """What came of it (`netinnet.studies.tuning.Trial`)."""
    reason: str
    """Why it has failed; "" if it has not."""


@dataclass(frozen=True)
class TrialTaken(Event):
    """A trial of another searcher, of which nothing was heard any more, is gone on with here."""

    trial: int
    """The trial's number."""
    folder: str
    """The run's folder at the other searcher."""
    is_there: bool
    """Whether it could be read from here: else the trial begins again."""


HEARD = (Timing, StudyStart, SearchStart, StudyProgress, RunEnd, TrialEnd, TrialTaken)
"""What a study's listener is told."""


# What a run's process tells the study, in lines of JSON; listeners are not told.


@dataclass(frozen=True)
class Share(Event):
    """How far a run is."""

    share: float
    """The share of its steps that are done."""


@dataclass(frozen=True)
class Evaluated(Event):
    """An epoch of a run is over; the run's own events have its figures."""


@dataclass(frozen=True)
class WorkerEnd(Event):
    """A run's process has ended."""

    status: int
    """Its exit status, or the negative number of the signal that killed it."""
    reason: str = ""
    """The last line that it wrote to standard error, if any."""


TOLD = (Share, Evaluated)
