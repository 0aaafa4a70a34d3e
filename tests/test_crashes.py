"""Nothing is lost: kills, power cuts, full disks and signals at single file operations.

Every test here trains, is disturbed at one operation, goes on, and compares the SHA-256 of the
model with that of an undisturbed run. The short ones take a sample of the operations that has every
kind; `make crash-test` takes each (docs/reliability.md).
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import re
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from netinnet import weights
from netinnet.inference import model_files
from netinnet.training.events import Progress, Rollback, of_kind
from netinnet.training.run import Run
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
        if at_least and "continuing from step" in ended.said:
            said = ended.said.partition("continuing from step ")[2].split()[0]
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
    with undisturbed(folder, training.make(folder)) as ground:
        yield ground


@contextlib.contextmanager
def undisturbed(folder: Path, flags: list[str]) -> Iterator[Ground]:
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


def check_folder_that_vanishes(ground: Ground, every: int) -> None:
    """Moved away in the middle: an error, and where it was put back all goes on."""
    run, gone = ground.folder / "root/run", ground.folder / "root/run.gone"
    begun = next(n for n, o in enumerate(ground.operations, 1) if o.path.endswith("events.jsonl"))
    for n in range(1, len(ground.operations) - begun - 10, every):
        ground.disturbed(begun + 1, Mode.KILL)
        command = ["train", "--resume", str(run)]
        ended = ground.crashes.run(command, run, n, Mode.GONE, cwd=run.parent)
        assert ended.status == 2, (n, ended.said)
        assert ended.said.splitlines()[-1].startswith(f"nin: {run}"), ended.said
        assert not (run / "metrics.json").exists()
        shutil.rmtree(run, ignore_errors=True)
        gone.rename(run)
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


@pytest.mark.slow
def test_killed_at_file_operations_of_a_training_that_rolls_back(tmp_path: Path) -> None:
    flags = training.make(tmp_path)
    (tmp_path / "net.toml").write_text(training.UNSTABLE)
    flags += ["--on-nan", "rollback", "--optimizer", "sgd", "--learning-rate", "3"]
    flags += ["--schedule", "one-cycle", "--warmup", "1", "--momentum", "0", "--no-nesterov"]
    flags += ["--weight-decay", "0", "--no-horizontal-flip"]
    flags[flags.index("--epochs") + 1] = "6"
    with undisturbed(tmp_path, flags) as ground:
        log = Run(ground.folder / "root/run").events()
        assert [event.back_to for event in of_kind(log, Rollback)] == [9, 9, 9]
        check_kills(ground, 5)


KILLS = 20


def test_twenty_kills_in_a_row(ground: Ground) -> None:
    """Killed again and again as it goes on: the same model, and a log that tells each step once."""
    dice = random.Random(0)  # noqa: S311
    start = [*ground.start]
    start[start.index("--epochs") + 1] = "20"
    root = ground.fresh()
    assert ground.crashes.run(start, root).status == 0
    whole = digest(root / "run/model.safetensors")
    root, arguments, kills = ground.fresh(), start, 0
    run = root / "run"
    while not (run / "metrics.json").exists():
        # A sitting needs a score of operations to begin.
        at = dice.randrange(1, 60) if kills < KILLS else 0
        ended = ground.crashes.run(arguments, root, at, Mode.KILL if at else Mode.NONE)
        kills += ended.status == -signal.SIGKILL
        if (run / "recipe.toml").exists():
            arguments = ["train", "--resume", "run"]
    assert kills == KILLS
    assert digest(run / "model.safetensors") == whole
    assert not list(root.rglob("*.tmp"))
    steps = [event.step for event in of_kind(Run(run).events(), Progress)]
    assert steps == list(range(1, 61))


def test_power_cuts(ground: Ground) -> None:
    check_power_cuts(ground, 41)


def test_full_disk(ground: Ground) -> None:
    check_full_disk(ground, SAMPLE)


def test_a_folder_that_vanishes(ground: Ground) -> None:
    check_folder_that_vanishes(ground, SAMPLE)


def test_signals(ground: Ground) -> None:
    check_signals(ground, SAMPLE, [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])


def made_of(crashes: Crashes, command: list[str], folder: Path, log: Path, **options: Any) -> int:
    """The number of operations below a folder that a command does there."""
    ended = crashes.run(command, folder, log=log, **options)
    assert ended.status == 0, ended.said
    return len(list(disk.read(log)))


@pytest.mark.parametrize("mode", [Mode.KILL, Mode.FULL])
def test_an_export(ground: Ground, tmp_path: Path, mode: Mode) -> None:
    """A file is the old one or the new one, and the same command writes it."""
    model, root = tmp_path / "model.safetensors", tmp_path / "exports"
    weights.save(model, weights.load(model_files.shipped()))
    root.mkdir()
    command = ["convert", str(model), "new/net.onnx"]
    count = made_of(ground.crashes, command, root, tmp_path / "log")
    whole = digest(root / "new/net.onnx")
    for n in range(1, count + 1):
        shutil.rmtree(root / "new")
        ended = ground.crashes.run(command, root, n, mode)
        if (file := root / "new/net.onnx").exists():
            assert digest(file) == whole
        if mode is Mode.FULL:
            assert ended.status == 2 or file.exists(), ended.said
            assert not list(root.rglob("*.tmp"))
        if not file.exists():
            assert ground.crashes.run(command, root).status == 0
        assert digest(file) == whole


def photos(folder: Path) -> None:
    for split, count in (("train", 6), ("test", 2)):
        pictures, labels = training.arrays(2 * count, count)
        for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            file = folder / split / "ab"[label] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture[..., 0]).save(file)


def check_picture_store(ground: Ground, tmp_path: Path, mode: Mode, every: int) -> None:
    """What is kept of a folder of pictures is whole or made anew."""
    photos(tmp_path / "photos")
    cache = tmp_path / "cache"
    flags = [*ground.flags]
    flags[flags.index("--dataset") + 1] = str(tmp_path / "photos")
    options: Any = {"cwd": tmp_path, "environment": {"NETINNET_CACHE": str(cache)}}

    def command(run: str) -> list[str]:
        return ["train", *flags, "--output", str(tmp_path / run), "--quiet"]

    cache.mkdir()
    count = made_of(ground.crashes, command("whole"), cache, tmp_path / "log", **options)
    assert count > 10
    whole = digest(tmp_path / "whole/model.safetensors")
    for n in range(1, count + 1, every):
        shutil.rmtree(cache)
        cache.mkdir()
        ended = ground.crashes.run(command(f"killed-{n}"), cache, n, mode, **options)
        if ended.status == 0:  # all that needs space was written
            assert mode is Mode.FULL
            assert digest(tmp_path / f"killed-{n}/model.safetensors") == whole
        else:
            assert ended.status in (-signal.SIGKILL, 2), ended.said
            assert not (tmp_path / f"killed-{n}").exists()
        ended = ground.crashes.run(command(f"run-{n}"), cache, **options)
        assert ended.status == 0, ended.said
        assert digest(tmp_path / f"run-{n}/model.safetensors") == whole


@pytest.mark.parametrize("mode", [Mode.KILL, Mode.FULL])
def test_a_picture_store(ground: Ground, tmp_path: Path, mode: Mode) -> None:
    check_picture_store(ground, tmp_path, mode, 13)


def check_study(ground: Ground, tmp_path: Path, command: list[str], every: int) -> int:
    """Killed at operations of the study's own process, its workers left alone; then gone on with.

    Returns how often it was killed.
    """
    whole, log = tmp_path / "whole", tmp_path / "log"
    whole.mkdir()
    count = made_of(ground.crashes, [*command, "--output", "study"], whole, log)
    models = "runs/*/seed-*/model.safetensors"
    digests = {file.relative_to(whole): digest(file) for file in whole.rglob(models)}
    kills = range(1, count + 1, every)
    for n in kills:
        root = tmp_path / f"killed-{n}"
        root.mkdir()
        start = [*command, "--output", "study"]
        ended = ground.crashes.run(start, root, n, Mode.KILL)
        assert ended.status in (-signal.SIGKILL, 0), (n, ended.said)
        if (root / "study/study.toml").exists():
            start = [command[0], "--resume", "study"]
        ended = ground.crashes.run(start, root)
        assert ended.status == 0, (n, ended.said)
        found = {file.relative_to(root): digest(file) for file in root.rglob(models)}
        assert found.keys() == digests.keys(), n
        # A search's other trials have values that were drawn anew.
        for name in digests if command[0] == "reliability" else list(digests)[:0]:
            assert found[name] == digests[name], (n, name)
        assert not list(root.rglob("*.tmp"))
    return len(kills)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_study(ground: Ground, tmp_path: Path) -> None:
    command = ["reliability", *ground.flags, "--seeds", "2", "--workers", "2", "--quiet"]
    assert check_study(ground, tmp_path, command, 4) > 5


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_search(ground: Ground, tmp_path: Path) -> None:
    space = ["--search", "learning_rate=0.01..0.2:log", "--pruner", "none"]
    command = ["tune", *ground.flags, *space, "--trials", "2", "--workers", "1", "--quiet"]
    assert check_study(ground, tmp_path, command, 40) > 5


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_each_file_operation(ground: Ground) -> None:
    check_kills(ground, 1)
    check_torn_writes(ground, 1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_power_cut_behind_each_file_operation(ground: Ground) -> None:
    check_power_cuts(ground, 1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_full_disk_from_each_file_operation_on(ground: Ground) -> None:
    check_full_disk(ground, 1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_each_file_operation(ground: Ground, number: signal.Signals) -> None:
    check_signals(ground, 1, [number])
