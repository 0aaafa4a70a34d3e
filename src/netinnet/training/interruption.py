"""Ctrl-C and SIGTERM end a training between two steps, not in the middle of one."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from netinnet.errors import NetinnetError


class Interrupted(NetinnetError):
    """The training was asked to stop, has saved, and can go on.

    `status` is the exit status a shell expects: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, message: str, number: signal.Signals) -> None:
        super().__init__(message)
        self.status = 128 + number


class StopRequest:
    """Remembers the signal that asked for a stop."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            # Asked twice: stop at once; the last checkpoint is on the disk.
            raise SystemExit(128 + number)
        self.signal = signal.Signals(number)
        os.write(2, b"\nstopping after this step; once more stops at once\n")


@contextlib.contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Catch SIGINT and SIGTERM while the block runs (only the main thread can)."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous: dict[signal.Signals, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, request)
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
