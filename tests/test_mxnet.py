"""MXNet: plain Gluon models that users train, save and compose; what its learner must settle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netinnet
from netinnet import frameworks, weights
from netinnet.errors import FrameworkError
from netinnet.frameworks.learner import LearnerSettings
from netinnet.layout import native_tensors
from netinnet.networks import zoo
from netinnet.networks.blocks import Block
from netinnet.networks.layers import BatchNorm, Conv, Dropout, Flatten, GlobalAvgPool, Shape
from netinnet.networks.network import Network
from netinnet.optimizer import Optimizer
from tests.conftest import QUICK, nin

mx = pytest.importorskip("mxnet")
from mxnet import autograd, gluon  # noqa: E402
from mxnet.gluon import nn  # noqa: E402

NET = Network(
    "probe",
    Shape(1, 8, 8),
    (
        Block("block1", (Conv(4, 3), BatchNorm(momentum=0.3), Dropout(0.5))),
        Block("head", (Conv(3, 1), GlobalAvgPool(), Flatten())),
    ),
    ("a", "b", "c"),
)
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(1, 2, (5, 8, 8, 1)).astype(np.float32)
LABELS = np.array([0, 1, 2, 1, 0])


def learner(network: Network = NET, **settings: Any) -> Any:
    settings = {"optimizer": Optimizer("sgd", 0.9), "source": network.input, **settings}
    drawn = weights.initial(network, 0)
    return frameworks.adapter("mxnet").learner(LearnerSettings(network, **settings), drawn)


def python(script: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["nin-small", "lenet"])
def test_saved_parameters_have_the_layout_tables_names(name: str, tmp_path: Path) -> None:
    net = netinnet.build(name, framework="mxnet", seed=3)
    net.save_parameters(str(tmp_path / "net.params"))
    network = zoo.network(name)
    saved = mx.npx.load(str(tmp_path / "net.params"))
    assert {name: value.shape for name, value in saved.items()} == {
        f"{tensor.layer}.{tensor.name}": tensor.shape
        for tensor in native_tensors(network, "mxnet").values()
    }
    other = netinnet.build(name, framework="mxnet", seed=4)
    other.load_parameters(str(tmp_path / "net.params"))
    found = frameworks.adapter("mxnet").read(network, other)
    for tensor, expected in weights.initial(network, 3).items():
        np.testing.assert_array_equal(found[tensor], expected, tensor)


def test_a_model_written_by_hand_loads_it(tmp_path: Path) -> None:
    """Nothing but Gluon is needed to go on with a model of ours."""

    class Part(nn.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any) -> Any:
            for layer in self._children.values():
                x = layer(x)
            return x

    built = frameworks.adapter("mxnet").build(NET, weights.initial(NET, 0))
    built.save_parameters(str(tmp_path / "net.params"))
    plain = Part()
    plain.block1, plain.head = Part(), Part()
    plain.block1.conv1, plain.block1.norm1 = nn.Conv2D(4, 3), nn.BatchNorm()
    plain.head.conv1, plain.head.pool = nn.Conv2D(3, 1), nn.GlobalAvgPool2D()
    plain.head.flatten = nn.Flatten()
    plain.load_parameters(str(tmp_path / "net.params"))
    x = mx.np.array(IMAGES.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(plain(x).asnumpy(), built(x).asnumpy())


@pytest.mark.filterwarnings("ignore:Cannot decide type for the following arguments")
def test_hybridised_and_exported_it_computes_the_same(tmp_path: Path) -> None:
    net = netinnet.build("nin-small", framework="mxnet")
    x = mx.np.array(np.random.default_rng(0).random((2, 1, 28, 28), np.float32))
    plain = net(x).asnumpy()
    net.hybridize()
    np.testing.assert_allclose(net(x).asnumpy(), plain, rtol=1e-5, atol=1e-6)
    net.export(str(tmp_path / "net"))
    files = (str(tmp_path / "net-symbol.json"), ["data"], str(tmp_path / "net-0000.params"))
    np.testing.assert_allclose(
        gluon.SymbolBlock.imports(*files)(x).asnumpy(), plain, rtol=1e-5, atol=1e-6
    )


def test_blocks_compose() -> None:
    """Blocks of two models and of the user's own make one that compiles."""
    first, second = (netinnet.build("nin-small", framework="mxnet", seed=s) for s in (0, 1))
    head = nn.Dense(3, in_units=64)
    head.initialize()
    net = nn.HybridSequential()
    block = frameworks.adapter("mxnet").block
    net.add(first.block1, block(first, "pool1"), second.block2, nn.GlobalAvgPool2D(), head)
    x = mx.np.array(np.random.default_rng(0).random((2, 1, 28, 28), np.float32))
    plain = net(x).asnumpy()
    assert plain.shape == (2, 3)
    net.hybridize()
    np.testing.assert_allclose(net(x).asnumpy(), plain, rtol=1e-5, atol=1e-6)


def test_gluons_own_code_trains_it() -> None:
    network = zoo.network("nin-small")
    net = netinnet.build("nin-small", framework="mxnet")
    before = frameworks.adapter("mxnet").read(network, net)
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    net.hybridize()
    x = mx.np.array(np.random.default_rng(0).random((8, 1, 28, 28), np.float32))
    losses = []
    for _ in range(5):
        with autograd.record():
            value = loss(net(x), mx.np.arange(8))
        value.backward()
        trainer.step(8)
        losses.append(float(value.mean()))
    assert losses[-1] < losses[0]
    after = frameworks.adapter("mxnet").read(network, net)
    assert all(not np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("done", [0, 1, 2, 3, 6])
def test_running_statistics_are_right_in_every_step(done: int) -> None:
    """MXNet's own variance is biased, and it changes it without its scheduler's knowledge."""
    network = zoo.network("nin-small")
    images = np.random.default_rng(0).normal(1, 2, (16, 28, 28, 1)).astype(np.float32)
    labels = np.arange(16) % 10
    trained = learner(network)
    # Nothing reads between these steps: what is queued must still happen in order.
    for step in range(1, done + 1):
        trained.step(images, labels, 0.05, step, step)
    before = trained.weights()
    trained.step(images, labels, 0.05, done + 1, done + 1)
    after = trained.weights()
    padded = np.pad(images[..., 0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    kernels = before["block1.conv1.weight"][:, 0]
    values = np.tensordot(kernels, windows, ((1, 2), (3, 4))).reshape(len(kernels), -1)
    # MXNet's own sums lose 1e-6, by the processor; the biased variance would be wrong by 8e-5.
    for name, fresh in (("mean", values.mean(1)), ("var", values.var(1, ddof=1))):
        key = f"block1.norm1.running_{name}"
        expected = 0.9 * before[key] + 0.1 * fresh
        np.testing.assert_allclose(after[key], expected, rtol=4e-6, atol=4e-6, err_msg=name)


def test_dropout_is_a_function_of_the_seed() -> None:
    def logits(seed: int) -> np.ndarray:
        mx.random.seed(99)
        return learner().step(IMAGES, LABELS, 0.1, 1, seed)

    np.testing.assert_array_equal(logits(5), logits(5))
    assert not np.array_equal(logits(5), logits(6))
    np.testing.assert_array_equal(learner().logits(IMAGES), learner().logits(IMAGES))


def test_a_step_is_finished_when_it_returns() -> None:
    trained = learner()
    trained.step(IMAGES, LABELS, 0.1, 1, 1)
    first, state = trained.weights(), trained.optimizer_state()
    mx.npx.waitall()
    for name, value in trained.weights().items():
        np.testing.assert_array_equal(value, first[name], name)
    assert set(state) == {f"0/{name}" for name in first if name in trained.roles}


def test_numpy_semantics_are_left_alone_until_a_model_is_built() -> None:
    script = """
import mxnet as mx, numpy as np
from netinnet import frameworks, weights
from netinnet.networks import zoo
from netinnet.frameworks.learner import LearnerSettings
from netinnet.optimizer import Optimizer
net = zoo.network("lenet")
adapter, drawn = frameworks.adapter("mxnet"), weights.initial(net, 0)
learner = adapter.learner(LearnerSettings(net, Optimizer(), net.input), drawn)
learner.step(np.zeros((2, 28, 28, 1), np.float32), np.array([0, 1]), 0.1, 1, 1)
legacy = mx.gluon.nn.Dense(2)
legacy.initialize()
print(mx.util.is_np_array(), legacy(mx.nd.ones((1, 3))).shape)
adapter.build(net, drawn)
print(mx.util.is_np_array())
"""
    assert python(script).split("\n") == ["False (1, 2)", "True"]


THREADS = """
import os
from netinnet import frameworks, weights
from netinnet.networks import zoo
from netinnet.frameworks.learner import LearnerSettings
from netinnet.optimizer import Optimizer
net = zoo.network("lenet")
settings = LearnerSettings(net, Optimizer(), net.input, threads=THREADS)
learner = frameworks.adapter("mxnet").learner(settings, weights.initial(net, 0))
print(learner.threads, os.environ.get("OMP_NUM_THREADS", ""))
"""


@pytest.mark.parametrize(
    ("told", "wanted", "threads"), [("1", None, 1), ("3", None, 3), ("1", 2, 2), ("3", 1, 1)]
)
def test_threads(told: str, wanted: int | None, threads: int) -> None:
    script = THREADS.replace("THREADS)", f"{wanted})")
    assert python(script, OMP_NUM_THREADS=told) == f"{threads} {told}"


def test_all_processors_are_used_where_nothing_is_said() -> None:
    script = "import os; os.environ.pop('OMP_NUM_THREADS')" + THREADS.replace("THREADS)", "None)")
    assert python(script) == str(len(os.sched_getaffinity(0)))


def test_the_first_training_of_a_process_decides_on_threads() -> None:
    threads = learner().threads
    assert learner(threads=threads).threads == threads
    with pytest.raises(FrameworkError, match=f"keeps the {threads} threads of the first train"):
        learner(threads=threads + 1)


def test_errors_of_mxnet_are_one_line() -> None:
    with pytest.raises(FrameworkError) as raised:
        learner().logits(np.zeros((2, 8, 8, 3), np.float32))
    assert str(raised.value).startswith("MXNet: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["params", "forward", "name"])
def test_names_that_gluon_needs_are_refused(name: str) -> None:
    network = Network("x", Shape(1, 2, 2), (Block(name, (Flatten(),)),), ("a", "b", "c", "d"))
    with pytest.raises(FrameworkError, match=f"no block can be called '{name}'"):
        frameworks.adapter("mxnet").build(network, {})


def test_unknown_device_is_one_line(tmp_path: Path) -> None:
    done = nin("train", *QUICK, "--device", "gpu:9", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("nin: MXNet has no device 'gpu:9' here; it has ")
    assert done.stderr.count("\n") == 1


def test_an_mxnet_that_does_not_import_is_one_line(tmp_path: Path) -> None:
    """What NumPy 1.24 does to it."""
    (tmp_path / "mxnet").mkdir()
    (tmp_path / "mxnet/__init__.py").write_text("import numpy\nnumpy.bool_of_old\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = nin("train", *QUICK, env=env, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("nin: MXNet is installed but does not import (module 'numpy'")
    assert "Python 3.11 and NumPy below 1.24" in done.stderr
    assert done.stderr.count("\n") == 1
