"""A batch in shards: the same bytes by any number of threads and processes, after kills too."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netinnet import frameworks, weights
from netinnet.data.source import first
from netinnet.errors import FrameworkError, NetinnetError
from netinnet.frameworks import processes, pytorch, pytorch_shards
from netinnet.frameworks.learner import Learner, LearnerSettings
from netinnet.frameworks.processes import Processes
from netinnet.frameworks.pytorch_learner import PyTorchLearner
from netinnet.networks import Network, Shape, resolve
from netinnet.networks.blocks import Block
from netinnet.networks.layers import Conv, Flatten, GlobalAvgPool
from netinnet.optimizer import Optimizer
from netinnet.training import follow, recipe, start
from netinnet.training.events import Start, of_kind
from netinnet.training.run import open_run
from netinnet.training.team import in_parts
from tests.conftest import needs, nin

pytestmark = needs("pytorch")

FLAGS = [
    "--train-examples",
    "134",
    "--test-examples",
    "30",
    "--batch-size",
    "64",
    "--epochs",
    "2",
    "--dropout",
    "0.3",
    "--width",
    "0.25",
    "--checkpoint-seconds",
    "0",
    "--quiet",
]
"""The last batch has fewer pictures than there are shards."""


SOURCE = Shape(1, 28, 28)
"""Of the pictures in a batch."""


def learner(net: Network, **settings: object) -> Learner:
    given = LearnerSettings(net, Optimizer("muon", 0.9), SOURCE, "cpu", **settings)  # type: ignore[arg-type]
    return frameworks.adapter("pytorch").learner(given, weights.initial(net, 0))


@pytest.fixture
def own_threads() -> Iterator[None]:
    """PyTorch may take the threads it likes, as outside of tests; they are as before afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def batch(count: int, shape: Shape) -> tuple[weights.Array, np.ndarray]:
    draw = np.random.default_rng(count)
    size = (count, shape.height, shape.width, shape.channels)
    return draw.normal(size=size).astype(np.float32), draw.integers(0, 10, count)


@pytest.mark.parametrize("count", [64, 19, 8, 3])
def test_shards_compute_what_the_whole_batch_does(count: int) -> None:
    net = resolve("nin-small", width=0.25)
    images, labels = batch(count, net.input)
    whole, parts = learner(net, threads=1), learner(net, threads=1, shards=8)
    for step in (1, 2):
        expected = whole.step(images, labels, 1e-4, step, seed=step)
        found = parts.step(images, labels, 1e-4, step, seed=step)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * abs(expected).max())
    for name, tensor in whole.weights().items():
        np.testing.assert_allclose(
            parts.weights()[name], tensor, rtol=1e-3, atol=2e-5, err_msg=name
        )
    np.testing.assert_allclose(parts.logits(images), whole.logits(images), rtol=1e-3, atol=1e-4)


def test_shards_without_a_picture_are_convolved(own_threads: None) -> None:
    """By the functions in C, too: they divided by the number of tiles."""
    block = Block("b", (Conv(32, 3, padding=1), Conv(32, 3, padding=1), GlobalAvgPool(), Flatten()))
    net = Network("own", SOURCE, (block,), tuple(map(str, range(32))))
    images, labels = batch(3, net.input)
    whole, parts = learner(net, threads=1), learner(net, threads=1, shards=8)
    expected = whole.step(images, labels, 0.01, 1, seed=0)
    found = parts.step(images, labels, 0.01, 1, seed=0)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_shards_leave_other_trainings_their_threads(
    own_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PyTorchLearner, "usual_threads", None)
    net = resolve("nin-small", width=0.25)
    learner(net, shards=2, threads=2)
    assert learner(net).threads == 4


@pytest.mark.usefixtures("own_threads")
@pytest.mark.parametrize("size", [28, 32])
def test_threads_do_not_change_a_bit(size: int) -> None:
    """Of pictures as large as the input, and of smaller ones, which are resized."""
    net = resolve("nin-small", width=0.25, dropout=0.5, image_size=size)
    images, labels = batch(33, SOURCE)
    made = []
    for threads in (1, 3, 8, 2, 1):
        one = learner(net, threads=threads, shards=8)
        logits = one.step(images, labels, 0.1, 1, seed=5)
        made.append(b"".join([logits.tobytes(), *(a.tobytes() for a in one.weights().values())]))
    assert len(set(made)) == 1


def test_an_error_in_one_shard_is_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    net = resolve("nin-small", width=0.25)
    images, labels = batch(16, net.input)
    labels[11] = 99
    with pytest.raises(IndexError, match="Target 99 is out of bounds"):
        learner(net, threads=2, shards=8).step(images, labels, 0.1, 1, seed=0)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--shards", "6"], "--shards: must be a power of two, got 6"),
        (["--shards", "8", "--framework", "jax"], "jax has no shards: leave them out, or take pyt"),
        (["--shards", "128"], "--shards: must be between 2 and 64, got 128"),
        (["--processes", "0"], "processes must be at least 1, got 0"),
        (["--processes", "0", "--dry-run"], "processes must be at least 1, got 0"),
        (["--processes", "3", "--dry-run"], "8 shards can't be divided among 3 processes: give a"),
    ],
)
def test_what_cannot_be_is_one_line(flags: list[str], said: str, tmp_path: Path) -> None:
    done = nin("train", *FLAGS, *flags, "--output", tmp_path / "run")
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_dry_run_is_that_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With their shards, and no other process begins; a mistake is said before any begins."""

    def forbidden(*_arguments: Any, **_options: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(follow.subprocess, "Popen", forbidden)
    done = nin("train", *FLAGS, "--processes", "2", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["recipe"]["shards"] == 8
    for flags, said in (
        (["--recipe", "nosuch", "--processes", "2"], "unknown recipe 'nosuch'"),
        (["--resume", "nothere", "--processes", "2"], "nothere: no such run folder"),
        (["--framework", "jax", "--processes", "2"], "several processes train with PyTorch only"),
        (["--shards", "2", "--processes", "4"], "2 shards can't be divided among 4 processes"),
    ):
        done = nin("train", *flags)
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stderr.count("\n") == 1


def test_shards_are_divided_evenly() -> None:
    net = resolve("nin-small", width=0.25)
    with pytest.raises(FrameworkError, match="8 shards can't be divided among 3 processes: give a"):
        learner(net, shards=8, processes=Processes(0, 3, 3))


def test_a_wrong_environment_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(
        FrameworkError, match="variable WORLD_SIZE must be a whole number, got 'two"
    ):
        start.train(recipe.load("fashion", train_examples=64, test_examples=10, epochs=1))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(FrameworkError, match="RANK must be below WORLD_SIZE, which is 2, got 2"):
        start.train(recipe.load("fashion", train_examples=64, test_examples=10, epochs=1))


def test_processes_that_were_started_together_start_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    done = nin("train", *FLAGS, "--processes", "2")
    assert done.returncode == 2
    assert done.stderr == (
        "nin: this is one of 4 processes that were started together: leave out --processes\n"
    )


def test_shards_take_the_cpu_where_the_device_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    net = resolve("nin-small", width=0.25)
    given = LearnerSettings(net, Optimizer("sgd"), SOURCE, "auto", 1, shards=2)
    here = pytorch.learner(given, weights.initial(net, 0))
    monkeypatch.setattr(pytorch, "devices", lambda: ("cuda:0", "cpu"))
    made = pytorch.learner(given, weights.initial(net, 0))
    assert made.device == "cpu"
    said = "shards are computed on the CPU: cuda:0 is not used"
    assert said in made.cautions
    assert said.replace("cuda:0", "cpu") not in here.cautions
    on_cuda = dataclasses.replace(given, device="cuda")
    with pytest.raises(FrameworkError, match="shards are computed on the CPU, not on cuda:0"):
        pytorch.learner(on_cuda, weights.initial(net, 0))


def test_shards_say_that_they_do_without_compiled_functions() -> None:
    said = "batch norm and the 1×1 convolutions between are not compiled"
    for name, expected in (("nin-small", True), ("nin-mnist", False)):
        cautions = learner(resolve(name), threads=1, shards=2).cautions
        assert any(said in caution for caution in cautions) == expected


def test_a_split_smaller_than_the_processes_is_counted_once(fashion_mnist: Any) -> None:
    """Of which no process has a part of its own: each answers with all of it."""
    few = first(fashion_mnist.test, 2)

    def compute(part: Any) -> weights.Array:
        # As `logits_of`, which has nothing to put together of no pictures.
        assert len(part)
        return part.pictures(np.arange(len(part))).reshape(len(part), -1).astype(np.float32)

    for rank in range(4):
        assert np.array_equal(in_parts(Processes(rank, 4, 4), few, compute), compute(few))


@pytest.mark.slow
def test_splits_smaller_than_the_processes(tmp_path: Path) -> None:
    sizes = {"--train-examples": "4", "--test-examples": "1", "--batch-size": "3"}
    given = {**dict(zip(FLAGS[:-1:2], FLAGS[1::2], strict=True)), **sizes, "--validation": "0.25"}
    flags = ["--quiet", *itertools.chain.from_iterable(given.items())]
    made = []
    for more in (["--processes", "4"], ["--shards", "8"]):
        done = nin("train", *flags, *more, "--output", tmp_path / more[0], fresh=True)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        figures = json.loads((tmp_path / more[0] / "metrics.json").read_text("utf-8"))
        assert (figures["validation_examples"], figures["test_examples"]) == (1, 1)
        made.append(tensors(tmp_path / more[0]))
    assert made[0] == made[1]


@pytest.fixture(scope="module")
def alone(fashion_mnist: object, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The model of one process with one thread."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    done = nin("train", *FLAGS, "--shards", "8", "--threads", "1", "--output", folder)
    assert done.returncode == 0, done.stderr
    return tensors(folder)


def tensors(run: Path) -> bytes:
    found, _ = weights.load_tensors(run / "model.safetensors")
    return b"".join(found[name].tobytes() for name in sorted(found))


@pytest.mark.parametrize(
    "count", [2, pytest.param(4, marks=pytest.mark.slow), pytest.param(8, marks=pytest.mark.slow)]
)
def test_processes_make_the_same_bytes(count: int, alone: bytes, tmp_path: Path) -> None:
    flags = [*FLAGS, "--processes", str(count), "--output", tmp_path / "run"]
    done = nin("train", *flags, fresh=True)
    assert done.returncode == 0, done.stderr
    assert tensors(tmp_path / "run") == alone
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
def test_torchrun_makes_the_same_bytes(alone: bytes, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    arguments = ["-m", "netinnet", "train", *FLAGS, "--output", str(tmp_path / "run")]
    subprocess.run([*command, *arguments], check=True, timeout=300, capture_output=True)
    assert tensors(tmp_path / "run") == alone


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["leader", "follower", "interrupted"])
def test_killed_and_gone_on_with(killed: str, alone: bytes, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "netinnet", "train", "--processes", "2"]
    with (tmp_path / "stderr").open("w") as error:
        leader = subprocess.Popen([*command, *FLAGS, "--output", str(run)], stderr=error)
    while not list(run.glob("checkpoints/*")):
        time.sleep(0.01)
        assert leader.poll() is None
    children = Path(f"/proc/{leader.pid}/task/{leader.pid}/children").read_text("utf-8").split()
    follower = int(children[0])
    if killed == "follower":
        os.kill(follower, signal.SIGKILL)
        assert leader.wait(60) == 2
        said = (tmp_path / "stderr").read_text("utf-8")
        assert f"has ended; nin train --resume {run} continues" in said
    else:
        leader.send_signal(signal.SIGKILL if killed == "leader" else signal.SIGINT)
        leader.wait(60)
    until = time.monotonic() + 30
    while Path(f"/proc/{follower}").exists():
        assert time.monotonic() < until, "the follower is left behind"
        time.sleep(0.1)
    done = nin("train", "--resume", run, "--quiet", "--processes", "4", fresh=True)
    assert done.returncode == 0, done.stderr
    assert tensors(run) == alone


def follower(port: int, **options: Any) -> subprocess.Popen[bytes]:
    """The second of two processes, as torchrun starts it."""
    environment = {**os.environ, **processes.environment(1, 2, port)}
    return subprocess.Popen([sys.executable, "-m", "netinnet", "train"], env=environment, **options)


@pytest.mark.parametrize("what", ["dry run", "report"])
def test_the_others_end_where_nothing_is_trained(
    what: str, small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(small_run, tmp_path / "run")
    (tmp_path / "run/report.html").unlink()
    flags = {"dry run": [*FLAGS, "--dry-run", "--json"], "report": ["--resume", tmp_path / "run"]}
    port = processes.free_port()
    other = follower(port)
    try:
        for name, value in processes.environment(0, 2, port).items():
            monkeypatch.setenv(name, value)
        done = nin("train", *flags[what])
        assert done.returncode == 0, done.stderr
        if what == "dry run":
            assert json.loads(done.stdout)["recipe"]["shards"] == 8
        assert (tmp_path / "run/report.html").exists() == (what == "report")
        assert other.wait(60) == 0
    finally:
        other.kill()
        other.wait()


def test_a_signal_ends_a_process_that_waits_for_the_first_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first_one:
        first_one.settimeout(60)
        waiting = follower(first_one.getsockname()[1], stderr=subprocess.DEVNULL)
        try:
            connection, _ = first_one.accept()
            with connection:
                waiting.terminate()
                assert waiting.wait(20) == -signal.SIGTERM
        finally:
            waiting.kill()
            waiting.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="children by /proc")
def test_no_process_is_left_behind_by_a_first_one_killed_before_they_meet() -> None:
    command = [sys.executable, "-m", "netinnet", "train", "--processes", "2", *FLAGS]
    leader = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    children = Path(f"/proc/{leader.pid}/task/{leader.pid}/children")
    while not (found := children.read_text("utf-8").split()):
        time.sleep(0.01)
        assert leader.poll() is None
    leader.kill()
    leader.wait()
    until = time.monotonic() + 60
    while Path(f"/proc/{found[0]}").exists():
        if time.monotonic() > until:
            os.kill(int(found[0]), signal.SIGKILL)
            pytest.fail("the follower is left behind")
        time.sleep(0.1)


def test_a_run_with_shards_goes_on_with_other_threads(
    small_run: Path, alone: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(small_run, tmp_path / "whole")
    done = nin("train", "--resume", tmp_path / "whole", "--threads", "2", in_this_process=True)
    assert done.returncode == 2
    assert "whole: begun without shards, so its numbers depend on the number of th" in done.stderr

    run = tmp_path / "run"
    command = [sys.executable, "-m", "netinnet", "train", *FLAGS, "--shards", "8"]
    leader = subprocess.Popen([*command, "--output", str(run)], stderr=subprocess.DEVNULL)
    while not list(run.glob("checkpoints/*")):
        time.sleep(0.01)
        assert leader.poll() is None
    leader.kill()
    leader.wait()
    done = nin("train", "--resume", run, "--quiet", "--threads", "3", in_this_process=True)
    assert done.returncode == 0, done.stderr
    assert of_kind(open_run(run).events(), Start)[-1].threads == 3
    assert tensors(run) == alone

    (run / "metrics.json").unlink()  # as if it had been killed before
    monkeypatch.setattr(pytorch_shards, "cores", lambda: 5)
    start.resume(run)
    assert of_kind(open_run(run).events(), Start)[-1].threads == 5
    assert tensors(run) == alone


def test_a_run_without_shards_goes_on_with_one_process(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(small_run, tmp_path / "run")
    (tmp_path / "run/metrics.json").unlink()
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = "run: begun without shards, so its numbers depend on one process: go on with one"
    with pytest.raises(NetinnetError, match=said):
        start.resume(tmp_path / "run")


def test_one_process_is_joined_by_none() -> None:
    with processes.joined() as group, follow.started(1, None):
        assert group == Processes()
        assert group.sent_text("x") == "x"
        assert group.concatenated(np.arange(3)).tolist() == [0, 1, 2]


def test_only_the_first_process_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "joined", lambda: contextlib.nullcontext(Processes(1, 2, 2)))
    with pytest.raises(NetinnetError, match="only the first process trains"), start.led():
        pass
