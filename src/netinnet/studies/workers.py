"""Worker processes: each trains one run (studies/worker.py) and tells how far it is."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import IO

from netinnet.errors import NetinnetError
from netinnet.files import writing
from netinnet.fresh_process import cores, environment
from netinnet.studies.events import TOLD, WorkerEnd
from netinnet.studies.plan import Job, Plan
from netinnet.training.events import Event, from_dict


def workers_for(plan: Plan, wanted: int | None) -> int:
    """Runs at a time: as many as wanted, or as the cores carry. Raises NetinnetError below 1."""
    if wanted is not None and wanted < 1:
        raise NetinnetError(f"--workers must be at least 1, got {wanted}")
    return wanted or max(1, cores() // max(arm.recipe.threads or 1 for arm in plan.arms))


class Workers:
    """Up to `count` runs at a time, each in a process of its own.

    Leaving the `with` block ends those that are left, at once; their checkpoints stay.
    """

    def __init__(self, count: int, logs: Path, data_dir: Path | None = None) -> None:
        self.count, self.logs, self.data_dir = count, logs, data_dir
        self.at_work: dict[Path, tuple[subprocess.Popen[str], Path]] = {}
        """Each run's process and log, by the run's folder."""
        self._events: queue.SimpleQueue[tuple[Job, Event]] = queue.SimpleQueue()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        for process, _ in self.at_work.values():
            process.kill()
            process.wait()

    @property
    def has_room(self) -> bool:
        return len(self.at_work) < self.count

    def start(self, job: Job) -> None:
        """Start a process for a run whose folder has been created."""
        log = self.logs / f"{job.folder.parent.name}-seed-{job.seed}.txt"
        command = [sys.executable, "-m", "netinnet.studies.worker", str(job.folder)]
        with _opened(log) as stderr:
            process = subprocess.Popen(
                command + ([] if self.data_dir is None else [str(self.data_dir)]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                encoding="utf-8",
                env=environment(job.recipe.threads or 1),
                # Ctrl-C in the terminal is for the parent, which stops its workers in order.
                start_new_session=True,
            )
        self.at_work[job.folder] = process, log
        threading.Thread(target=self._listen, args=(job, process), daemon=True).start()

    def _listen(self, job: Job, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                event = from_dict(json.loads(line), TOLD)
            except ValueError:
                continue  # a library that prints
            if event is not None:
                self._events.put((job, event))
        self._events.put((job, WorkerEnd(process.wait())))

    def poll(self, timeout: float) -> tuple[Job, Event] | None:
        """The next event of any run, None if there is none within `timeout` seconds.

        The last of each is WorkerEnd; then its place is free.
        """
        try:
            job, event = self._events.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(event, WorkerEnd):
            process, log = self.at_work.pop(job.folder)
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()
            event = replace(event, reason=_last_line(log))
        return job, event

    def stop(self, job: Job | None = None) -> None:
        """Ask one run, or all of them, to save and stop."""
        for folder, (process, _) in self.at_work.items():
            if job is None or folder == job.folder:
                process.terminate()


def _opened(log: Path) -> IO[str]:
    with writing(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)  # a link would be written through
        return log.open("w", encoding="utf-8")


def _last_line(log: Path) -> str:
    """The last line of a log, or "" for an empty one, which is removed."""
    lines = log.read_text("utf-8", errors="replace").split("\n")
    written = [line.strip() for line in lines if line.strip()]
    if not written:
        log.unlink(missing_ok=True)
    return written[-1] if written else ""
