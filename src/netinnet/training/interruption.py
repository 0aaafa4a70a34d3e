"""Ctrl-C, SIGTERM and a closed terminal end a training between two steps, and save."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, ClassVar

from netinnet.errors import NetinnetError
from netinnet.signals import SIGNALS


class Interrupted(NetinnetError):
    """The training was asked to stop, has saved, and can go on.

    `status` is the exit status a shell expects: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
    """

    def __init__(self, message: str, number: signal.Signals) -> None:
        super().__init__(message)
        self.status = 128 + number


class Abandoned(BaseException):
    """What was done can be done again, and a signal asks to stop: raised in its midst."""


class StopRequest:
    """Remembers the signal that asked for a stop."""

    second_stops_at_once: ClassVar[bool] = True
    """Not in a worker of a study: one stop may reach it from the system and from its parent, which
    also ends it at once when it has to."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._can_abandon = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            if not self.second_stops_at_once:
                return
            # Asked twice: stop at once; the last checkpoint is on the disk.
            raise SystemExit(128 + number)
        self.signal = signal.Signals(number)
        with contextlib.suppress(OSError):  # the terminal may be what has gone
            second = b"; a second signal stops at once" if self.second_stops_at_once else b""
            os.write(2, b"\nstopping after this step" + second + b"\n")
        if self._can_abandon:
            raise Abandoned

    @contextlib.contextmanager
    def abandoning(self) -> Iterator[None]:
        """A block that a signal ends at once, by Abandoned: it can be done again."""
        self._can_abandon = True
        try:
            if self.signal is not None:
                raise Abandoned
            yield
        finally:
            self._can_abandon = False


@contextlib.contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Catch `SIGNALS` while the block runs (only the main thread can).

    One that is ignored stays ignored, as SIGHUP is under nohup.
    """
    request = StopRequest()
    with handling(request):
        yield request


@contextlib.contextmanager
def handling(handler: Any) -> Iterator[None]:
    """Call `handler` for `SIGNALS` while the block runs, but for those that are ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous: dict[int, Any] = {}
    try:
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                previous[number] = signal.signal(number, handler)
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
