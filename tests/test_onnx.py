"""The ONNX graph and the predictor compute what the description says."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from netinnet import frameworks
from netinnet.errors import FrameworkError, ImageError, ModelError
from netinnet.frameworks.learner import LearnerSettings
from netinnet.inference.onnx_graph import to_onnx
from netinnet.inference.predictor import Predictor
from netinnet.networks import zoo
from netinnet.networks.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool,
    ReLU,
    Shape,
    Sigmoid,
)
from netinnet.networks.network import Block, Network, Preprocessing
from netinnet.optimizer import Optimizer
from netinnet.preprocessing import prepare
from netinnet.weights import Model, Weights, initial
from tests.conftest import FRAMEWORK, needs

# The smallest input that each network takes, where its own would be slow.
SIZES = {"nin": 67, "nin-imagenet": 67, "alexnet": 65, "vgg11": 32, "vgg11-quarter": 32}


def _trained(network: Network) -> Model:
    """A model whose batch norms and biases are not the trivial ones of the initialisation."""
    rng = np.random.default_rng(5)
    weights = initial(network, seed=3)
    for name, tensor in weights.items():
        if tensor.ndim == 1:
            low = 0.5 if name.endswith((".running_var", "norm1.weight", "norm2.weight")) else -0.1
            weights[name] = rng.uniform(low, low + 1, tensor.shape).astype(np.float32)
    return Model(network, weights)


def _pictures(count: int, height: int, width: int, channels: int) -> np.ndarray:
    rng = np.random.default_rng(height * 1000 + width)
    return rng.integers(0, 256, (count, height, width, channels), dtype=np.uint8)


if frameworks.FRAMEWORKS["pytorch"].is_installed:
    import torch
    from torch.nn import functional as F


def _expected_logits(model: Model, images: np.ndarray) -> np.ndarray:
    """In float64 where PyTorch is, else those of the framework that is."""
    if frameworks.FRAMEWORKS["pytorch"].is_installed:
        return _torch_logits(model, images)
    network = model.network
    settings = LearnerSettings(network, Optimizer(), network.input)
    learner = frameworks.adapter(FRAMEWORK).learner(settings, model.weights)
    return learner.logits(prepare(images, network.input, network.preprocessing))


def _torch_logits(model: Model, images: np.ndarray) -> np.ndarray:
    """The description evaluated layer by layer with torch.nn.functional, in float64."""
    network = model.network
    prepared = prepare(images, network.input, network.preprocessing)
    x = torch.from_numpy(prepared.transpose(0, 3, 1, 2).astype(np.float64))
    for name, _, layer, shape, output in network.placed_layers():
        x = _torch_layer(layer, name, x.reshape(len(x), *shape), model.weights)
        assert x[0].numel() == output.size
    return x.reshape(len(x), -1).numpy()


def _torch_layer(layer: Any, name: str, x: torch.Tensor, weights: Weights) -> torch.Tensor:
    def tensor(part: str) -> torch.Tensor | None:
        array = weights.get(f"{name}.{part}")
        return None if array is None else torch.from_numpy(array.astype(np.float64))

    match layer:
        case Conv():
            return F.conv2d(x, tensor("weight"), tensor("bias"), layer.stride, layer.padding)
        case Linear():
            return F.linear(x.flatten(1), tensor("weight"), tensor("bias"))
        case BatchNorm():
            return F.batch_norm(
                x,
                tensor("running_mean"),
                tensor("running_var"),
                tensor("weight"),
                tensor("bias"),
                eps=layer.epsilon,
            )
        case ReLU():
            return F.relu(x)
        case Sigmoid():
            return torch.sigmoid(x)
        case MaxPool():
            return F.max_pool2d(x, layer.kernel, layer.stride, layer.padding)
        case AvgPool():
            return F.avg_pool2d(x, layer.kernel, layer.stride, layer.padding)
        case GlobalAvgPool():
            return x.mean((2, 3), keepdim=True)
        case Flatten():
            return x.flatten(1)
    assert isinstance(layer, Dropout)
    return x


def _assert_close(got: np.ndarray, want: np.ndarray) -> None:
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


@pytest.mark.parametrize("name", zoo.ZOO)
def test_every_zoo_network_gives_the_logits_of_its_description(name: str) -> None:
    network = zoo.network(name, image_size=SIZES.get(name), logits_relu=None)
    model = _trained(dataclasses.replace(network, preprocessing=Preprocessing((0.3,), (0.4,))))
    images = _pictures(2, network.input.height, network.input.width, network.input.channels)
    want = _expected_logits(model, images)
    assert np.abs(want).max() > 0
    predictor = Predictor(model, threads=1)
    _assert_close(predictor.logits(images), want)
    softmax = np.exp(want - want.max(axis=1, keepdims=True))
    softmax /= softmax.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(predictor.probabilities(images), softmax, atol=1e-4)


@pytest.mark.parametrize("name", ["nin", "nin-small", "nin-mnist", "lenet", "vgg11-quarter"])
def test_the_reference_evaluator_agrees(name: str) -> None:
    model = _trained(zoo.network(name, image_size=SIZES.get(name)))
    shape = model.network.input
    images = _pictures(1, shape.height + 5, shape.width - 2, shape.channels)
    reference = ReferenceEvaluator(onnx.load_model_from_string(to_onnx(model)))
    (logits,) = reference.run(["logits"], {"pictures": images})
    _assert_close(logits, _expected_logits(model, images))


@pytest.mark.parametrize("name", zoo.ZOO)
def test_graphs_pass_the_full_check(name: str) -> None:
    network = zoo.network(name, image_size=SIZES.get(name))
    proto = onnx.load_model_from_string(to_onnx(_trained(network)))
    onnx.checker.check_model(proto, full_check=True)
    nodes = {node.name for node in proto.graph.node}
    layers = {
        placed.name for placed in network.placed_layers() if not isinstance(placed.layer, Dropout)
    }
    assert layers <= nodes
    # Preprocessing nodes are called input.…; nothing else is in the graph.
    assert {node for node in nodes - layers if not node.startswith("input.")} == {"probabilities"}


def _only_preprocessing(shape: Shape, preprocessing: Preprocessing) -> Model:
    """A network whose logits are its preprocessed input."""
    network = Network(
        "input",
        shape,
        (Block("head", (Flatten(),)),),
        tuple(str(i) for i in range(shape.size)),
        preprocessing,
    )
    return Model(network, {})


@pytest.mark.parametrize(
    ("source", "target", "channels"),
    [
        ((224, 224), (28, 28), 1),
        ((28, 28), (224, 224), 1),
        ((28, 28), (28, 28), 3),
        ((33, 57), (28, 40), 3),
        ((301, 17), (28, 29), 1),
        ((1, 1), (5, 5), 1),
        ((5, 1), (1, 5), 3),
        ((1000, 3), (7, 7), 1),
    ],
    ids=str,
)
@pytest.mark.parametrize("runtime", ["onnxruntime", "reference"])
def test_resizing_is_the_definition_of_preprocessing(
    runtime: str, source: tuple[int, int], target: tuple[int, int], channels: int
) -> None:
    means = (0.4914, 0.4822, 0.4465)[:channels]
    stds = (0.2470, 0.2435, 0.2616)[:channels]
    shape = Shape(channels, *target)
    model = _only_preprocessing(shape, Preprocessing(means, stds))
    images = _pictures(2, *source, channels)
    if runtime == "onnxruntime":
        got = Predictor(model, threads=1).logits(images)
    else:
        proto = onnx.load_model_from_string(to_onnx(model))
        (got,) = ReferenceEvaluator(proto).run(["logits"], {"pictures": images})
    want = prepare(images, shape, model.network.preprocessing).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(got, want.reshape(2, -1), atol=2e-6)


@needs("pytorch")
def test_layers_between_flat_and_mapped_values() -> None:
    """A description may go from features to n×1×1 and back without saying so."""
    blocks = (
        Block("a", (Conv(4, 3), AvgPool(3, 2, 1), GlobalAvgPool(), Linear(6, bias=False))),
        Block("b", (Sigmoid(), Conv(5), BatchNorm(0.1), MaxPool(1, 1), Dropout(0.5))),
        Block("c", (Flatten(), BatchNorm(), Flatten(), Conv(3), GlobalAvgPool(), Dropout(0.1))),
    )
    model = _trained(Network("mixed", Shape(2, 9, 8), blocks, ("x", "y", "z")))
    images = _pictures(3, 9, 8, 2)
    _assert_close(Predictor(model, threads=1).logits(images), _torch_logits(model, images))


def test_metadata_holds_network_and_classes() -> None:
    names = ("naïve", "T-shirt/top", "<b>")
    network = zoo.network("nin-small", classes=names)
    model = _trained(network)
    proto = onnx.load_model_from_string(to_onnx(model))
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert tuple(json.loads(metadata["classes"])) == names
    assert Network.from_json(metadata["network"]) == network
    assert to_onnx(model) == to_onnx(model)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(_trained(zoo.network("nin-small", classes=("a", "b", "c"))), threads=1)


def test_batch_size_does_not_change_the_logits(predictor: Predictor) -> None:
    images = _pictures(7, 28, 28, 1)
    whole = predictor.logits(images)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(predictor.logits(images, batch_size=3), whole, rtol=1e-5)
    assert predictor.logits(images[:0]).shape == (0, 3)
    # Views with negative strides are pictures too.
    np.testing.assert_allclose(predictor.logits(images[::-1]), whole[::-1], rtol=1e-5)


def test_predict_names_the_most_probable_classes(predictor: Predictor) -> None:
    pytest.importorskip("netinnet.data.pictures")
    picture = _pictures(1, 40, 31, 1)[0]
    found = predictor.predict(picture, top=9)
    probabilities = predictor.probabilities(picture[None])[0]
    assert [p.name for p in found] == ["abc"[i] for i in np.argsort(-probabilities)]
    assert sum(p.probability for p in found) == pytest.approx(1, abs=1e-5)
    assert predictor.predict(picture, top=2) == found[:2]
    colour = np.repeat(picture, 3, axis=2)
    assert predictor.predict(colour, top=1)[0].name == found[0].name


def test_wrong_pictures_are_refused_with_what_would_be_right(predictor: Predictor) -> None:
    with pytest.raises(ImageError, match=r"takes uint8 pictures n×height×width×1, got uint8 2×9×"):
        predictor.logits(_pictures(2, 9, 9, 3))
    with pytest.raises(ImageError, match="got float32"):
        predictor.logits(_pictures(2, 9, 9, 1).astype(np.float32))
    with pytest.raises(ImageError, match="without pixels: 0×9"):
        predictor.logits(np.zeros((2, 0, 9, 1), np.uint8))


def test_no_onnxruntime_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(FrameworkError, match="pip install 'onnxruntime"):
        Predictor(_trained(zoo.network("nin-small")))


def test_a_missing_tensor_is_named() -> None:
    model = _trained(zoo.network("nin-small"))
    fewer = {k: v for k, v in model.weights.items() if k != "block1.conv1.weight"}
    with pytest.raises(ModelError, match=r"tensor block1\.conv1\.weight is missing"):
        to_onnx(dataclasses.replace(model, weights=fewer))


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    Predictor(_trained(zoo.network("lenet")), threads=1).logits(_pictures(1, 28, 28, 1))
    assert capfd.readouterr() == ("", "")
