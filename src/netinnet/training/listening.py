"""Who listens to a training or a study: functions that are called with its events."""

from __future__ import annotations

from collections.abc import Callable

from netinnet.training.run import Event

Listener = Callable[[Event], None]


def data_progress(listener: Listener) -> Callable[[str, int, int | None], None]:
    """What `datasets.load` calls with its progress, as `data` events."""

    def on_progress(what: str, done: int, total: int | None) -> None:
        listener({"event": "data", "what": what, "done": done, "total": total})

    return on_progress


def write_report(write: Callable[[], object], listener: Listener) -> None:
    """Write a report. A figure that fails must not end hours of training."""
    try:
        write()
    except Exception as error:  # noqa: BLE001
        listener({"event": "report_failed", "reason": f"{type(error).__name__}: {error}"})
