"""Who listens to a training or a study: functions that are called with its events."""

from __future__ import annotations

from collections.abc import Callable

from netinnet.errors import NetinnetError
from netinnet.training.events import Data, Event, ReportFailed

Listener = Callable[[Event], None]


def data_progress(listener: Listener) -> Callable[[str, int, int | None], None]:
    """What `datasets.load` calls with its progress, as `data` events."""

    def on_progress(what: str, done: int, total: int | None) -> None:
        listener(Data(what, done, total))

    return on_progress


def attempt(
    write: Callable[[], object], listener: Listener, failed: Callable[[str], Event]
) -> None:
    """Write what is derived from a run; where that fails, `listener` gets `failed` with the reason.

    Nothing derived, a figure or another form of the model, must end hours of training.
    """
    try:
        write()
    except Exception as error:  # noqa: BLE001
        kind = "" if isinstance(error, NetinnetError) else f"{type(error).__name__}: "
        listener(failed(f"{kind}{error}"))


def write_report(write: Callable[[], object], listener: Listener) -> None:
    """Write a report; where that fails, `listener` gets a ReportFailed."""
    attempt(write, listener, ReportFailed)
