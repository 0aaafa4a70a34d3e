"""In a notebook: the learning curve, drawn anew while the training goes on."""

from __future__ import annotations

import sys
import time
import warnings
from typing import Any

from netinnet.errors import NetinnetError
from netinnet.reports import figures
from netinnet.training.events import End, Evaluation, Event, Progress
from netinnet.training.listening import Listener

SECONDS = 5.0
"""At most one drawing in so many seconds: drawing must not slow the training."""


def listener() -> Listener:
    """A live curve inside a notebook, silence elsewhere; a warning where matplotlib is missing."""
    if _in_notebook():
        if figures.are_available():
            return NotebookCurve()
        hint = (
            f"the learning curve is not drawn: matplotlib is missing; {figures.ADD_FIGURES} adds it"
        )
        warnings.warn(hint, stacklevel=2)
    return lambda event: None


def asked_for(live: bool, other: Listener | None) -> Listener:
    """What `netinnet.train` calls with its events: the live curve, the `other` listener, or both.

    Raises NetinnetError where a live curve is wanted and this is no notebook.
    """
    if live and not _in_notebook():
        raise NetinnetError(
            "live=True draws in a Jupyter notebook, which this is not; leave it out"
        )
    if live:
        figures.require()
    curve = NotebookCurve() if live else None

    def emit(event: Event) -> None:
        for listener in (curve, other):
            if listener is not None:
                listener(event)

    return emit


def _in_notebook() -> bool:
    """Whether an IPython kernel with a display runs this (and not a terminal)."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


def show(picture: bytes) -> bool:
    """Show an SVG picture where this is a notebook; whether it is one."""
    if _in_notebook():
        from IPython.display import SVG, display

        display(SVG(data=picture.decode()))
    return _in_notebook()


class NotebookCurve:
    """Shows the learning curves of the events so far in one display that is replaced."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.drawn = 0.0
        self.handle: Any = None

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Progress | Evaluation | End):
            return
        if not isinstance(event, Progress) or event.step % 10 == 0:
            self.events.append(event)
        now = time.monotonic()
        if not isinstance(event, Progress) or now - self.drawn >= SECONDS:
            self.drawn = now
            self.draw()

    def draw(self) -> None:
        from IPython.display import SVG, display

        picture = SVG(data=figures.learning_curves(self.events).decode())
        if self.handle is None:
            self.handle = display(picture, display_id=True)
        else:
            self.handle.update(picture)
