"""Nothing is lost: kills, power cuts, full disks and signals at single file operations.

Every test here trains, is disturbed at one operation, goes on, and compares the SHA-256 of the
model with that of an undisturbed run. The short ones take a sample of the operations that has every
kind; `make crash-test` takes each (docs/reliability.md).
"""

from __future__ import annotations

import hashlib
import re
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.crash import disk, training
from tests.crash.disk import Cut, Disk, Operation
from tests.crash.harness import COMPILER, Crashes, Ended, Mode, compiled

pytestmark = [
    needs("pytorch"),
    pytest.mark.skipif(COMPILER is None, reason="no C compiler for tests/crash/shim.c"),
]
SAMPLE = 29
"""Every so many operations, and the first of each kind, are disturbed in the short tests."""


@dataclass
class Ground:
    """An undisturbed run: what it wrote, in order, and the digest of its model."""

    crashes: Crashes
    folder: Path
    flags: list[str]
    operations: list[Operation]
    digest: str

    @property
    def start(self) -> list[str]:
        return ["train", *self.flags, "--output", "run"]

    def fresh(self) -> Path:
        """The folder in which everything happens, empty."""
        root = self.folder / "root"
        shutil.rmtree(root, ignore_errors=True)
        shutil.rmtree(self.folder / "root.gone", ignore_errors=True)
        root.mkdir()
        return root

    def disturbed(self, at: int, mode: Mode, number: int = 0) -> Ended:
        return self.crashes.run(self.start, self.fresh(), at, mode, number=number)

    def check_goes_on(self, *, at_least: int = 0) -> None:
        """Start again or resume, from a checkpoint of step `at_least` or later: all is as ever."""
        root = self.folder / "root"
        run = root / "run"
        is_run = (run / "recipe.toml").exists()
        assert is_run or not at_least, "a run with a checkpoint was lost"
        ended = self.crashes.run(["train", "--resume", "run"] if is_run else self.start, root)
        # One that was killed in its last moment has nothing left to do.
        assert ended.status == 0 or "the run is finished" in ended.said, ended.said
        if at_least and "going on from step" in ended.said:
            said = ended.said.partition("going on from step ")[2].split()[0]
            assert int(said) >= at_least
        assert digest(run / "model.safetensors") == self.digest
        names = {path.name for path in run.iterdir()}
        assert {"metrics.json", "model.onnx", "report.html"} <= names
        assert not list(root.rglob("*.tmp"))
        assert not list((run / "checkpoints").iterdir())

    def sample(self, every: int) -> list[int]:
        """The numbers of some operations: each `every`-th, and the first of each kind and file."""
        firsts: dict[tuple[str, str], int] = {}
        for n, operation in enumerate(self.operations, 1):
            firsts.setdefault((operation.kind, ""), n)
        return sorted({*firsts.values(), *range(1, len(self.operations) + 1, every)})


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("crashes").resolve()
    flags = training.make(folder)
    with Crashes(compiled(folder)) as crashes:
        ground = Ground(crashes, folder, flags, [], "")
        ended = crashes.run(ground.start, ground.fresh(), log=folder / "log")
        assert ended.status == 0, ended.said
        ground.operations = list(disk.read(folder / "log"))
        ground.digest = digest(folder / "root/run/model.safetensors")
        yield ground


def check_kills(ground: Ground, every: int) -> None:
    for n in ground.sample(every):
        assert ground.disturbed(n, Mode.KILL).status == -signal.SIGKILL, n
        ground.check_goes_on()


def check_torn_writes(ground: Ground, every: int) -> None:
    writes = [n for n, o in enumerate(ground.operations, 1) if o.kind == "write"]
    for n in writes[::every]:
        assert ground.disturbed(n, Mode.TORN).status == -signal.SIGKILL, n
        ground.check_goes_on()


def check_power_cuts(ground: Ground, every: int) -> None:
    """A cut behind each operation: what was promised to be on the disk is enough."""
    machine, chosen = Disk(ground.folder / "root"), set(ground.sample(every))
    promised = 0
    for n, operation in enumerate(ground.operations, 1):
        machine.do(operation)
        if operation.kind == "fsync" and operation.path.endswith("checkpoints"):
            saved = [Path(name).stem for name in machine.names if "/step-" in name]
            promised = max(int(name.removeprefix("step-")) for name in saved)
        if n not in chosen:
            continue
        seen = set()
        for cut in Cut:
            left = machine.left(cut)
            if repr(sorted(left.items())) in seen:
                continue  # nothing was waiting to be synced
            seen.add(repr(sorted(left.items())))
            machine.after(cut, ground.fresh())
            ground.check_goes_on(at_least=promised)


def check_full_disk(ground: Ground, every: int) -> None:
    """One line with the path and the bytes, exit 2; with space again all goes on."""
    for n in ground.sample(every):
        ended = ground.disturbed(n, Mode.FULL)
        assert "Traceback" not in ended.said
        if (ground.folder / "root/run/metrics.json").exists():
            # What is derived from a finished run may be missing: that is a warning.
            assert ended.status == 0, ended.said
        else:
            assert ended.status == 2, (n, ended.said)
            line = ended.said.splitlines()[-1]
            assert line.startswith("nin: run"), line
            assert "cannot be written (No space left on device" in line
            assert "free some space" in line
            if any(name in line for name in (".safetensors:", ".json:", ".toml:", ".jsonl:")):
                assert re.search(r"it needs [\d,]+ bytes, [\d,]+ are free", line), line
        ground.check_goes_on()


def check_signals(ground: Ground, every: int, numbers: list[signal.Signals]) -> None:
    """In each phase: saved, exit 128+n, and the command that is said goes on."""
    for i, n in enumerate(ground.sample(every)):
        number = numbers[i % len(numbers)]
        ended = ground.disturbed(n, Mode.SIGNAL, number)
        # A signal behind the last moment in which there is something left to stop.
        assert ended.status == 128 + number or n > len(ground.operations) - 5, (n, ended)
        assert "Traceback" not in ended.said
        ground.check_goes_on()


def test_killed_at_file_operations(ground: Ground) -> None:
    check_kills(ground, SAMPLE)
    check_torn_writes(ground, 13)


def test_power_cuts(ground: Ground) -> None:
    check_power_cuts(ground, 41)


def test_full_disk(ground: Ground) -> None:
    check_full_disk(ground, SAMPLE)


def test_signals(ground: Ground) -> None:
    check_signals(ground, SAMPLE, [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])


@pytest.mark.slow
def test_killed_at_each_file_operation(ground: Ground) -> None:
    check_kills(ground, 1)
    check_torn_writes(ground, 1)


@pytest.mark.slow
def test_a_power_cut_behind_each_file_operation(ground: Ground) -> None:
    check_power_cuts(ground, 1)


@pytest.mark.slow
def test_a_full_disk_from_each_file_operation_on(ground: Ground) -> None:
    check_full_disk(ground, 1)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_each_file_operation(ground: Ground, number: signal.Signals) -> None:
    check_signals(ground, 1, [number])
