"""Runs the command in forks of one process that has imported everything, under `shim.c`."""

from __future__ import annotations

import contextlib
import ctypes
import enum
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

SOURCE = Path(__file__).with_name("shim.c")
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


class Mode(enum.IntEnum):
    """What happens at the operation; the numbers are those of `shim.c`."""

    NONE = 0
    KILL = 1
    TORN = 2
    """Half of a write is done, then the process is killed."""
    FULL = 3
    """From this operation on the disk is full."""
    READ_ONLY = 4
    GONE = 5
    """The folder is renamed to another name."""
    SIGNAL = 6
    """The process gets a signal, and goes on."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status, below 0 where a signal killed it, and what it said."""

    status: int
    said: str


def compiled(folder: Path) -> Path:
    """The shim as a shared library in a folder."""
    assert COMPILER is not None
    library = folder / "shim.so"
    flags = ("-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC")
    subprocess.run([COMPILER, *flags, "-o", library, SOURCE], check=True, timeout=60)
    return library


class Crashes:
    """A process that has imported netinnet and PyTorch, and forks for every command."""

    def __init__(self, library: Path) -> None:
        environment = {**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"}
        environment.pop("CRASH_ROOT", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.harness"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=Path(__file__).parent.parent.parent,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def run(
        self,
        arguments: Sequence[str | Path],
        root: Path,
        at: int = 0,
        mode: Mode = Mode.NONE,
        log: Path | None = None,
        number: int = 0,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Ended:
        """`nin ARGUMENTS`, with `mode` at the operation `at` below the folder `root`."""
        request = {
            "arguments": [str(argument) for argument in arguments],
            "arm": [str(root), at, int(mode), str(log or ""), number],
            "cwd": str(cwd or root),
            "environment": dict(environment or {}),
        }
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        return Ended(**json.loads(self.process.stdout.readline()))


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Fork for each request, and say how the child ended."""
    library = ctypes.CDLL(None)
    kinds = (ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_int)
    library.crash_arm.argtypes = kinds
    for line in requests:
        request = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            os._exit(_child(request, library))
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read().decode(errors="replace")
        _, status = os.waitpid(child, 0)
        answer = {"status": os.waitstatus_to_exitcode(status), "said": said}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _child(request: dict[str, Any], library: ctypes.CDLL) -> int:
    from netinnet.cli import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    os.environ.update(request["environment"])
    folder, at, mode, log, number = request["arm"]
    library.crash_arm(folder.encode(), at, mode, log.encode(), number)
    status = main.run(request["arguments"])
    with contextlib.suppress(BrokenPipeError, AttributeError):
        sys.stdout.flush()
    return status


def _import_everything() -> None:
    sys.modules["matplotlib"] = None  # type: ignore[assignment]  # figures take most of the time
    import PIL.Image
    import safetensors.numpy  # noqa: F401
    import torch

    import netinnet.cli.progress
    import netinnet.frameworks.pytorch
    import netinnet.inference.predictor
    import netinnet.reports.html
    import netinnet.studies.worker  # noqa: F401
    from netinnet.cli import main
    from netinnet.reports import template

    torch.set_num_threads(1)
    PIL.Image.init()
    template._environment().get_template("run.html")
    with contextlib.redirect_stderr(io.StringIO()):
        main.run(["train", "--resume", "/no run"])  # what parses the command
    assert threading.active_count() == 1, "a fork would lose threads"


if __name__ == "__main__":
    _import_everything()
    _serve(sys.stdin.buffer, sys.stdout.buffer)
