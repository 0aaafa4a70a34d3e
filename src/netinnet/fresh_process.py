"""Asking a module in a process of its own: a framework starts anew, and ends with its answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from netinnet.errors import FrameworkError, NetinnetError


def ask(
    module: str,
    request: Any,
    environment: dict[str, str] | None = None,
    python: str | None = None,
) -> Any:
    """What `python -m MODULE` answers: the last line of its output, as JSON.

    The request is its standard input, as JSON; `python` is another environment's interpreter.
    Raises FrameworkError with one line where it fails.
    """
    done = subprocess.run(
        [python or sys.executable, "-m", module],
        input=json.dumps(request),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        env=environment,
    )
    check_ended(done)
    return json.loads(done.stdout.splitlines()[-1])


def check_ended(done: subprocess.CompletedProcess[str]) -> None:
    """Raise FrameworkError with a process's last line on standard error where it failed."""
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        reason = lines[-1] if lines else f"it ended with status {done.returncode}"
        if done.returncode < 0:
            reason = f"killed by signal {-done.returncode}; a smaller batch needs less memory"
        raise FrameworkError(reason.removeprefix("nin: "))


def answer(function: Callable[[Any], Any]) -> None:
    """The other side of `ask`: print the function's answer to the request, or fail in one line."""
    try:
        print(json.dumps(function(json.load(sys.stdin))))
    except NetinnetError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except Exception as error:  # noqa: BLE001 - frameworks' own have footers behind them
        reason = str(error).strip().partition("\n")[0]
        print(f"{type(error).__name__}: {reason}".rstrip(": "), file=sys.stderr)
        sys.exit(1)


def environment(threads: int) -> dict[str, str]:
    """The environment of a process that computes with so many threads.

    Libraries that count threads for themselves would take all cores for each run.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads))}


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS, Windows
