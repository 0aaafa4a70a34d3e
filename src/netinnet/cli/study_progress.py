"""Progress of a study on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from netinnet.cli.console import console
from netinnet.cli.progress import duration, show_data_progress

PLAIN_SECONDS = 60.0
"""Seconds between plain progress lines."""


def counted(number: int, what: str) -> str:
    """ "1 run", "2 runs"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


class StudyProgress:
    """Listens to a study's events and shows them."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.screen = console(stderr=True)
        self.data = show_data_progress(self.screen)
        self.on_data: Any = None
        self.bar: Any = None
        self.task: Any = None
        self.what = "runs"
        self.total: int | None = None
        self.shown = time.monotonic()
        self.estimated = False

    def __enter__(self) -> StudyProgress:
        self.on_data = self.data.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.data.__exit__(None, None, None)
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        handler = getattr(self, f"_on_{event['event']}", None)
        if handler is not None and not self.quiet:
            handler(event)

    def _on_data(self, event: dict[str, Any]) -> None:
        self.on_data(event["what"], event["done"], event["total"])

    def _on_timing(self, event: dict[str, Any]) -> None:
        self.screen.print(f"timing a few steps of {counted(event['arms'], 'arm')}")

    def _on_study_start(self, event: dict[str, Any]) -> None:
        self.screen.print(
            f"{counted(event['runs'], 'run')}: {counted(event['arms'], 'arm')}, "
            f"{counted(event['seeds'], 'seed')}; {event['workers']} at a time"
            + (f", {event['done']} done" if event["done"] else "")
        )
        self._open(event["study"], "runs", event["runs"])

    def _on_search_start(self, event: dict[str, Any]) -> None:
        trials = counted(event["trials"], "trial") if event["trials"] else "trials"
        self.screen.print(
            f"{trials}, {event['workers']} at a time"
            + (f", {event['done']} done" if event["done"] else "")
        )
        if event["outside"]:
            names = ", ".join(event["outside"])
            self.screen.print(
                f"the recipe as given is no trial: its {names} lies outside what is searched"
            )
        self._open(event["study"], "trials", event["trials"] or None)

    def _open(self, folder: str, what: str, total: int | None) -> None:
        """Say where the study is, and begin its bar."""
        self.screen.print(f"study: {folder}")
        self.what, self.total = what, total
        if not self.screen.is_terminal:
            return
        from rich import progress

        self.bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TextColumn("{task.completed}" + (f"/{total} {what}" if total else f" {what}")),
            progress.TextColumn("{task.fields[left]}"),
            console=self.screen,
        )
        self.bar.start()
        self.task = self.bar.add_task("study", total=total, left="")

    def _on_study_progress(self, event: dict[str, Any]) -> None:
        seconds = event["seconds_left"]
        left = "time left not known yet" if seconds is None else f"about {duration(seconds)} left"
        if seconds is not None and not self.estimated:
            self.estimated = True
            self.screen.print(f"this will take about {duration(seconds)} here")
        if self.bar is not None:
            self.bar.update(self.task, completed=event["done"], left=left)
        elif time.monotonic() - self.shown >= PLAIN_SECONDS:
            self.shown = time.monotonic()
            done = event["done"]
            share = f"{done}/{self.total} {self.what}" if self.total else f"{done} {self.what}"
            best = event.get("best")
            self.screen.print(f"{share}, {left}" + (f", best {best:.4f}" if best else ""))

    _on_search_progress = _on_study_progress

    def _on_trial_end(self, event: dict[str, Any]) -> None:
        trial = event["trial"]
        text = f"trial {trial.number}{' (as given)' if trial.as_given else ''}: {trial.state}"
        if trial.accuracy is not None:
            text += f", validation acc {trial.accuracy:.4f} after {counted(trial.epochs, 'epoch')}"
        if trial.seconds is not None:
            text += f", {duration(trial.seconds)}"
        if event["reason"]:
            text += f": {event['reason']}"
        self.screen.print(text)

    def _on_run_end(self, event: dict[str, Any]) -> None:
        found = event["outcome"]
        text = f"{found.arm}, seed {found.seed}: "
        if found.state == "finished":
            text += f"{found.judged} acc {found.accuracy:.4f}, {duration(found.wall_seconds)}"
        else:
            text += f"{found.state}: {found.reason}"
        if found.dead:
            text += f", dead: {', '.join(dead.name for dead in found.dead)}"
        self.screen.print(text)

    def _on_report_failed(self, event: dict[str, Any]) -> None:
        self.screen.print(f"warning: the report could not be written: {event['reason']}")
