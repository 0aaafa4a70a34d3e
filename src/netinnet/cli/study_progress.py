"""Progress of a study on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import Any

from netinnet.cli.progress import Progress
from netinnet.units import counted, duration, estimate


class StudyProgress(Progress):
    """Shows a study."""

    plain_seconds = 60.0
    what = "runs"
    total: int | None = None

    def _on_timing(self, event: dict[str, Any]) -> None:
        self._say(f"timing a few steps of {counted(event['arms'], 'arm')}")

    def _on_study_start(self, event: dict[str, Any]) -> None:
        self._say(
            f"{counted(event['runs'], 'run')}: {counted(event['arms'], 'arm')}, "
            f"{counted(event['seeds'], 'seed')}; {event['workers']} at a time"
            + (f", {event['done']} done" if event["done"] else "")
        )
        self._begin(event["study"], "runs", event["runs"])

    def _on_search_start(self, event: dict[str, Any]) -> None:
        trials = counted(event["trials"], "trial") if event["trials"] else "trials"
        self._say(
            f"{trials}, {event['workers']} at a time"
            + (f", {event['done']} done" if event["done"] else "")
        )
        if event["outside"]:
            names = ", ".join(event["outside"])
            self._say(f"the recipe as given is no trial: its {names} lies outside what is searched")
        self._begin(event["study"], "trials", event["trials"] or None)

    def _begin(self, folder: str, what: str, total: int | None) -> None:
        """Say where the study is, and begin its bar."""
        self._say(f"study: {folder}")
        self.what, self.total = what, total
        share = "{task.completed}" + (f"/{total} {what}" if total else f" {what}")
        self._open("study", total, share, "{task.fields[left]}", left="")

    def _on_study_progress(self, event: dict[str, Any]) -> None:
        seconds, done = event["seconds_left"], event["done"]
        left = "time left not known yet" if seconds is None else f"about {estimate(seconds)} left"
        if seconds is not None:
            self._estimate(seconds)
        if self.bar is not None:
            self.bar.update(self.task, completed=done, left=left)
        elif self._is_time():
            share = f"{done}/{self.total} {self.what}" if self.total else f"{done} {self.what}"
            best = event.get("best")
            self._say(f"{share}, {left}" + (f", best {best:.4f}" if best else ""))

    def _on_trial_end(self, event: dict[str, Any]) -> None:
        trial = event["trial"]
        text = f"trial {trial.number}{' (as given)' if trial.as_given else ''}: {trial.state}"
        if trial.accuracy is not None:
            text += f", validation acc {trial.accuracy:.4f} after {counted(trial.epochs, 'epoch')}"
        if trial.seconds is not None:
            text += f", {duration(trial.seconds)}"
        if event["reason"]:
            text += f": {event['reason']}"
        self._say(text)

    def _on_run_end(self, event: dict[str, Any]) -> None:
        outcome = event["outcome"]
        text = f"{outcome.arm}, seed {outcome.seed}: "
        if outcome.state == "finished":
            text += f"{outcome.judged} acc {outcome.accuracy:.4f}, {duration(outcome.wall_seconds)}"
        else:
            text += f"{outcome.state}: {outcome.reason}"
        if outcome.dead:
            text += f", dead: {', '.join(dead.name for dead in outcome.dead)}"
        self._say(text)
