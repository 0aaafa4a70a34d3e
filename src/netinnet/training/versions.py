"""The versions that decide a run's numbers, and what is said where they changed."""

from __future__ import annotations

import platform
from collections.abc import Mapping

import numpy as np

from netinnet import frameworks
from netinnet.frameworks.learner import OWN_FUNCTIONS
from netinnet.training.events import Start, of_kind
from netinnet.training.run import Run
from netinnet.version import VERSION


def of(framework: str, kernels: Mapping[str, str]) -> dict[str, str]:
    """Name and version of all that decides a run's numbers; `kernels` are the learner's."""
    package = frameworks.FRAMEWORKS[framework].packages[0]
    return {
        "netinnet": VERSION,
        "python": platform.python_version(),
        "numpy": np.__version__,
        package: frameworks.adapter(framework).version(),
        **kernels,
    }


def changed(run: Run, now: Mapping[str, str]) -> list[str]:
    """A line where some are others now than in the run's sitting before, else none."""
    starts = of_kind(run.events(), Start)
    # Runs of versions before there were kernels say nothing of them.
    before = dict.fromkeys(now, OWN_FUNCTIONS) | starts[-1].versions if starts else {}
    others = [
        f"{name} {before[name]} → {now[name]}"
        for name in now
        if name in before and before[name] != now[name]
    ]
    if not others:
        return []
    return [
        f"resumed under other versions ({', '.join(others)}): the last digits of losses and "
        f"weights may differ from those of an undisturbed run"
    ]
