"""One run of a study in a process of its own: `python -m netinnet.studies.worker FOLDER [DATA]`.

The folder holds a run that has been created, and perhaps trained in part. What the study is told
goes to standard output as lines of JSON. When the parent dies, standard input ends, and the run
saves and stops.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from netinnet.data.source import Source
from netinnet.errors import Diverged, NetinnetError
from netinnet.studies import outcome
from netinnet.studies.events import Evaluated, Share
from netinnet.training import run as runs
from netinnet.training import start
from netinnet.training.events import Evaluation, Event, Progress, Start
from netinnet.training.interruption import StopRequest
from netinnet.training.parts import load_data
from netinnet.training.run import Run

PROGRESS_SECONDS = 0.5
"""Least time between two progress events on standard output."""
PATIENCE_SECONDS = 60.0
"""How long a worker whose parent was killed may take to save and leave the folder."""


class _Relay:
    """Passes evaluations on to the parent, and now and then the `share` of the steps done."""

    def __init__(self) -> None:
        self.emitted = 0.0
        self.steps = 0

    def __call__(self, event: Event) -> None:
        is_due = time.monotonic() - self.emitted >= PROGRESS_SECONDS
        if isinstance(event, Start):
            self.steps = event.steps_per_epoch * event.epochs
        elif isinstance(event, Progress) and is_due:
            self.emitted = time.monotonic()
            self._emit(Share(event.step / self.steps))
        elif isinstance(event, Evaluation):
            self._emit(Evaluated())

    def _emit(self, event: Event) -> None:
        # The parent may be gone; standard input says so too, and ends this process properly.
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(event.to_dict()), flush=True)


def _report(folder: Path, pictures: Source, train: Source) -> None:
    """The run's page, once: when it is finished."""
    from netinnet.reports import html

    if Run(folder).is_finished:
        html.write(folder, pictures, train)


def _stop_with_parent() -> None:
    # Not sys.stdin.read(): a thread that holds its lock would keep the process from ending.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _wait_for_folder(run: Run) -> None:
    """Wait for a worker of a parent that was killed just now: it saves and leaves."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with run.claimed():
                return
        except NetinnetError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def work(folder: Path, data_dir: Path | None) -> None:
    """Train the run to its end and judge it; a training that diverges is a result too."""
    run = runs.open_run(folder)
    _wait_for_folder(run)
    relay = _Relay()
    data = load_data(run.recipe(), data_dir, relay, run.dataset())
    if not run.is_finished:
        try:
            start.resume(folder, dataset=data, listener=relay, report=_report)
        except Diverged as error:
            outcome.write(run, {"state": "diverged", "reason": str(error)})
            return
    outcome.judge(run, data)


def main() -> None:
    StopRequest.second_stops_at_once = False
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    folder, *rest = map(Path, sys.argv[1:])
    try:
        work(folder, rest[0] if rest else None)
    except NetinnetError as error:
        print(error, file=sys.stderr)
        sys.exit(getattr(error, "status", 2))


if __name__ == "__main__":
    main()
