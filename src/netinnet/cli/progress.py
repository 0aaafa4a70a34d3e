"""Progress of long work: bars on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from typing import Any, Self

from netinnet import units
from netinnet.cli.console import console
from netinnet.errors import printable
from netinnet.training import events
from netinnet.training.events import Event
from netinnet.training.pace import Pace


def show_data_progress(screen: Any) -> contextlib.closing[_DataProgress]:
    """A listener for data that is being fetched: a bar on a terminal, a line for each new text."""
    return contextlib.closing(_DataProgress(screen))


def _bar(screen: Any, *columns: Any) -> Any:
    """A started bar with a description before it and the given columns behind it."""
    from rich import progress

    first = (progress.TextColumn("{task.description}"), progress.BarColumn())
    bar = progress.Progress(*first, *columns, console=screen)
    bar.start()
    return bar


class _DataProgress:
    def __init__(self, screen: Any) -> None:
        self.screen = screen
        self.bar: Any = None
        self.tasks: dict[str, Any] = {}

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def __call__(self, what: str, done: int, total: int | None) -> None:
        if not self.screen.is_terminal or total is None:
            if what not in self.tasks:
                self.tasks[what] = None
                with contextlib.suppress(OSError, SystemExit):
                    self.screen.print(printable(what))
            return
        if self.bar is None:
            from rich import progress

            self.bar = _bar(self.screen, progress.DownloadColumn(), progress.TimeRemainingColumn())
        if self.tasks.get(what) is None:
            self.tasks[what] = self.bar.add_task(what, total=total)
        self.bar.update(self.tasks[what], completed=done, total=total)


class Progress:
    """Listens to events and shows those that every long work has."""

    plain_seconds = 15.0
    """Seconds between plain progress lines."""

    def __init__(self, *, quiet: bool, stderr: bool = True) -> None:
        self.quiet = quiet
        self.screen = console(stderr=stderr)
        self.warnings = console(stderr=True)
        self.data = _DataProgress(self.screen)
        self.bar: Any = None
        self.task: Any = None
        self.shown = time.monotonic()
        self.estimated = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, SystemExit):  # the terminal may have gone
            self.data.close()
            if self.bar is not None:
                self.bar.stop()

    def __call__(self, event: Event) -> None:
        match event:
            case events.Data(what, done, total):
                if not self.quiet:
                    self.data(what, done, total)
            case events.OnnxFailed(reason):
                self._warn(f"model.onnx could not be written: {reason}")
            case events.CheckpointsKept(reason):
                self._warn(f"the checkpoints could not be removed: {reason}")
            case events.ReportFailed(reason):
                self._warn(f"the report could not be written: {reason}")

    def _say(self, text: str) -> None:
        if self.quiet:
            return
        try:
            self.screen.print(printable(text))
        except (OSError, SystemExit):
            # Whoever read the output has gone (rich exits then), or the terminal; the work need
            # not end.
            self.quiet = True

    def _warn(self, text: str, kind: str = "warning") -> None:
        with contextlib.suppress(OSError, SystemExit):
            self.warnings.print(f"{kind}: {printable(text)}")

    def _open(self, what: str, total: int | None, *columns: str, **fields: str) -> None:
        """Begin the bar, on a terminal."""
        self.data.close()
        if self.quiet or not self.screen.is_terminal:
            return
        from rich import progress

        self.bar = _bar(self.screen, *map(progress.TextColumn, columns))
        self.task = self.bar.add_task(what, total=total, **fields)

    def _estimate(self, seconds: float) -> None:
        """Say once what the whole will cost."""
        if not self.estimated:
            self.estimated = True
            self._say(f"this will take about {units.estimate(seconds)} here")

    def _is_time(self) -> bool:
        """Whether the next plain line is due."""
        if time.monotonic() - self.shown < self.plain_seconds:
            return False
        self.shown = time.monotonic()
        return True


class TrainingProgress(Progress):
    """Shows a training."""

    start: events.Start
    pace: Pace

    def __call__(self, event: Event) -> None:
        match event:
            case events.Resume():
                self._say(f"continuing from step {event.step}")
            case events.Start():
                self._start(event)
            case events.Progress():
                self._step(event)
            case events.Evaluation():
                self._evaluation(event)
            case events.Rollback():
                self._warn(event.words)
            case events.DeadClass():
                self._warn(
                    f"class '{event.class_}' is dead: its logit was zero for the whole of epoch "
                    f"{event.epoch}, and it cannot learn again; --no-logits-relu is the cure "
                    f"(logits_relu = false in a recipe)"
                )
            case _:
                super().__call__(event)

    def caution(self, texts: Iterable[str]) -> None:
        """What should be known before it is trained, on standard error."""
        self.data.close()
        for text in texts:
            self._warn(text, "caution")

    def _start(self, event: events.Start) -> None:
        self.data.close()
        self.start, self.pace = event, Pace(event)
        epochs = units.counted(event.epochs, "epoch")
        self._say(
            f"{event.network} ({event.parameters:,} parameters), {event.framework} on "
            f"{event.device}, {epochs} of {event.steps_per_epoch:,} steps"
        )
        self._say(f"run: {event.run}")
        self.shown = time.monotonic()
        self.caution(event.cautions)
        columns = ("{task.percentage:>3.0f}%", "{task.fields[figures]}", "{task.fields[left]}")
        self._open("epoch 1", self.pace.steps, *columns, figures="", left="")

    def _step(self, event: events.Progress) -> None:
        pace = self.pace
        pace.take(event)
        if pace.is_known:
            self._estimate(pace.seconds_left)
        epoch = f"epoch {pace.epoch}/{self.start.epochs}"
        figures = f"loss {pace.loss:.3f}  acc {pace.accuracy:.3f}"
        figures += f"  {event.images_per_second:.0f} images/s"
        left = f"{units.estimate(pace.seconds_left)} left"
        if self.bar is not None:
            fields = {"figures": figures, "left": left if pace.is_known else ""}
            self.bar.update(self.task, completed=pace.step, description=epoch, **fields)
        elif self._is_time():
            self._say(f"{epoch}  step {pace.step}/{pace.steps}  {figures}  {left}")

    def _evaluation(self, event: events.Evaluation) -> None:
        text = (
            f"epoch {event.epoch}/{self.start.epochs}: loss {event.train['loss']:.4f}, "
            f"train acc {event.train['accuracy']:.4f}"
        )
        for split in ("validation", "test"):
            if split in event.figures:
                text += f", {split} acc {event.figures[split]['accuracy']:.4f}"
        self._say(text)
