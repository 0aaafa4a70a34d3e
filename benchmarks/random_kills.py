"""Kills trainings at random moments, over and over, and compares the models in the end.

    PYTHONPATH=. python benchmarks/random_kills.py [KILLS] [FRAMEWORK ...]

Every framework that is installed trains a tiny network in a process of its own, which gets SIGKILL
after a random time and is gone on with, until so many kills have hit. The model's SHA-256 must be
that of an undisturbed run, and its log tell each step once. Prints a line for each framework.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from netinnet.frameworks import FRAMEWORKS
from netinnet.training.events import Progress, of_kind
from netinnet.training.run import Run
from tests.crash import training

EPOCHS = 4
MOST_SECONDS = 600


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "netinnet", "train", *arguments, "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=quiet, env=environment)


def digest(run: Run) -> str:
    return hashlib.sha256(run.model_file.read_bytes()).hexdigest()


def disturb(framework: str, kills: int, folder: Path) -> str:
    """Train undisturbed, then killed so often in as many runs as that takes; what came of it."""
    flags = [*training.make(folder), "--framework", framework]
    flags[flags.index("--epochs") + 1] = str(EPOCHS)
    whole, dice = Run(folder / "whole"), random.Random(0)  # noqa: S311
    began = time.monotonic()
    assert start([*flags, "--output", str(whole.folder)]).wait() == 0
    undisturbed = time.monotonic() - began
    hits = runs = 0
    while hits < kills:
        runs += 1
        run = Run(folder / f"run-{runs}")
        arguments = [*flags, "--output", str(run.folder)]
        while not run.metrics_file.exists():
            process = start(arguments)
            if hits < kills:
                # Most of the time goes by with imports; the run's folder is what is to be hit.
                deadline = time.monotonic() + MOST_SECONDS
                before = len(run.events_file.read_bytes()) if run.events_file.exists() else 0
                while process.poll() is None and time.monotonic() < deadline:
                    size = run.events_file.stat().st_size if run.events_file.exists() else 0
                    if size > before or (hits % 5 == 0 and run.folder.exists()):
                        break
                    time.sleep(0.001)
                time.sleep(dice.uniform(0, 0.15))
                process.kill()
            hits += process.wait() == -signal.SIGKILL
            if run.recipe_file.exists():
                arguments = ["--resume", str(run.folder)]
        assert start(["--resume", str(run.folder)]).wait() in (0, 2)
        steps = [event.step for event in of_kind(run.events(), Progress)]
        assert steps == list(range(1, 3 * EPOCHS + 1)), f"{run.folder}: the log has steps {steps}"
        assert digest(run) == digest(whole), f"{run.folder}: another model after {hits} kills"
        assert not list(run.folder.rglob("*.tmp"))
    seconds = time.monotonic() - began
    return (
        f"{framework}: {hits} kills in {runs} runs, every model as undisturbed "
        f"({undisturbed:.1f} s), {seconds:.0f} s in all"
    )


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    names = sys.argv[2:] or [name for name, known in FRAMEWORKS.items() if known.is_installed]
    for i, name in enumerate(names):
        share = kills // len(names) + (i < kills % len(names))
        with tempfile.TemporaryDirectory() as folder:
            print(disturb(name, share, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
