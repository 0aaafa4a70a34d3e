"""Warnings that are passed over while pictures are decoded, in several threads at once."""

from __future__ import annotations

import threading
import warnings
from types import TracebackType


class Quiet:
    """`warnings.catch_warnings` for threads: there is one list of filters for all of them.

    The first thread that comes sets the filters, the last one that goes restores them. With a
    `catch_warnings` for each, a thread would restore what another one had set, for good.

    Args:
        errors: A category that is an error in the meantime; all others are passed over.
    """

    def __init__(self, errors: type[Warning]) -> None:
        self.errors = errors
        self._lock, self._inside = threading.Lock(), 0
        self._caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", self.errors)
            self._inside += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._caught.__exit__(kind, error, traceback)
