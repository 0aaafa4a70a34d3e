"""Shared by the tests: running the command, the real data set, a small run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from netinnet.data import datasets
from netinnet.errors import DataError
from netinnet.frameworks import FRAMEWORKS

ROOT = Path(__file__).parent.parent
FRAMEWORK = next((name for name, found in FRAMEWORKS.items() if found.is_installed), "pytorch")
"""What tests train with that are about training, not about a framework: the first there is."""
# The same sums in every process, on any number of cores. One thread: several tests run at a time,
# and OpenMP's threads wait for each other at every small step, which takes ten times as long then.
os.environ["OMP_NUM_THREADS"] = "1"
SMALL = ["--train-examples", "512", "--test-examples", "200", "--batch-size", "64", "--epochs", "2"]
"""Flags that shorten a training to seconds."""
QUICK = [*SMALL, "--framework", FRAMEWORK]
"""Flags of a training that works in every environment, in seconds."""


def needs(name: str) -> pytest.MarkDecorator:
    """Skip a test where a framework is not installed; each runs in one of the environments."""
    found = FRAMEWORKS[name]
    return pytest.mark.skipif(not found.is_installed, reason=f"{found.title} is not installed")


def nin(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "netinnet.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        **options,  # type: ignore[arg-type]
    )


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra `figures` is not installed."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.fixture(scope="session")
def fashion_mnist() -> datasets.Dataset:
    """The real data set, fetched where it is missing; tests skip where it can't be had."""
    try:
        return datasets.load("fashion-mnist")
    except DataError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def small_run(fashion_mnist: datasets.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the default recipe, shortened."""
    folder = tmp_path_factory.mktemp("small") / "run"
    done = nin("train", *QUICK, "--output", folder, "--json")
    assert done.returncode == 0, done.stderr
    return folder
