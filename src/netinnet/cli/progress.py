"""Progress of long work: bars on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from netinnet import units
from netinnet.cli.console import console

PLAIN_SECONDS = 15.0
"""Seconds between plain progress lines."""
ESTIMATE_SECONDS = 2.0
"""Seconds of steps from which the whole is estimated."""


@contextlib.contextmanager
def show_data_progress(screen: Any) -> Iterator[Callable[[str, int, int | None], None]]:
    """A listener for data that is being fetched: a bar on a terminal, a line for each new text."""
    with _DataProgress(screen) as listener:
        yield listener


class _DataProgress:
    def __init__(self, screen: Any) -> None:
        self.screen = screen
        self.bar: Any = None
        self.tasks: dict[str, Any] = {}

    def __enter__(self) -> _DataProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def __call__(self, what: str, done: int, total: int | None) -> None:
        if not self.screen.is_terminal or total is None:
            if what not in self.tasks:
                self.tasks[what] = None
                self.screen.print(what)
            return
        if self.bar is None:
            self.bar = _data_bar(self.screen)
            self.bar.start()
        if self.tasks.get(what) is None:
            self.tasks[what] = self.bar.add_task(what, total=total)
        self.bar.update(self.tasks[what], completed=done, total=total)


def _data_bar(screen: Any) -> Any:
    from rich import progress

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TimeRemainingColumn(),
        console=screen,
    )


class TrainingProgress:
    """Listens to a training's events and shows them."""

    def __init__(self, *, quiet: bool, stderr: bool) -> None:
        self.quiet = quiet
        self.screen = console(stderr=stderr)
        self.warnings = console(stderr=True)
        self.data = _DataProgress(self.screen)
        self.bar: Any = None
        self.task: Any = None
        self.start: dict[str, Any] = {}
        self.first_step: int | None = None
        self.began = 0.0
        self.estimated = False
        self.shown = 0.0
        self.loss = self.accuracy = 0.0

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.data.close()
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        handler = getattr(self, f"_on_{event['event']}", None)
        if handler is not None:
            handler(event)

    def _say(self, text: str) -> None:
        if self.quiet:
            return
        try:
            self.screen.print(text)
        except (BrokenPipeError, SystemExit):
            # Whoever read the output has gone (rich exits then); the training need not end.
            self.quiet = True

    def _on_data(self, event: dict[str, Any]) -> None:
        if not self.quiet:
            self.data(event["what"], event["done"], event["total"])

    def _on_resume(self, event: dict[str, Any]) -> None:
        self._say(f"going on from step {event['step']}")

    def _on_start(self, event: dict[str, Any]) -> None:
        self.data.close()
        self.start = event
        self._say(
            f"{event['network']} ({event['parameters']:,} parameters), {event['framework']} on "
            f"{event['device']}, {event['epochs']} epochs of {event['steps_per_epoch']:,} steps"
        )
        self._say(f"run: {event['run']}")
        self.shown = time.monotonic()
        for caution in event["cautions"]:
            self.warnings.print(f"caution: {caution}")
        if self.quiet or not self.screen.is_terminal:
            return
        from rich import progress

        self.bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TextColumn("{task.fields[figures]}"),
            progress.TimeRemainingColumn(),
            console=self.screen,
        )
        self.bar.start()
        self.task = self.bar.add_task(
            "epoch 1", total=event["steps_per_epoch"] * event["epochs"], figures=""
        )

    def _on_progress(self, event: dict[str, Any]) -> None:
        step = event["step"]
        if self.first_step is None:
            # A short first step is mostly the framework's warming up; a long one is a fair sample.
            warming_up = event["seconds_of_step"] < ESTIMATE_SECONDS
            self.first_step = step if warming_up else step - 1
            self.began = time.monotonic() - (0.0 if warming_up else event["seconds_of_step"])
            self.loss, self.accuracy = event["loss"], event["accuracy"]
        # A running mean over some fifty steps: single batches jump about.
        self.loss += (event["loss"] - self.loss) / 50
        self.accuracy += (event["accuracy"] - self.accuracy) / 50
        self._estimate(step)
        epoch = -(-step // self.start["steps_per_epoch"])
        figures = (
            f"loss {self.loss:.3f}  acc {self.accuracy:.3f}  "
            f"{event['images_per_second']:.0f} images/s"
        )
        if self.bar is not None:
            self.bar.update(
                self.task,
                completed=step,
                description=f"epoch {epoch}/{self.start['epochs']}",
                figures=figures,
            )
        elif time.monotonic() - self.shown >= PLAIN_SECONDS:
            self.shown = time.monotonic()
            total = self.start["steps_per_epoch"] * self.start["epochs"]
            self._say(
                f"epoch {epoch}/{self.start['epochs']}  step {step}/{total}  {figures}  "
                f"{units.estimate(self._seconds_left(step))} left"
            )

    def _seconds_left(self, step: int) -> float:
        assert self.first_step is not None
        total = self.start["steps_per_epoch"] * self.start["epochs"]
        done = max(1, step - self.first_step)
        return float((time.monotonic() - self.began) / done * (total - step))

    def _estimate(self, step: int) -> None:
        """Say once, after two seconds of steps, what the whole will cost."""
        if not self.estimated and time.monotonic() - self.began >= ESTIMATE_SECONDS:
            self.estimated = True
            self._say(f"this will take about {units.estimate(self._seconds_left(step))} here")

    def _on_evaluation(self, event: dict[str, Any]) -> None:
        text = (
            f"epoch {event['epoch']}/{self.start['epochs']}: loss {event['train']['loss']:.4f}, "
            f"train acc {event['train']['accuracy']:.4f}"
        )
        for split in ("validation", "test"):
            if split in event:
                text += f", {split} acc {event[split]['accuracy']:.4f}"
        self._say(text)

    def _on_onnx_failed(self, event: dict[str, Any]) -> None:
        self.warnings.print(f"warning: model.onnx could not be written: {event['reason']}")

    def _on_checkpoints_kept(self, event: dict[str, Any]) -> None:
        self.warnings.print(f"warning: the checkpoints could not be removed: {event['reason']}")

    def _on_report_failed(self, event: dict[str, Any]) -> None:
        self.warnings.print(f"warning: the report could not be written: {event['reason']}")

    def _on_dead_class(self, event: dict[str, Any]) -> None:
        self.warnings.print(
            f"warning: class '{event['class']}' is dead: its logit was zero for the whole of epoch "
            f"{event['epoch']}, and it cannot learn again; --no-logits-relu is the cure "
            f"(logits_relu = false in a recipe)"
        )
