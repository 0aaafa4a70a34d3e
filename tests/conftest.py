"""Shared by the tests: running the command, the real data set, a small run."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import hypothesis
import pytest

from netinnet import frameworks
from netinnet.cli import main
from netinnet.data import datasets
from netinnet.errors import DataError
from netinnet.frameworks import FRAMEWORKS
from netinnet.studies import workers
from netinnet.warm_process import Server
from tests.offline.sitecustomize import ALLOWED

ROOT = Path(__file__).parent.parent
HAS_COMPILER = sys.platform.startswith("linux") and shutil.which("cc") is not None
HAS_AVX2_COMPILER = HAS_COMPILER and (
    {"avx2", "fma"} <= {*Path("/proc/cpuinfo").read_text("utf-8").split()}
)
"""Whether what needs vectors can be compiled and run."""
FRAMEWORK = next((name for name, found in FRAMEWORKS.items() if found.is_installed), "pytorch")
"""What tests train with that are about training, not about a framework: the first there is."""
# Several tests run at a time: how long one example takes says nothing.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")
# The same sums in every process, on any number of cores. One thread: several tests run at a time,
# and OpenMP's threads wait for each other at every small step, which takes ten times as long then.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"
# What JAX compiles is kept: many tests start processes that train the same. A third of the time.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache/jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
# And compiled quickly, not well: compiling takes more time here than computing.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
# The processes that tests start connect nowhere either.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT / "tests/offline"), *filter(None, [os.environ.get("PYTHONPATH")])]
)
SMALL = ["--train-examples", "256", "--test-examples", "100", "--batch-size", "32", "--epochs", "2"]
"""Flags that shorten a training to seconds."""
QUICK = [*SMALL, "--framework", FRAMEWORK]
"""Flags of a training that works in every environment, in seconds."""

if not FRAMEWORKS[FRAMEWORK].is_installed:
    # The lowest versions of the other libraries are tested without one (`make test-lowest`).
    frameworks.adapter = lambda _name: pytest.skip("no training framework is installed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """How far a test, and the fixtures that are made for it, may connect: tests/offline."""
    mark = item.get_closest_marker("connects")
    with connecting(mark.args[0] if mark else "nowhere"):
        return (yield)


@contextlib.contextmanager
def connecting(limit: str) -> Iterator[None]:
    """Connections "nowhere", "here" (this machine) or "anywhere"."""
    before = os.environ.get(ALLOWED)
    os.environ[ALLOWED] = limit
    try:
        yield
    finally:
        if before is None:
            del os.environ[ALLOWED]
        else:
            os.environ[ALLOWED] = before


def needs(name: str) -> pytest.MarkDecorator:
    """Skip a test where a framework is not installed; each runs in one of the environments."""
    found = FRAMEWORKS[name]
    return pytest.mark.skipif(not found.is_installed, reason=f"{found.title} is not installed")


def some_slow(names: Iterable[str], *slow: str) -> list[Any]:
    """Parameters of a test, some of which are for `make test-slow`."""
    return [pytest.param(name, marks=pytest.mark.slow if name in slow else ()) for name in names]


def nin(
    *arguments: str | Path, fresh: bool = False, in_this_process: bool = False, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run the command and return its exit status and what it printed.

    It runs in this process, which has imported the frameworks already. `fresh` runs it in a process
    of its own, as a user does, and so do options of subprocess.run other than `cwd` (`env`) and
    a number of threads that this process can't change to, unless it is told to stay
    `in_this_process` (of a study, only other processes train).
    """
    words = [str(argument) for argument in arguments]
    folder = options.pop("cwd", None)
    if fresh or options or (_needs_other_threads(words) and not in_this_process):
        return subprocess.run(
            [sys.executable, "-m", "netinnet.cli.main", *words],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            **options,
        )
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder or "."),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        status = main.run(words)
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())


def _needs_other_threads(words: list[str]) -> bool:
    """OMP_NUM_THREADS gives PyTorch and MXNet one; the others fix theirs when they start."""
    threads = words[words.index("--threads") + 1] if "--threads" in words else None
    return threads is not None and (threads != "1" or not {"tensorflow", "jax"}.isdisjoint(words))


class _Lent(Server):
    """A server that is not a study's own: the study does not end it."""

    def __init__(self, server: Server) -> None:
        self._control, self._process = server._control, server._process

    def close(self) -> None:
        pass


@pytest.fixture(scope="session", autouse=True)
def _one_start_up() -> Iterator[None]:
    """Studies that tests run in this process fork their runs from one server, not each from its own
    (runs with one thread; what is tested of start-ups themselves is in test_warm_process)."""
    made: list[Server] = []

    def lend(modules: Sequence[str], environment: Mapping[str, str], log: IO[Any]) -> Server:
        if environment["OMP_NUM_THREADS"] != "1":
            return Server(modules, environment, log)
        if not made or not made[-1].is_alive:
            made.append(Server(modules, environment, subprocess.DEVNULL))
        return _Lent(made[-1])

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(workers, "Server", lend)
        yield
    for server in made:
        server.close()


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra `figures` is not installed."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.fixture(scope="session")
def fashion_mnist() -> datasets.Dataset:
    """The real data set, fetched where it is missing; tests skip where it can't be had."""
    try:
        with connecting("anywhere"):
            return datasets.load("fashion-mnist")
    except DataError as error:
        pytest.skip(str(error))


def made_once(name: str, factory: pytest.TempPathFactory, make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills, once for all processes that test side by side.

    Tests read it; one that changes it takes a copy.
    """
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    complete = folder.with_name(f"{name}-is-complete")
    with folder.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            complete.touch()
    return folder


@pytest.fixture(scope="session")
def small_run(fashion_mnist: datasets.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the default recipe, shortened."""

    def make(folder: Path) -> None:
        done = nin("train", *QUICK, "--output", folder / "run", "--json")
        assert done.returncode == 0, done.stderr

    return made_once("small", tmp_path_factory, make) / "run"


@pytest.fixture
def threads() -> Iterator[None]:
    """A test may set PyTorch's threads."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
