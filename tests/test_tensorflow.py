"""What is special to TensorFlow: Keras models that live without this package, threads, batch norm.

What all frameworks have in common is tested with `parity.py`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netinnet import frameworks, weights
from netinnet.errors import FrameworkError
from netinnet.frameworks.learner import Learner, LearnerSettings
from netinnet.networks import zoo
from netinnet.networks.blocks import Block
from netinnet.networks.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool,
    ReLU,
    Shape,
)
from netinnet.networks.network import Network
from netinnet.optimizer import Optimizer

if not frameworks.FRAMEWORKS["tensorflow"].is_installed:
    pytest.skip("TensorFlow is not installed", allow_module_level=True)

adapter = frameworks.adapter("tensorflow")  # first: it silences TensorFlow's start
keras, tf, tensorflow_layers = map(
    importlib.import_module, ("keras", "tensorflow", "netinnet.frameworks.tensorflow_layers")
)

PADDED = Network(
    "padded",
    Shape(3, 13, 13),
    (
        Block("block1", (Conv(5, 4, stride=2, padding=2), AvgPool(3, 1, padding=1), ReLU())),
        Block("block2", (Conv(6, 3, padding=1), BatchNorm(), MaxPool(3, 1, padding=1))),
        Block("pool2", (MaxPool(4, 3, padding=2),)),
        Block("head", (Flatten(), Linear(2, bias=False))),
    ),
    ("no", "yes"),
)
"""Every kind of padding that Keras has no name for."""


def pictures(shape: Shape, count: int = 2) -> weights.Array:
    size = (count, shape.height, shape.width, shape.channels)
    return np.random.default_rng(0).normal(0, 1, size).astype(np.float32)


def python(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | environment,
    )


def learner(network: Network, drawn: weights.Weights, **settings: object) -> Learner:
    fixed = LearnerSettings(network, Optimizer(), network.input, **settings)  # type: ignore[arg-type]
    return adapter.learner(fixed, drawn)


PLAIN_KERAS = """
import sys
import keras, numpy as np
for folder in sys.argv[1:]:
    x = np.load(f"{folder}/x.npy")
    model = keras.models.load_model(f"{folder}/model.keras")
    first = np.asarray(model(x, training=False))
    again = keras.models.model_from_json(model.to_json())
    again.load_weights(f"{folder}/model.weights.h5")
    second = np.asarray(again(x, training=False))
    np.savez(f"{folder}/found.npz", first=first, second=second)
assert "netinnet" not in sys.modules
"""


def test_saved_models_load_in_plain_keras(tmp_path: Path) -> None:
    """In one process for all: it imports Keras."""
    expected: dict[Path, Any] = {}
    for network in (zoo.network("nin-small"), PADDED):
        folder = tmp_path / network.name
        folder.mkdir()
        model = adapter.build(network, weights.initial(network, 0))
        x = pictures(network.input)
        np.save(folder / "x.npy", x)
        model.save(folder / "model.keras")
        model.save_weights(folder / "model.weights.h5")
        expected[folder] = np.asarray(model(x, training=False))
    done = python(PLAIN_KERAS, *expected)
    assert done.returncode == 0, done.stderr
    for folder, logits in expected.items():
        loaded = np.load(folder / "found.npz")
        for way in ("first", "second"):
            np.testing.assert_array_equal(loaded[way], logits, folder.name)


@pytest.mark.parametrize("kernel", [2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kind", [MaxPool, AvgPool])
def test_padding_of_pools(kind: type[MaxPool], kernel: int, stride: int) -> None:
    """Windows cut out by hand; all values are negative, so a zero border would win a maximum."""
    padding = kernel // 2
    shape = Shape(2, 7, 7)
    pool = kind(kernel, stride, padding)
    # A network needs a weight: the convolution leaves everything as it is.
    blocks = (Block("pool1", (Conv(2, bias=False), pool, Flatten())),)
    names = tuple(str(i) for i in range(pool.output(shape).size))
    network = Network("pool", shape, blocks, names)
    drawn = {"pool1.conv1.weight": np.eye(2, dtype=np.float32)[:, :, None, None]}
    x = -1 - np.abs(pictures(shape))
    border = [(0, 0), (padding,) * 2, (padding,) * 2, (0, 0)]
    outside = -np.inf if kind is MaxPool else 0.0
    padded = np.pad(x, border, constant_values=outside)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (1, 2))
    windows = windows[:, ::stride, ::stride]
    expected = windows.max((-1, -2)) if kind is MaxPool else windows.mean((-1, -2))
    expected = expected.reshape(len(x), -1)
    np.testing.assert_allclose(np.asarray(adapter.build(network, drawn)(x)), expected, rtol=1e-6)
    np.testing.assert_allclose(learner(network, drawn).logits(x), expected, rtol=1e-6)


def test_network_without_flatten_ends_flat() -> None:
    blocks = (Block("head", (Conv(4), GlobalAvgPool())),)
    network = Network("flat", Shape(3, 5, 5), blocks, tuple("abcd"))
    drawn = weights.initial(network, 0)
    model = adapter.build(network, drawn)
    assert model.output_shape == (None, 4)
    x = pictures(network.input)
    np.testing.assert_allclose(np.asarray(model(x)), learner(network, drawn).logits(x), atol=1e-6)


def test_layers_and_blocks_have_the_names_of_the_description() -> None:
    network = zoo.network("nin-small")
    model = adapter.build(network, weights.initial(network, 0))
    assert model.name == "nin-small"
    assert [layer.name for layer in model.layers[1:]] == [block.name for block in network.blocks]
    for block in network.blocks:
        names = [layer.name for layer in adapter.block(model, block.name).layers]
        assert names == ["input", *(name for name, _ in block.named_layers())]
    lines: list[str] = []
    model.summary(expand_nested=True, print_fn=lines.append)
    assert "block1" in "\n".join(lines)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 96_080


def test_padding_layers_have_names() -> None:
    model = adapter.build(PADDED, weights.initial(PADDED, 0))
    names = [layer.name for layer in adapter.block(model, "block1").layers]
    assert names == ["input", "conv1_pad", "conv1", "pool1_pad", "pool1", "relu1"]


@pytest.mark.parametrize(
    ("name", "valid"),
    [("my net/2", "my_net_2"), ("_hidden", "net_hidden"), ("größe", "gr_xf6_xdfe")],
)
def test_names_are_made_valid(name: str, valid: str) -> None:
    """A name that is no name scope would fail as soon as Keras makes a graph."""
    blocks = (Block("früh", (Conv(2),)), Block("_spät", (GlobalAvgPool(), Flatten())))
    network = Network(name, Shape(1, 4, 4), blocks, ("a", "b"))
    drawn = weights.initial(network, 0)
    model = adapter.build(network, drawn)
    assert model.name == valid
    assert model.predict(pictures(network.input), verbose=0).shape == (2, 2)
    np.testing.assert_array_equal(
        adapter.read(network, model)["früh.conv1.weight"], drawn["früh.conv1.weight"]
    )


def test_blocks_compose_into_other_models() -> None:
    """A block is a model of its own, takes another size, and shares its weights."""
    network = zoo.network("nin-small")
    model = adapter.build(network, weights.initial(network, 0))
    stem = adapter.block(model, "block1")
    inputs = keras.Input((61, 40, 1))
    x = keras.layers.GlobalAveragePooling2D()(adapter.block(model, "pool1")(stem(inputs)))
    mine = keras.Model(inputs, keras.layers.Dense(3)(x))
    x = pictures(Shape(1, 61, 40))
    before = np.asarray(mine(x))
    assert before.shape == (2, 3)
    kernel = model.get_layer("block1").get_layer("conv1").kernel
    kernel.assign(2 * kernel)
    assert np.abs(np.asarray(mine(x)) - before).max() > 1e-3
    assert np.asarray(adapter.block(model, "head")(np.ones((1, 3, 9, 10), np.float32))).shape == (
        1,
        10,
    )


def test_trains_with_keras_itself() -> None:
    network = zoo.network("nin-small", classes=2)
    model = adapter.build(network, weights.initial(network, 0))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05), loss)
    x = pictures(network.input, 32)
    labels = np.arange(32) % 2
    x[labels == 1] += 1
    found = model.fit(x, labels, batch_size=32, epochs=4, verbose=0).history["loss"]
    assert found[-1] < 0.7 * found[0]


def test_users_keras_settings_do_not_change_the_layout() -> None:
    network = zoo.network("lenet")
    drawn = weights.initial(network, 0)
    x = pictures(network.input)
    expected = np.asarray(adapter.build(network, drawn)(x))
    keras.config.set_image_data_format("channels_first")
    try:
        found = np.asarray(adapter.build(network, drawn)(x))
    finally:
        keras.config.set_image_data_format("channels_last")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [(64, 28, 28, 5), (3, 1, 6, 4), (1, 1, 2, 3)])
def test_batch_norm_is_exact(shape: tuple[int, ...]) -> None:
    """Statistics as in float64, where TensorFlow's own kernel is wrong in the fifth digit."""
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, shape).astype(np.float32)
    scale, offset = rng.normal(0, 1, (2, shape[3])).astype(np.float32)
    y, mean, variance = tensorflow_layers._normalise_exactly(x, scale, offset, 1e-5)
    rows = x.reshape(-1, shape[3]).astype(np.float64)
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-6)
    np.testing.assert_allclose(variance, rows.var(0, ddof=1), rtol=2e-6)
    expected = (x - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5) * scale + offset
    np.testing.assert_allclose(y, expected, atol=2e-5)


def test_gradient_of_batch_norm_is_tensorflows() -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.normal(1, 2, (2, 8, 7, 7, 3)).astype(np.float32)
    scale, offset = rng.normal(0, 1, (2, 3)).astype(np.float32)

    @tf.function
    def gradients(exactly: bool) -> list[tf.Tensor]:
        normalise = (
            tensorflow_layers._normalise_exactly if exactly else tensorflow_layers._normalise
        )
        sources = [tf.constant(array) for array in (x, scale, offset)]
        with tf.GradientTape() as tape:
            tape.watch(sources)
            loss = tf.reduce_sum(weight * normalise(*sources, 1e-5)[0] ** 2)
        return tape.gradient(loss, sources)  # type: ignore[no-any-return]

    for found, expected in zip(gradients(True), gradients(False), strict=True):
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_learner_counts_any_batch_size_with_one_graph() -> None:
    """A new graph for the last batch of an epoch would cost seconds."""
    network = zoo.network("lenet")
    traced = 0

    class Counting(Optimizer):
        def update(self, *arguments: object) -> object:  # type: ignore[override]
            nonlocal traced
            traced += 1
            return super().update(*arguments)  # type: ignore[arg-type]

    settings = LearnerSettings(network, Counting(), network.input)
    one = adapter.learner(settings, weights.initial(network, 0))
    tensors = traced
    assert tensors == len(weights.shapes(network))
    for count in (4, 3, 1):
        logits = one.step(pictures(network.input, count), np.arange(count), 0.1, count, 0)
        assert logits.shape == (count, 10)
    assert traced == tensors


def test_unknown_device() -> None:
    network = zoo.network("lenet")
    with pytest.raises(FrameworkError, match=r"^TensorFlow has no device 'tpu:0' here; it has "):
        learner(network, weights.initial(network, 0), device="tpu:0")


def test_threads_are_set_before_tensorflow_runs_or_not_at_all() -> None:
    network = zoo.network("lenet")
    drawn = weights.initial(network, 0)
    threads = learner(network, drawn).threads
    assert learner(network, drawn, threads=threads).threads == threads
    with pytest.raises(FrameworkError) as caught:
        learner(network, drawn, threads=threads + 1)
    assert str(caught.value) == (
        f"TensorFlow already runs with {threads} threads in this process and cannot change to "
        f"{threads + 1}: set threads before anything else uses TensorFlow"
    )


THREADS = """
from netinnet import frameworks, weights
from netinnet.networks import zoo
from netinnet.frameworks.learner import LearnerSettings
from netinnet.optimizer import Optimizer
network = zoo.network("lenet")
settings = LearnerSettings(network, Optimizer(), network.input, threads=3)
learner = frameworks.adapter("tensorflow").learner(settings, weights.initial(network, 0))
import os, tensorflow
print(learner.threads, tensorflow.config.threading.get_intra_op_parallelism_threads())
print(os.environ["TF_CPP_MIN_LOG_LEVEL"])
"""


@pytest.mark.parametrize(
    ("level", "kept"),
    [({}, "2"), pytest.param({"TF_CPP_MIN_LOG_LEVEL": "0"}, "0", marks=pytest.mark.slow)],
)
def test_first_use_in_a_process(level: dict[str, str], kept: str) -> None:
    """Threads are as asked for; TensorFlow's log level is the user's, else it is silent."""
    plain = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", THREADS],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=plain | level,
    )
    assert done.stdout.split() == ["3", "3", kept], done.stderr


BACKEND = """
from netinnet import build, NetinnetError
try:
    build("lenet", framework="tensorflow")
except NetinnetError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("numpy", "Keras runs on numpy here, not on TensorFlow; "),
        pytest.param(
            "openvino",
            "Keras does not import (No module named 'openvino'); ",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("openvino") is not None, reason="OpenVINO is installed"
            ),
        ),
    ],
)
def test_keras_on_another_framework(backend: str, message: str) -> None:
    done = python(BACKEND, KERAS_BACKEND=backend)
    assert done.stdout == (
        message + "set the environment variable KERAS_BACKEND=tensorflow before Keras is imported\n"
    ), done.stderr
