"""The chapter's own code, with one line changed, and the three functions it calls.

Each framework runs in a process of its own; MXNet needs an environment of its own, `.venv-mxnet`
or the interpreter that NETINNET_MXNET_PYTHON names. The tests that start a framework take 5 to 60 s
each, on two cores, by what else runs there.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netinnet.book import _common, _loop
from netinnet.data import datasets
from netinnet.data.source import Arrays
from netinnet.errors import DataError, FrameworkError, NetinnetError
from netinnet.reports import live
from tests.conftest import ROOT, some_slow

PACKAGES = {"pytorch": "torch", "tensorflow": "tensorflow", "jax": "jax", "mxnet": "mxnet"}
"""What a framework's Python package and its module in `netinnet.book` are called."""

CHAPTER = ROOT.parent / "shared" / "reference" / "nin-chapter.md"
BLOCK = re.compile(r"^```\{\.python \.input\}\n(?:#@tab (\w+)\n)?(.*?)^```", re.M | re.S)
SHAPE = re.compile(r"output shape:\t .*?\(\[?([\d, ]+?),?\]?\)")
FIGURES = r"loss \d+\.\d{3}, train acc \d\.\d{3}, test acc \d\.\d{3}, \d+\.\d examples/sec on \S+"


def interpreter(framework: str) -> str:
    """The Python that has the framework; skips the test where there is none."""
    if importlib.util.find_spec(PACKAGES[framework]) is not None:
        return sys.executable
    if framework == "mxnet":
        named = os.environ.get("NETINNET_MXNET_PYTHON")
        python = Path(named) if named else ROOT / ".venv-mxnet" / "bin" / "python"
        if python.exists():
            return str(python)
    pytest.skip(f"{framework} is not installed")


def run(framework: str, code: str, folder: Path, examples: int, epochs: int = 1) -> str:
    """Run a program with the framework's Python; return what it printed."""
    program = folder / "program.py"
    program.write_text(code, "utf-8")
    done = subprocess.run(
        [interpreter(framework), str(program)],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "src"),
            _common.EXAMPLES: str(examples),
            _common.EPOCHS: str(epochs),
            # Beside other work, threads that wait busily slow each other down many times.
            "OMP_WAIT_POLICY": "PASSIVE",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


# ---------------------------------------------------------------------------- the chapter


def blocks(tab: str) -> list[str]:
    """The chapter's code for one framework; blocks without a tab are MXNet's."""
    found = BLOCK.findall(CHAPTER.read_text("utf-8"))
    return [code for name, code in found if (name or "mxnet") in (tab, "all")]


# Block, pool, … , dropout, the block of 10 channels: height and width of 224-pixel pictures.
STAGES = [
    (96, 54, 54),
    (96, 26, 26),
    (256, 26, 26),
    (256, 12, 12),
    (384, 12, 12),
    (384, 5, 5),
    (384, 5, 5),
    (10, 5, 5),
]
CHANNELS_FIRST = [*STAGES, (10, 1, 1), (10,)]
CHANNELS_LAST = [*((h, w, c) for c, h, w in STAGES), (10,), (1, 1, 10), (10,)]


@pytest.mark.skipif(not CHAPTER.exists(), reason=f"{CHAPTER} is not there")
@pytest.mark.parametrize(
    ("framework", "expected"),
    [("mxnet", CHANNELS_FIRST), ("pytorch", CHANNELS_FIRST), ("tensorflow", CHANNELS_LAST)],
)
def test_chapter_runs_with_one_line_changed(
    framework: str,
    expected: list[tuple[int, ...]],
    fashion_mnist: datasets.Dataset,
    tmp_path: Path,
) -> None:
    code = "\n".join(blocks(framework))
    changed, lines = re.subn(r"^from d2l import", "from netinnet.book import", code, flags=re.M)
    assert lines == 1
    printed = run(framework, changed, tmp_path, examples=40)
    shapes = [tuple(map(int, found.split(","))) for found in SHAPE.findall(printed)]
    assert shapes == [(1, *shape) for shape in expected]
    assert re.fullmatch(FIGURES, printed.splitlines()[-1]), printed


# ---------------------------------------------------------------------------- learning

SMALL_NETS = {
    "pytorch": """
import torch
from torch import nn
any_, smallest, largest = torch.any, torch.min, torch.max
def small_net(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 10))
""",
    "tensorflow": """
import tensorflow as tf
from tensorflow.keras import layers
any_, smallest, largest = tf.reduce_any, tf.reduce_min, tf.reduce_max
def small_net(seed):
    tf.keras.utils.set_random_seed(seed)
    return lambda: tf.keras.Sequential([
        layers.Conv2D(8, 5, padding="same", activation="relu"), layers.MaxPool2D(2),
        layers.Conv2D(16, 5, activation="relu"), layers.MaxPool2D(2),
        layers.Flatten(), layers.Dense(10)])
""",
    "jax": """
from functools import partial
import numpy as np
from flax import nnx
from jax.numpy import any as any_, max as largest, min as smallest
pool = partial(nnx.max_pool, window_shape=(2, 2), strides=(2, 2))
def small_net(seed):
    np.random.seed(seed)
    rngs = nnx.Rngs(0)
    return nnx.Sequential(
        nnx.Conv(1, 8, (5, 5), padding="SAME", rngs=rngs), nnx.relu, pool,
        nnx.Conv(8, 16, (5, 5), padding="VALID", rngs=rngs), nnx.relu, pool,
        lambda x: x.reshape(len(x), -1), nnx.Linear(400, 10, rngs=rngs))
""",
    "mxnet": """
import mxnet as mx
from mxnet.gluon import nn
from mxnet import np
any_, smallest, largest = np.sum, np.min, np.max
def small_net(seed):
    mx.random.seed(seed)
    net = nn.Sequential()
    net.add(nn.Conv2D(8, 5, padding=2, activation="relu"), nn.MaxPool2D(2),
            nn.Conv2D(16, 5, activation="relu"), nn.MaxPool2D(2), nn.Flatten(), nn.Dense(10))
    return net
""",
}
LEARNING = """
train_iter, test_iter = d2l.load_data_fashion_mnist(25)
(first, labels), (again, _) = (next(iter(train_iter)) for _ in range(2))
print(first.shape, float(smallest(first)), float(largest(first)), len(labels), len(train_iter))
print("reshuffled", bool(any_(first != again)))
d2l.train_ch6(small_net(0), train_iter, test_iter, 10, 0.1, d2l.try_gpu())
train_iter, test_iter = (list(batches)[:2] for batches in (train_iter, test_iter))
for seed in (1, 1, 2):
    d2l.train_ch6(small_net(seed), train_iter, test_iter, 1, 0.1, d2l.try_gpu())
"""


@pytest.mark.parametrize(
    "framework",
    # The chapter, just above, trains with these, too.
    some_slow(PACKAGES, "tensorflow", "mxnet"),
)
def test_training_learns_and_repeats(
    framework: str, fashion_mnist: datasets.Dataset, tmp_path: Path
) -> None:
    """1,000 pictures, four epochs; then a few steps with the seeds 1, 1 and 2."""
    module = f"from netinnet.book import {PACKAGES[framework]} as d2l\n"
    code = module + SMALL_NETS[framework] + LEARNING
    printed = run(framework, code, tmp_path, examples=1000, epochs=4)
    first, *_ = printed.splitlines()
    layout = "25, 1, 28, 28" if framework in ("pytorch", "mxnet") else "25, 28, 28, 1"
    assert layout in first
    assert first.endswith(" 0.0 1.0 25 40")
    assert "reshuffled True" in printed
    losses = [float(x) for x in re.findall(r"^epoch \d/4: loss ([\d.]+)", printed, re.M)]
    assert len(losses) == 4, printed
    assert losses[-1] < losses[0] / 2, printed
    last, once, again, other = re.findall(rf"^{FIGURES}$", printed, re.M)
    assert float(re.findall(r"train acc ([\d.]+)", last)[0]) > 0.6, printed
    assert float(re.findall(r"test acc ([\d.]+)", last)[0]) > 0.5, printed
    loss, same, different = (re.findall(r"loss ([\d.]+)", line)[0] for line in (once, again, other))
    assert loss == same != different, printed


def test_weights_start_xavier_with_zero_biases() -> None:
    torch = pytest.importorskip("torch")
    from netinnet.book import torch as d2l

    net = torch.nn.Sequential(torch.nn.Conv2d(3, 50, 5), torch.nn.ReLU(), torch.nn.Flatten())
    seen: dict[str, Any] = {}

    class Batches:
        """One batch, and the weights as they are when training begins."""

        def __len__(self) -> int:
            return 1

        def __iter__(self) -> Any:
            seen.setdefault("weight", net[0].weight.detach().clone())
            seen.setdefault("bias", net[0].bias.detach().clone())
            yield torch.zeros(2, 3, 5, 5), torch.zeros(2, dtype=torch.int64)

    d2l.train_ch6(net, Batches(), Batches(), 1, 0.1)
    bound = (6 / (75 + 50 * 25)) ** 0.5
    assert 0.99 * bound < seen["weight"].abs().max() <= bound
    assert not seen["bias"].any()


# ---------------------------------------------------------------------------- batches


def batches(count: int, size: int, seed: Any = None) -> _common.Batches:
    images = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((28, 28, 1), np.uint8)
    split = Arrays(images, np.arange(count))
    examples = _common.Examples(split, (size, size), lambda images, labels: (images, labels))
    return _common.Batches(examples, 4, seed)


def test_batches_are_resized_and_complete() -> None:
    found = list(batches(10, 56))
    assert [images.shape for images, _ in found] == [(4, 56, 56, 1)] * 2 + [(2, 56, 56, 1)]
    assert np.concatenate([labels for _, labels in found]).tolist() == list(range(10))
    for images, labels in found:
        assert images.flags["C_CONTIGUOUS"]
        np.testing.assert_allclose(images[:, 0, 0, 0], labels / 255, rtol=1e-6)


def test_batches_come_in_a_new_order_with_their_own_labels() -> None:
    seeds = iter((1, 2))
    shuffled = batches(100, 28, lambda: next(seeds))
    orders = []
    for _ in range(2):
        found = list(shuffled)
        for images, labels in found:
            np.testing.assert_allclose(images[:, 0, 0, 0], labels / 255, rtol=1e-6)
        orders.append(np.concatenate([labels for _, labels in found]).tolist())
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(100))
    assert orders[0] != orders[1]


# ---------------------------------------------------------------------------- the loop


def given(logits: Any, labels: Any) -> _loop.Answer:
    return logits, labels, None


class Fake:
    """A network of three classes whose logits are given; its batches are one or more."""

    def __init__(self, *logits: list[list[float]]) -> None:
        self.logits = [np.array(batch, np.float32) for batch in logits]

    def __len__(self) -> int:
        return len(self.logits)

    def __iter__(self) -> Any:
        return ((batch, np.zeros(len(batch), np.int64)) for batch in self.logits)

    def train(self, epochs: int) -> None:
        _loop.train(given, given, self, self, epochs, 0.1, "nowhere")


def test_figures_of_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    Fake([[0, 1, 0], [1, 0, 0.5]], [[2, 1, 1]]).train(2)
    lines = capsys.readouterr().out.splitlines()
    rows = np.array([[0, 1, 0], [1, 0, 0.5], [2, 1, 1]])
    loss = np.mean(np.log(np.exp(rows).sum(1)) - rows[:, 0])
    figures = f"loss {loss:.3f}, train acc 0.667, test acc 0.667"
    assert lines[:2] == [f"epoch 1/2: {figures}", f"epoch 2/2: {figures}"]
    assert re.fullmatch(rf"{figures}, \d+\.\d examples/sec on nowhere", lines[2])


def test_dead_class_is_named_once_with_the_cure(capsys: pytest.CaptureFixture[str]) -> None:
    Fake([[1, 0, 0], [1, 2, 0]], [[1, 0, 0]]).train(3)
    assert capsys.readouterr().err == (
        "warning: class 2 (Pullover) is dead: its logit was 0 for every picture of epoch 1, so it "
        "learns nothing; leave out the last ReLU, or start again with another seed\n"
    )


def test_class_alive_in_one_batch_is_not_dead(capsys: pytest.CaptureFixture[str]) -> None:
    Fake([[1, 1, 0]], [[1, 1, 1e-6]]).train(1)
    assert capsys.readouterr().err == ""


def test_long_training_says_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    _loop._estimate(119)
    assert capsys.readouterr().out == ""
    _loop._estimate(36_000)
    assert capsys.readouterr().out == (
        "this will take about 10.0 h here; NETINNET_BOOK_EPOCHS and NETINNET_BOOK_EXAMPLES "
        "shorten it\n"
    )


def test_notebook_draws_the_curve_instead_of_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[bytes] = []

    class Curve(live.NotebookCurve):
        def draw(self) -> None:
            from netinnet.reports import figures

            drawn.append(figures.learning_curves(self.events))

    monkeypatch.setattr(live, "listener", Curve)
    Fake([[0, 1, 0], [1, 0, 0.5]]).train(2)
    assert len(drawn) >= 2
    assert all(b"<svg" in picture for picture in drawn)
    assert capsys.readouterr().out.startswith("loss ")


# ---------------------------------------------------------------------------- mistakes


def test_epochs_are_capped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(_common.EPOCHS, "2")
    Fake([[1, 1, 1]]).train(5)
    assert capsys.readouterr().out.count("epoch ") == 2
    Fake([[1, 1, 1]]).train(1)
    assert capsys.readouterr().out.count("epoch ") == 1


@pytest.mark.parametrize("variable", [_common.EPOCHS, _common.EXAMPLES])
@pytest.mark.parametrize("value", ["0", "-1", "ten", "1.5", "²"])
def test_environment_variable_is_checked(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(NetinnetError) as caught:
        _common.limit(variable)
    assert str(caught.value) == f"{variable} must be a whole number from 1, got '{value}'"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, None), "batch_size must be a whole number from 1 to 60,000, got 0"),
        ((1.5, None), "batch_size must be a whole number from 1 to 60,000, got 1.5"),
        ((128, 0), "resize must be a whole number from 1 to 4,096, got 0"),
        ((128, (96, 96)), "resize must be a whole number from 1 to 4,096, got (96, 96)"),
    ],
)
def test_sizes_are_checked(arguments: tuple[Any, Any], message: str) -> None:
    with pytest.raises(NetinnetError) as caught:
        _common.load_data(*arguments, lambda x, y: (x, y), lambda: 0)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("epochs", "rate", "message"),
    [
        (0, 0.1, "num_epochs must be a whole number from 1, got 0"),
        (1, 0.0, "lr must be a learning rate above 0, as in 0.1, got 0.0"),
        (1, "0.1", "lr must be a learning rate above 0, as in 0.1, got '0.1'"),
        (1, float("nan"), "lr must be a learning rate above 0, as in 0.1, got nan"),
    ],
)
def test_training_is_checked(epochs: int, rate: Any, message: str) -> None:
    with pytest.raises(NetinnetError) as caught:
        _loop.check(epochs, rate)
    assert str(caught.value) == message


def test_divergence_is_an_error() -> None:
    with pytest.raises(NetinnetError) as caught:
        Fake([[1, 1, 1]], [[float("nan"), 1, 1]]).train(1)
    assert str(caught.value) == (
        "the training diverged at step 2 of epoch 1: its numbers are no longer finite; "
        "use a smaller lr"
    )


def test_no_batch_is_an_error() -> None:
    with pytest.raises(DataError, match="an iterator gave no batch; it must give at least one"):
        Fake().train(1)


def test_tensorflow_takes_a_function() -> None:
    tf = pytest.importorskip("tensorflow")
    from netinnet.book import tensorflow as d2l

    reason = r"^net_fn must be the function that builds the network: def net\(\): return …$"
    with pytest.raises(NetinnetError, match=reason):
        d2l.train_ch6(tf.keras.Sequential(), [], [], 1, 0.1, d2l.try_gpu())


@pytest.mark.parametrize("framework", PACKAGES)
def test_missing_framework_is_one_line(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = PACKAGES[framework]
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"netinnet.book.{package}", raising=False)
    with pytest.raises(FrameworkError, match=r"^\w+ is not installed; pip install .* installs it"):
        importlib.import_module(f"netinnet.book.{package}")


def test_broken_framework_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mxnet.py").write_text("raise RuntimeError('no such\\nlibrary')\n", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("mxnet", "netinnet.book.mxnet"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(
        FrameworkError, match=r"^MXNet is installed but does not import \(no such\); pip install"
    ):
        importlib.import_module("netinnet.book.mxnet")
