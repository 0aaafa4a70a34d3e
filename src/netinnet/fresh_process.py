"""Asking a module in a process of its own: a framework starts anew, and ends with its answer."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from netinnet.errors import FrameworkError


def ask(module: str, request: Any, environment: dict[str, str] | None = None) -> Any:
    """What `python -m MODULE` answers: the last line of its output, as JSON.

    The request is its standard input, as JSON. Raises FrameworkError with one line where it fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", module],
        input=json.dumps(request),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        env=environment,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        reason = said[-1] if said else f"it ended with status {done.returncode}"
        if done.returncode < 0:
            reason = f"killed by signal {-done.returncode}; a smaller batch needs less memory"
        raise FrameworkError(reason)
    return json.loads(done.stdout.splitlines()[-1])
