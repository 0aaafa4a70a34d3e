"""One battery over every layer: shapes, counts, JSON, ONNX, and gradients in each framework."""

from __future__ import annotations

import importlib
import importlib.util
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netinnet import frameworks, weights
from netinnet.errors import FrameworkError, NetworkError
from netinnet.frameworks import FRAMEWORKS
from netinnet.frameworks.learner import LearnerSettings
from netinnet.inference import oracle
from netinnet.metrics import cross_entropy
from netinnet.networks import layers as vocabulary
from netinnet.networks.blocks import Block, nin_block
from netinnet.networks.layers import (
    GELU,
    LAYERS,
    AvgPool,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    LeakyReLU,
    Linear,
    MaxPool,
    ReLU,
    Shape,
    Sigmoid,
)
from netinnet.networks.network import Network
from netinnet.optimizer import Optimizer
from tests.conftest import needs

INSTALLED = [name for name, found in FRAMEWORKS.items() if found.is_installed]
MAP = Shape(4, 7, 6)
SAMPLES: dict[str, Layer] = {
    "conv": Conv(6, 3, 2, 1),
    "conv 1×1 without bias": Conv(5, bias=False),
    "conv same": Conv(3, 5, 1, 2),
    "conv in groups": Conv(6, 3, 2, 1, groups=2),
    "conv by channel": Conv(8, 3, 1, 1, bias=False, groups=4),
    "conv same, strided": Conv(6, 4, 3, same=True),
    "conv same, by itself": Conv(6, 3, 1, same=True),
    "batch norm": BatchNorm(0.01, 0.2),
    "relu": ReLU(),
    "leaky relu": LeakyReLU(0.2),
    "gelu": GELU(),
    "sigmoid": Sigmoid(),
    "max pool": MaxPool(3, 2),
    "max pool padded": MaxPool(3, 2, 1),
    "average pool": AvgPool(2, 2),
    "average pool padded": AvgPool(3, 2, 1),
    "max pool rounded up": MaxPool(2, 2, ceil=True),
    "max pool padded, rounded up": MaxPool(3, 3, 1, ceil=True),
    "average pool rounded up": AvgPool(3, 2, ceil=True),
    "average pool padded, rounded up": AvgPool(4, 3, 2, ceil=True),
    "max pool same": MaxPool(3, 2, same=True),
    "average pool same": AvgPool(3, 2, same=True),
    "average pool same, wide": AvgPool(5, 3, same=True),
    "global average pool": GlobalAvgPool(),
    "dropout": Dropout(0.5),
    "flatten": Flatten(),
    "linear": Linear(5),
    "linear without bias": Linear(5, bias=False),
}
TABLES = {
    "pytorch": (("pytorch_model", "MODULES"), ("pytorch_learner", "MODULES")),
    "tensorflow": (("tensorflow_model", "LAYERS"), ("tensorflow_layers", "OPERATIONS")),
    "jax": (("jax_model", "MODULES"), ("jax_layers", "MODULES")),
    "mxnet": (("mxnet_model", "MODULES"),),
}
each_sample = pytest.mark.parametrize("layer", SAMPLES.values(), ids=SAMPLES)


def network(layer: Layer) -> Network:
    """The layer between a convolution, whose gradient goes through it, and a linear layer."""
    before: tuple[Layer, ...] = (Conv(MAP.channels),)
    if layer.takes == "flat":
        before = (*before, Flatten())
    blocks = (Block("a", before), Block("b", (layer,)), Block("c", (Flatten(), Linear(3))))
    return Network("sample", MAP, blocks, ("x", "y", "z"))


def drawn(net: Network) -> weights.Weights:
    """Weights of which none is 0 or 1, and variances are above 0."""
    made = {}
    for name, shape in weights.shapes(net).items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        low = 0.5 if name.endswith("running_var") else -0.6
        made[name] = rng.uniform(low, 1.1, shape).astype(np.float32)
    return made


def pictures(count: int = 5) -> np.ndarray:
    size = (count, MAP.height, MAP.width, MAP.channels)
    return np.random.default_rng(0).normal(0, 1, size).astype(np.float32)


def channels_first(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 3, 1, 2).astype(np.float64)


def test_every_layer_has_a_sample() -> None:
    assert {type(layer) for layer in SAMPLES.values()} == set(LAYERS.values())


@pytest.mark.parametrize("framework", INSTALLED)
def test_every_table_is_complete(framework: str) -> None:
    for module, table in TABLES[framework]:
        entries = getattr(importlib.import_module(f"netinnet.frameworks.{module}"), table)
        assert set(LAYERS.values()) <= set(entries), module


def test_the_oracle_and_onnx_are_complete() -> None:
    from netinnet.inference import onnx_layers

    assert set(oracle.OPERATIONS) == set(LAYERS.values())
    assert set(onnx_layers.MAKERS) == set(LAYERS.values())


def test_a_layer_without_an_entry_is_named() -> None:
    class Swish(Layer):
        pass

    with pytest.raises(FrameworkError, match=r"^the NumPy oracle has no Swish layer$"):
        vocabulary.maker(oracle.OPERATIONS, Swish(), "the NumPy oracle")


@each_sample
def test_shape_is_what_is_computed(layer: Layer) -> None:
    flat = layer.takes == "flat"
    shape = Shape(MAP.size, 1, 1) if flat else MAP
    own = {t.name: np.ones(t.shape) for t in layer.tensors(shape)}
    x = np.ones((2, MAP.size)) if flat else np.ones((2, *MAP))
    y = oracle.OPERATIONS[type(layer)](layer, own, x)
    assert y[0].size == layer.output(shape).size
    assert y.reshape(2, *layer.output(shape)).shape == (2, *layer.output(shape))


@each_sample
def test_json_round_trip(layer: Layer) -> None:
    net = network(layer)
    assert Network.from_json(net.to_json()) == net


@each_sample
def test_words_are_words(layer: Layer) -> None:
    words = layer.describe()
    assert words
    assert "(" not in words


@each_sample
def test_what_is_said_to_be_monotone_is(layer: Layer) -> None:
    if layer.is_monotone:
        x = np.linspace(-4, 4, 41).reshape(1, 41, 1, 1)
        assert (np.diff(oracle.OPERATIONS[type(layer)](layer, {}, x), axis=1) >= 0).all()


@pytest.mark.parametrize("slope", [-0.1, 1.0, math.nan])
def test_a_slope_that_is_none_is_refused(slope: float) -> None:
    with pytest.raises(NetworkError, match=r"^LeakyReLU: slope must be in \[0, 1\), got "):
        LeakyReLU(slope)


@needs("pytorch")
@each_sample
def test_counts_are_those_of_pytorch(layer: Layer) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    net = network(layer)
    model = frameworks.adapter("pytorch").build(net, drawn(net)).eval()
    placed = next(p for p in net.placed_layers() if p.block == "b")
    trained = sum(p.numel() for p in model.b.parameters())
    assert trained == layer.parameters(placed.input)
    assert trained == sum(math.prod(t.shape) for t in layer.tensors(placed.input) if t.is_trained)
    import torch

    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *MAP))
    assert counter.get_total_flops() == 2 * sum(p.layer.macs(p.input) for p in net.placed_layers())


@each_sample
def test_onnx_computes_the_same(layer: Layer, tmp_path: Path) -> None:
    check_onnx(network(layer), tmp_path)


def check_onnx(net: Network, tmp_path: Path) -> None:
    """ONNX's own evaluator, onnxruntime and the oracle agree; the file is read back."""
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    from netinnet.inference import model_files
    from netinnet.inference.onnx_graph import INPUT, LOGITS, to_onnx
    from netinnet.inference.predictor import Predictor
    from netinnet.preprocessing import prepare

    images = np.random.default_rng(0).integers(0, 256, (3, 7, 6, 4), np.uint8)
    model = weights.Model(net, drawn(net))
    graph = to_onnx(model)
    (result,) = ReferenceEvaluator(onnx.load_from_string(graph)).run([LOGITS], {INPUT: images})
    prepared = prepare(images, net.input, net.preprocessing)
    expected = oracle.logits(net, model.weights, channels_first(prepared))
    assert_close(result, expected)
    (tmp_path / "model.onnx").write_bytes(graph)
    read_back = model_files.find(tmp_path / "model.onnx")
    assert read_back.network == net
    assert {n: w.tolist() for n, w in read_back.weights.items()} == {
        n: w.tolist() for n, w in model.weights.items()
    }
    if importlib.util.find_spec("onnxruntime"):
        assert_close(Predictor(model, threads=1).logits(images), expected)


@pytest.mark.parametrize("framework", INSTALLED)
@each_sample
def test_parity_and_gradients(
    framework: str, layer: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_framework(framework, network(layer), monkeypatch)


def check_framework(framework: str, net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits of the learner and the native model; the gradient against the oracle's slope."""
    from tests.parity import native

    images = pictures()
    values, labels = drawn(net), np.array([0, 1, 2, 1, 0])
    adapter = frameworks.adapter(framework)
    expected = oracle.logits(net, values, channels_first(images))
    learner = adapter.learner(LearnerSettings(net, Optimizer(), net.input), values)
    assert_close(learner.logits(images), expected)
    assert_close(native(framework, adapter.build(net, values), images), expected)
    if any(isinstance(p.layer, Dropout) and p.layer.rate for p in net.placed_layers()):
        return  # what it lets through in training is the framework's own draw
    monkeypatch.setitem(oracle.OPERATIONS, BatchNorm, with_batch_statistics)
    learner.step(images, labels, 1.0, 1, 0)
    gradient = {name: values[name] - after for name, after in learner.weights().items()}
    rng = np.random.default_rng(3)
    for name, tensor in weights.tensors(net).items():
        if not tensor.is_trained:
            continue
        direction = rng.normal(0, 1, tensor.shape)
        slope = (
            loss(net, values, name, 1e-6 * direction, images, labels)
            - loss(net, values, name, -1e-6 * direction, images, labels)
        ) / 2e-6
        size = np.linalg.norm(gradient[name]) * np.linalg.norm(direction) + 1e-2
        assert abs(slope - (gradient[name] * direction).sum()) < 1e-4 * size, name


def with_batch_statistics(layer: BatchNorm, own: Any, x: np.ndarray) -> np.ndarray:
    """Batch norm in training: the statistics are the batch's own."""
    mean, variance = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    normal = (x - mean) / np.sqrt(variance + layer.epsilon)
    return normal * own["weight"][:, None, None] + own["bias"][:, None, None]


def loss(
    net: Network,
    values: weights.Weights,
    name: str,
    change: np.ndarray,
    images: np.ndarray,
    labels: np.ndarray,
) -> float:
    changed: dict[str, Any] = {**values, name: values[name].astype(np.float64) + change}
    return float(cross_entropy(oracle.logits(net, changed, channels_first(images)), labels).mean())


def assert_close(result: np.ndarray, expected: np.ndarray) -> None:
    assert result.shape == expected.shape
    assert np.abs(result - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("framework", INSTALLED)
def test_maps_and_vectors_turn_into_each_other(framework: str) -> None:
    """A description may go from features to n×1×1 and back without saying so."""
    from tests.parity import native

    blocks = (
        Block("a", (Conv(4, 3), AvgPool(3, 2, 1), GlobalAvgPool(), Linear(6, bias=False))),
        Block("b", (Sigmoid(), Conv(5), BatchNorm(0.1), MaxPool(1, 1), Dropout(0.5))),
        Block("c", (Flatten(), BatchNorm(), Flatten(), Conv(3), GlobalAvgPool(), Dropout(0.1))),
    )
    net = Network("mixed", MAP, blocks, ("x", "y", "z"))
    values, images = drawn(net), pictures()
    expected = oracle.logits(net, values, channels_first(images))
    adapter = frameworks.adapter(framework)
    learner = adapter.learner(LearnerSettings(net, Optimizer(), net.input), values)
    assert_close(learner.logits(images), expected)
    assert_close(native(framework, adapter.build(net, values), images), expected)
    learner.step(images, np.array([0, 1, 2, 1, 0]), 0.1, 1, 0)


RESIDUAL: dict[str, tuple[Block, ...]] = {
    "nin": (nin_block(4, 3, padding=1, name="b", residual=True),),
    "batch norm": (nin_block(4, 3, padding=1, name="b", norm=True, bias=False, residual=True),),
    "begins with what works in place": (Block("b", (ReLU(), Conv(4, 3, 1, 1)), residual=True),),
    "in place behind what makes no copy": (
        Block("a2", (Sigmoid(),)),
        Block("b", (Dropout(0.0), LeakyReLU(), ReLU(), Conv(4)), residual=True),
    ),
    "an activation before a pool inside": (
        Block("b", (ReLU(), MaxPool(3, 1, 1), Conv(4), ReLU()), residual=True),
        Block("pool", (MaxPool(2, 2),)),
    ),
    "an activation before a block that pools": (
        Block("a2", (ReLU(),)),
        Block("b", (MaxPool(3, 1, 1),), residual=True),
    ),
    "two, one behind the other": (
        Block("b", (Conv(4),), residual=True),
        Block("b2", (Conv(4, bias=False), ReLU()), residual=True),
        Block("b3", (ReLU(), Conv(4, 3))),
    ),
    "vectors of maps": (Block("b", (GlobalAvgPool(),)), Block("b2", (Linear(4),), residual=True)),
    "maps of vectors": (
        Block("b", (GlobalAvgPool(), Flatten())),
        Block("b2", (Conv(4), ReLU()), residual=True),
        Block("b3", (Flatten(), Linear(4), ReLU()), residual=True),
    ),
}
each_residual = pytest.mark.parametrize("case", RESIDUAL)


def residual(case: str) -> Network:
    blocks = (Block("a", (Conv(4),)), *RESIDUAL[case], Block("z", (Flatten(), Linear(3))))
    return Network("residual", MAP, blocks, ("x", "y", "z"))


@each_residual
def test_residual_blocks_add_their_input(case: str) -> None:
    net = residual(case)
    assert Network.from_json(net.to_json()) == net
    x: np.ndarray = pictures().transpose(0, 3, 1, 2).astype(np.float64)
    values = drawn(net)
    for block in net.blocks:
        y = x
        for p in (p for p in net.placed_layers() if p.block == block.name):
            own = {t.name: values[f"{p.name}.{t.name}"] for t in p.layer.tensors(p.input)}
            y = oracle.OPERATIONS[type(p.layer)](p.layer, own, y.reshape(len(y), *p.input))
        x = y + x.reshape(y.shape) if block.residual else y
    assert_close(oracle.logits(net, values, channels_first(pictures())), x.reshape(len(x), -1))


@each_residual
def test_residual_blocks_in_onnx(case: str, tmp_path: Path) -> None:
    check_onnx(residual(case), tmp_path)


@pytest.mark.parametrize("framework", INSTALLED)
@each_residual
def test_residual_blocks_in_every_framework(
    framework: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_framework(framework, residual(case), monkeypatch)


@pytest.mark.parametrize("framework", INSTALLED)
def test_batch_norm_behind_a_flatten(framework: str) -> None:
    """Where channels come last, its vectors are in another order."""
    blocks = (Block("a", (Flatten(), BatchNorm(), Linear(3))),)
    net = Network("flat", MAP, blocks, ("x", "y", "z"))
    values, images = drawn(net), pictures()
    expected = oracle.logits(net, values, channels_first(images))
    learner = frameworks.adapter(framework).learner(LearnerSettings(net, Optimizer(), MAP), values)
    assert np.abs(learner.logits(images) - expected).max() <= 1e-5 * np.abs(expected).max()
    assert all(np.array_equal(learner.weights()[name], value) for name, value in values.items())
