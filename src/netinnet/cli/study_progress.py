"""Progress of a study on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from netinnet.cli.progress import Progress
from netinnet.studies import events
from netinnet.studies.outcome import Outcome
from netinnet.training.events import Event
from netinnet.units import counted, duration, estimate


class StudyProgress(Progress):
    """Shows a study."""

    plain_seconds = 60.0
    what = "runs"
    total: int | None = None

    def __call__(self, event: Event) -> None:
        match event:
            case events.Timing():
                self._say(f"timing a few steps of {counted(event.arms, 'arm')}")
            case events.StudyStart():
                runs = f"{counted(event.runs, 'run')}: {counted(event.arms, 'arm')}, "
                self._begin(event, f"{runs}{counted(event.seeds, 'seed')};", "runs", event.runs)
            case events.SearchStart():
                trials = counted(event.trials, "trial") if event.trials else "trials"
                self._begin(event, f"{trials},", "trials", event.trials)
            case events.StudyProgress():
                self._progress(event)
            case events.TrialEnd():
                self._trial_end(event)
            case events.TrialTaken():
                how = "continues" if event.is_there else "starts again"
                where = f"its run was {event.folder}"
                where += "" if event.is_there else ", which can't be read from here"
                self._say(f"trial {event.trial}: its searcher is silent; it {how} here ({where})")
            case events.RunEnd():
                self._run_end(event.outcome)
            case _:
                super().__call__(event)

    def _begin(
        self,
        start: events.StudyStart | events.SearchStart,
        text: str,
        what: str,
        total: int | None,
    ) -> None:
        """Say how large the study is, and where, and begin its bar."""
        done = f", {start.done} done" if start.done else ""
        self._say(f"{text} {start.workers} at a time{done}")
        if isinstance(start, events.SearchStart) and start.outside:
            names = ", ".join(start.outside)
            self._say(f"the recipe as given is no trial: its {names} lies outside what is searched")
        self._say(f"study: {start.study}")
        self.what, self.total = what, total
        share = "{task.completed}" + (f"/{total} {what}" if total else f" {what}")
        self._open("study", total, share, "{task.fields[left]}", left="")

    def _progress(self, event: events.StudyProgress) -> None:
        seconds, done = event.seconds_left, event.done
        left = "time left not known yet" if seconds is None else f"about {estimate(seconds)} left"
        if seconds is not None:
            self._estimate(seconds)
        if self.bar is not None:
            self.bar.update(self.task, completed=done, left=left)
        elif self._is_time():
            share = f"{done}/{self.total} {self.what}" if self.total else f"{done} {self.what}"
            self._say(f"{share}, {left}" + (f", best {event.best:.4f}" if event.best else ""))

    def _trial_end(self, event: events.TrialEnd) -> None:
        trial = event.trial
        text = f"trial {trial.number}{' (as given)' if trial.as_given else ''}: {trial.state}"
        if trial.accuracy is not None:
            text += f", validation acc {trial.accuracy:.4f} after {counted(trial.epochs, 'epoch')}"
        if trial.seconds is not None:
            text += f", {duration(trial.seconds)}"
        if event.reason:
            text += f": {event.reason}"
        self._say(text)

    def _run_end(self, outcome: Outcome) -> None:
        text = f"{outcome.arm}, seed {outcome.seed}: "
        if outcome.state == "finished":
            text += f"{outcome.judged} acc {outcome.accuracy:.4f}, {duration(outcome.wall_seconds)}"
        else:
            text += f"{outcome.state}: {outcome.reason}"
        if outcome.dead:
            text += f", dead: {', '.join(dead.name for dead in outcome.dead)}"
        self._say(text)
