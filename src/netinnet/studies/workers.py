"""Worker processes: each trains one run (studies/worker.py) and tells how far it is.

Where that is safe they are forks of a process that has imported all that a run needs
(warm_process.py): PyTorch on a processor, on Linux. TensorFlow, JAX and MXNet start threads when
they are imported, and so does a framework that looks for a GPU: there each is a fresh process.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from netinnet.errors import NetinnetError
from netinnet.files import writing
from netinnet.fresh_process import cores, environment
from netinnet.studies.events import TOLD, WorkerEnd
from netinnet.studies.plan import Job, Plan
from netinnet.training.events import Event, from_dict
from netinnet.training.recipe import Recipe
from netinnet.warm_process import IS_POSSIBLE, Process, Server

_WORKER = "netinnet.studies.worker"
_IMPORTED = (
    *(_WORKER, "netinnet.frameworks.pytorch", "netinnet.reports.html"),
    *("onnx", "matplotlib.figure", "matplotlib.backends.backend_svg"),
)
"""What takes time to import of all that a run needs. Not onnxruntime: it starts a thread."""
_GPUS = ("/dev/nvidiactl", "/dev/kfd")
"""Where Linux has NVIDIA's and AMD's GPUs, one of which a recipe whose device is "auto" takes."""


def workers_for(plan: Plan, wanted: int | None) -> int:
    """Runs at a time: as many as wanted, or as the cores carry. Raises NetinnetError below 1."""
    if wanted is not None and wanted < 1:
        raise NetinnetError(f"--workers must be at least 1, got {wanted}")
    return wanted or max(1, cores() // max(arm.recipe.threads or 1 for arm in plan.arms))


def can_be_forked(recipe: Recipe) -> bool:
    """Whether a run may be a fork of a process that has imported its framework."""
    takes_gpu = recipe.device == "auto" and any(map(os.path.exists, _GPUS))
    on_cpu = recipe.device in ("auto", "cpu") and not takes_gpu
    return IS_POSSIBLE and recipe.framework == "pytorch" and on_cpu


@dataclass(frozen=True)
class _AtWork:
    process: subprocess.Popen[str] | Process
    log: Path
    listener: threading.Thread


class Workers:
    """Up to `count` runs at a time, each in a process of its own.

    Leaving the `with` block ends those that are left, at once; their checkpoints stay.
    """

    def __init__(self, count: int, logs: Path, data_dir: Path | None = None) -> None:
        self.count, self.logs, self.data_dir = count, logs, data_dir
        self.at_work: dict[Path, _AtWork] = {}
        """By the run's folder."""
        self._servers: dict[int, Server] = {}
        """By the threads of their runs: libraries fix their number when they are imported."""
        self._events: queue.SimpleQueue[tuple[Job, Event]] = queue.SimpleQueue()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        for left in self.at_work.values():
            left.process.kill()
            left.listener.join()
            with left.process:
                pass  # closes its pipes
        for threads in [*self._servers]:
            self._close(threads)

    @property
    def has_room(self) -> bool:
        return len(self.at_work) < self.count

    def start(self, job: Job) -> None:
        """Start a process for a run whose folder has been created."""
        log = self.logs / f"{job.folder.parent.name}-seed-{job.seed}.txt"
        arguments = [str(job.folder), *([] if self.data_dir is None else [str(self.data_dir)])]
        threads = job.recipe.threads or 1
        with _opened(log) as stderr:
            process: subprocess.Popen[str] | Process
            if can_be_forked(job.recipe):
                server = self._server(threads)
                process = server.start(_WORKER, arguments, environment(threads), stderr)
            else:
                process = subprocess.Popen(
                    [sys.executable, "-m", _WORKER, *arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    text=True,
                    encoding="utf-8",
                    env=environment(threads),
                    # Ctrl-C in the terminal is for the parent, which stops its workers in order.
                    start_new_session=True,
                )
        listener = threading.Thread(target=self._listen, args=(job, process), daemon=True)
        self.at_work[job.folder] = _AtWork(process, log, listener)
        listener.start()

    def _server(self, threads: int) -> Server:
        """The server of runs with so many threads, a new one where it was killed."""
        if threads in self._servers and not self._servers[threads].is_alive:
            self._close(threads)
        if threads not in self._servers:
            with _opened(self._servers_log(threads)) as log:
                self._servers[threads] = Server(_IMPORTED, environment(threads), log)
        return self._servers[threads]

    def _close(self, threads: int) -> None:
        self._servers.pop(threads).close()
        _last_line(self._servers_log(threads))

    def _servers_log(self, threads: int) -> Path:
        return self.logs / f"start-up-threads-{threads}.txt"

    def _listen(self, job: Job, process: subprocess.Popen[str] | Process) -> None:
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
            ended = self.at_work.pop(job.folder)
            with ended.process:
                pass  # closes its pipes
            event = replace(event, reason=_last_line(ended.log))
        return job, event

    def stop(self, job: Job | None = None) -> None:
        """Ask one run, or all of them, to save and stop."""
        for folder, asked in self.at_work.items():
            if job is None or folder == job.folder:
                asked.process.terminate()


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
