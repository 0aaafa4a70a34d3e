"""The ONNX graph and the predictor compute what the description says."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator
from PIL import Image

import netinnet
from netinnet import frameworks
from netinnet.cli.main import run
from netinnet.errors import FrameworkError, ImageError, ModelError, NetinnetError
from netinnet.export import plain
from netinnet.frameworks.learner import LearnerSettings
from netinnet.inference import class_maps, model_files, onnx_graph
from netinnet.inference.onnx_graph import to_onnx
from netinnet.inference.onnx_layers import MAKERS
from netinnet.inference.predictor import Predictor
from netinnet.networks import zoo
from netinnet.networks.blocks import Block
from netinnet.networks.layers import (
    GELU,
    LAYERS,
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
from netinnet.networks.network import FITS, Network, Preprocessing
from netinnet.networks.variations import is_nin
from netinnet.optimizer import Optimizer
from netinnet.preprocessing import prepare
from netinnet.weights import DIGEST, Model, Weights, initial
from tests.conftest import FRAMEWORK, needs, some_slow

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
    start = x
    for placed in network.placed_layers():
        x = x.reshape(len(x), *placed.input)
        start = x if placed.opens else start
        x = _torch_layer(placed.layer, placed.name, x, model.weights)
        assert x[0].numel() == placed.output.size
        if placed.closes:
            x = x + start.reshape(x.shape)
    return x.reshape(len(x), -1).numpy()


def _torch_layer(layer: Any, name: str, x: torch.Tensor, weights: Weights) -> torch.Tensor:
    def tensor(part: str) -> torch.Tensor | None:
        array = weights.get(f"{name}.{part}")
        return None if array is None else torch.from_numpy(array.astype(np.float64))

    match layer:
        case Conv():
            window = {"stride": layer.stride, "padding": layer.padding, "groups": layer.groups}
            return F.conv2d(x, tensor("weight"), tensor("bias"), **window)
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


@pytest.mark.parametrize("name", some_slow(zoo.ZOO, "vgg11"))  # a quarter of it is there too
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


@pytest.mark.parametrize("name", some_slow(zoo.ZOO, "vgg11"))
def test_graphs_pass_the_full_check(name: str) -> None:
    network = zoo.network(name, image_size=SIZES.get(name))
    proto = onnx.load_model_from_string(to_onnx(_trained(network)))
    onnx.checker.check_model(proto, full_check=True)
    nodes = {node.name for node in proto.graph.node}
    layers = {
        placed.name for placed in network.placed_layers() if not isinstance(placed.layer, Dropout)
    }
    assert layers <= nodes
    # Preprocessing nodes are called input.…; nothing else is in the graph but residual sums.
    sums = {
        f"{block.name}.{part}"
        for block in network.blocks
        for part in ("sum.size", "sum.input", "sum")
        if block.residual
    }
    others = {node for node in nodes - layers if not node.startswith("input.")}
    assert others == {"probabilities"} | sums


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


def _with_block(name: str, fit: str) -> Model:
    """A residual block of that name, and all that a graph makes of its own beside the layers."""
    blocks = (
        Block(name, (Conv(2, 3, 1, 1), GELU(), AvgPool(3, 1, 1, ceil=True)), residual=True),
        Block("last", (GlobalAvgPool(), Linear(3))),
    )
    classes = ("x", "y", "z")
    network = Network("named", Shape(2, 5, 6), blocks, classes, Preprocessing(fit=fit))
    rng = np.random.default_rng(0)  # the same values, whatever the names
    values = {n: rng.normal(0, 1, x.shape) for n, x in initial(network, 0).items()}
    return Model(network, {n: x.astype(np.float32) for n, x in values.items()})


def _graphs(name: str, fit: str) -> list[onnx.GraphProto]:
    model = _with_block(name, fit)
    made = (to_onnx(model, with_features=True), to_onnx(model, prepared=True))
    flat: bytes = plain.graph(model, 1).SerializeToString()
    return [onnx.load_model_from_string(graph).graph for graph in (*made, flat)]


def _words(graph: onnx.GraphProto) -> set[str]:
    """What the names of a graph begin with."""
    values = {name for node in graph.node for name in (node.name, *node.input, *node.output)}
    values |= {tensor.name for tensor in graph.initializer}
    return {name.split(".")[0] for name in values if name}


OUR_WORDS = {
    word for fit in FITS for graph in _graphs("own", fit) for word in _words(graph) - {"own"}
}


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("word", [*sorted(OUR_WORDS - {"last"}), "output", "temperature"])
def test_a_block_may_be_called_as_anything_in_the_graph_is(word: str, fit: str) -> None:
    assert {"input", "logits", "features", "class_maps", "pictures"} <= OUR_WORDS
    for graph in _graphs(word, fit):
        names = [name for node in graph.node for name in node.output]
        names += [value.name for value in (*graph.initializer, *graph.input)]
        assert len(set(names)) == len(names)
    images = _pictures(2, 7, 9, 2)
    found, other = (
        Predictor(_with_block(name, fit), threads=1).logits(images) for name in (word, "own")
    )
    np.testing.assert_array_equal(found, other)


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


def test_the_table_of_layers_is_complete() -> None:
    assert MAKERS.keys() == set(LAYERS.values())


def test_a_layer_that_is_not_in_the_table_is_one_line() -> None:
    class Mish(ReLU):
        pass

    network = zoo.network("nin-small")
    odd = dataclasses.replace(network, blocks=(Block("odd", (Mish(),)), *network.blocks))
    with pytest.raises(ModelError, match=r"^odd\.relu1: no ONNX form of Mish$"):
        to_onnx(_trained(odd))


# --- class maps

NETWORKS = {name: zoo.network(name) for name in zoo.ZOO}
NINS = [n for n, net in NETWORKS.items() if is_nin(net.blocks, len(net.classes))]
PATTERNS = {
    "relu behind the pooling": (Conv(3), GlobalAvgPool(), ReLU(), Flatten()),
    "two linear layers": (Conv(4), GlobalAvgPool(), Flatten(), Linear(4), Linear(3)),
    "dense head": (Conv(4), Flatten(), Linear(3)),
}
POOLED = {
    "linear": (Conv(6, 3), ReLU(), GlobalAvgPool(), Flatten(), Dropout(0.5), Linear(3)),
    "linear without bias": (Conv(6, 3), GlobalAvgPool(), Flatten(), Linear(3, bias=False)),
    "maps": (Conv(6, 3), ReLU(), Conv(3), GlobalAvgPool(), Flatten()),
    "linear without Flatten": (Conv(6, 3), GlobalAvgPool(), Linear(3), Flatten()),
    "pooled twice": (Conv(3), GlobalAvgPool(), Conv(3), GlobalAvgPool()),
    "pooled at once": (GlobalAvgPool(), Flatten(), Linear(3)),
}


def _network(layers: tuple[Any, ...]) -> Network:
    body, head = layers[:2], layers[2:]
    return Network("own", Shape(1, 8, 9), (Block("body", body), Block("head", head)), tuple("abc"))


def _assert_means_are_logits(model: Model, framework: str | None, tolerance: float) -> None:
    shape = model.network.input
    images = _pictures(2, shape.height + 3, shape.width - 2, shape.channels)
    results = Predictor(model, framework=framework).run(images, ("class_maps", "logits"))
    assert list(results) == ["class_maps", "logits"]
    maps, logits = results["class_maps"], results["logits"]
    assert maps.dtype == np.float32
    assert maps.shape[:2] == logits.shape
    means = maps.astype(np.float64).mean((2, 3))
    assert np.abs(means - logits).max() <= tolerance * np.abs(logits).max()
    if framework is not None:
        np.testing.assert_allclose(
            maps, Predictor(model).class_maps(images), atol=1e-4 * np.abs(maps).max()
        )


@pytest.mark.parametrize("name", NINS)
def test_the_mean_of_a_class_map_is_the_logit(name: str) -> None:
    _assert_means_are_logits(_trained(zoo.network(name, image_size=SIZES.get(name))), None, 1e-5)


@pytest.mark.parametrize("name", POOLED)
def test_class_maps_of_other_heads(name: str) -> None:
    _assert_means_are_logits(_trained(_network(POOLED[name])), None, 1e-5)


@pytest.mark.parametrize("name", ["maps", "linear", "linear without bias"])
@pytest.mark.parametrize("framework", list(frameworks.FRAMEWORKS))
def test_class_maps_in_every_framework(framework: str, name: str) -> None:
    if not frameworks.FRAMEWORKS[framework].is_installed:
        pytest.skip(f"{framework} is not installed")
    _assert_means_are_logits(_trained(_network(POOLED[name])), framework, 1e-5)


@pytest.mark.parametrize(
    "head",
    [
        (Block("a", (GlobalAvgPool(),)), Block("b", (Flatten(), Linear(3)), residual=True)),
        (Block("a", (GlobalAvgPool(),)), Block("b", (Dropout(0.5),), residual=True)),
        (Block("a", (GlobalAvgPool(),)), Block("b", (GlobalAvgPool(),), residual=True)),
    ],
)
def test_a_head_whose_input_is_added_has_no_class_maps(head: tuple[Block, ...]) -> None:
    net = Network("own", Shape(1, 8, 9), (Block("body", (Conv(3, 3),)), *head), tuple("abc"))
    assert class_maps.of(net) is None
    plain = dataclasses.replace(net, blocks=tuple(Block(b.name, b.layers) for b in net.blocks))
    assert class_maps.of(plain) is not None


def test_class_maps_are_an_output_of_the_graph() -> None:
    model = _trained(zoo.network("nin-small"))
    graph = ReferenceEvaluator(onnx.load_model_from_string(to_onnx(model)))
    images = _pictures(2, 28, 28, 1)
    (maps,) = graph.run(["class_maps"], {"pictures": images})
    _assert_close(maps, Predictor(model).class_maps(images))


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("framework", [None, FRAMEWORK])
def test_no_class_maps_is_one_line(name: str, framework: str | None) -> None:
    if framework is not None and not frameworks.FRAMEWORKS[framework].is_installed:
        pytest.skip("no framework is installed")
    predictor = Predictor(_trained(_network(PATTERNS[name])), framework=framework)
    with pytest.raises(ModelError, match=r"^own has no class maps: ") as caught:
        predictor.class_maps(_pictures(1, 8, 9, 1))
    assert "\n" not in str(caught.value)


def test_one_call_gives_any_outputs(predictor: Predictor) -> None:
    images = _pictures(3, 28, 28, 1)
    results = predictor.run(images, ("probabilities", "class_maps"), batch_size=2)
    assert list(results) == ["probabilities", "class_maps"]
    np.testing.assert_allclose(results["probabilities"].sum(1), 1, rtol=1e-5)
    assert predictor.run(images[:0], ("class_maps",))["class_maps"].shape == (0, 3, 7, 7)
    with pytest.raises(ModelError, match=r"^no output 'logit'; known are logits, probabilities"):
        predictor.run(images, ("logit",))


# --- arrays and numbers are checked before anything is converted


def test_pictures_in_every_form_are_the_same_picture(predictor: Predictor) -> None:
    grey = _pictures(1, 28, 28, 1)[0]
    expected = predictor.predict(grey)
    assert predictor.predict(grey[..., 0]) == expected
    assert predictor.predict(Image.fromarray(grey[..., 0])) == expected
    assert predictor.predict(Image.fromarray(grey[..., 0]).convert("RGB")) == expected


def test_random_floats_are_no_picture(predictor: Predictor) -> None:
    floats = np.random.default_rng(0).random((28, 28, 3))
    with pytest.raises(ImageError, match=r"\(x \* 255\)\.round\(\)\.astype\('uint8'\)"):
        predictor.predict(floats)
    with pytest.raises(ImageError, match=r"\(x \* 255\)\.round\(\)\.astype\('uint8'\)"):
        predictor.logits(floats[None])
    with pytest.raises(ImageError, match=r"n×height×width×1, got list$"):
        predictor.logits([[1]])


@pytest.mark.parametrize("value", [0, -1, 2.5, "3"])
def test_counts_below_one_are_one_clear_error(predictor: Predictor, value: Any) -> None:
    text = f"must be a whole number of at least 1, got {value}"
    images = _pictures(1, 28, 28, 1)
    with pytest.raises(NetinnetError, match=f"^top {text}$"):
        predictor.predict(images[0], top=value)
    with pytest.raises(NetinnetError, match=f"^batch_size {text}$"):
        predictor.logits(images, batch_size=value)
    with pytest.raises(NetinnetError, match=f"^threads {text}$"):
        Predictor(_trained(zoo.network("nin-small")), threads=value)


# --- reading ONNX files


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Model]:
    model = _trained(zoo.network("nin-small", classes=("naïve", "b", "c")))
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    path.write_bytes(to_onnx(model))
    return path, model


def _assert_same(read: Model, model: Model) -> None:
    assert read.network == model.network
    assert list(read.weights) == list(model.weights)
    for name, array in model.weights.items():
        np.testing.assert_array_equal(read.weights[name], array)
        assert read.weights[name].flags.writeable


def test_an_onnx_file_is_a_model(written: tuple[Path, Model]) -> None:
    path, model = written
    _assert_same(model_files.find(path), model)
    _assert_same(netinnet.load(path), model)
    images = _pictures(2, 28, 28, 1)
    np.testing.assert_array_equal(Predictor(path).logits(images), Predictor(model).logits(images))
    assert to_onnx(model_files.find(path)) == path.read_bytes()


def test_convert_reads_an_onnx_file(written: tuple[Path, Model], tmp_path: Path) -> None:
    assert run(["convert", str(written[0]), str(tmp_path / "a.safetensors")]) == 0
    _assert_same(model_files.find(tmp_path / "a.safetensors"), written[1])


@pytest.mark.parametrize("name", [*POOLED, *PATTERNS])
def test_every_form_is_read_back(tmp_path: Path, name: str) -> None:
    model = _trained(_network((POOLED | PATTERNS)[name]))
    onnx_graph.write(tmp_path / "a.onnx", model)
    _assert_same(model_files.find(tmp_path / "a.onnx"), model)


def test_nothing_in_the_file_is_run(written: tuple[Path, Model], tmp_path: Path) -> None:
    """The graph's nodes may be anything: description and weights alone are read."""
    path, model = written
    proto = _changed(path)
    del proto.graph.node[:]
    proto.graph.node.append(onnx.helper.make_node("Evil", ["pictures"], ["logits"], domain="evil"))
    (tmp_path / "evil.onnx").write_bytes(proto.SerializeToString())
    _assert_same(model_files.find(tmp_path / "evil.onnx"), model)


def _changed(path: Path) -> onnx.ModelProto:
    """The graph in a file, without the digest: so that it can be changed on purpose."""
    proto = onnx.load(path)
    assert proto.metadata_props.pop().key == DIGEST
    return proto


def _tensor(proto: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in proto.graph.initializer if tensor.name == name)


def _outside(proto: onnx.ModelProto) -> None:
    tensor = _tensor(proto, "block1.conv1.weight")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def _metadata(proto: onnx.ModelProto, key: str, change: Callable[[str], str]) -> None:
    for entry in proto.metadata_props:
        if entry.key == key:
            entry.value = change(entry.value)


CHANGES: dict[str, tuple[Callable[[onnx.ModelProto], object], str]] = {
    "foreign": (lambda p: p.ClearField("metadata_props"), "not an ONNX file that nin wrote"),
    "no JSON": (lambda p: _metadata(p, "network", lambda _: "{"), "not a network description"),
    "another network": (
        lambda p: _metadata(p, "network", lambda v: v.replace('"kernel":3', '"kernel":5', 1)),
        "tensor block1.conv1.weight should have shape (48, 1, 5, 5), has (48, 1, 3, 3)",
    ),
    "other classes": (
        lambda p: _metadata(p, "classes", lambda _: '["x", "b", "c"]'),
        "its list of classes is not its network's",
    ),
    "external data": (_outside, "cannot reshape array of size 0"),
    "dims": (lambda p: _tensor(p, "block1.conv1.weight").dims.append(2), "cannot reshape"),
    "truncated": (
        lambda p: setattr(_tensor(p, "block1.norm1.bias"), "raw_data", b"\0" * 7),
        "buffer size must be a multiple of element size",
    ),
    "transposed": (
        lambda p: _tensor(p, "block1.conv2.weight").dims.reverse(),
        "tensor block1.conv2.weight should have shape",
    ),
    "integers": (
        lambda p: setattr(_tensor(p, "block1.conv1.weight"), "data_type", onnx.TensorProto.INT32),
        "tensor block1.conv1.weight is missing",
    ),
    "missing": (
        lambda p: p.graph.initializer.remove(_tensor(p, "block2.norm1.bias")),
        "tensor block2.norm1.bias is missing",
    ),
    "one more": (
        lambda p: p.graph.initializer.append(
            onnx.numpy_helper.from_array(np.zeros(3, np.float32), "extra.weight")
        ),
        "tensor extra.weight is not part of network nin-small",
    ),
    "NaN": (
        lambda p: setattr(_tensor(p, "block1.norm1.bias"), "raw_data", b"\xff" * 192),
        "tensor block1.norm1.bias has values that are not float32 numbers",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_onnx_file_is_refused_in_one_line(
    written: tuple[Path, Model], tmp_path: Path, change: str
) -> None:
    apply, message = CHANGES[change]
    proto = _changed(written[0])
    apply(proto)
    path = tmp_path / "changed.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError) as caught:
        model_files.find(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_onnx_file_is_the_same_network_or_one_line(
    written: tuple[Path, Model], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(written[0].read_bytes())
    # The structure is at both ends; in between are weights.
    places = st.integers(0, 3000) | st.integers(len(content) - 6000, len(content) - 1)
    for place in data.draw(st.lists(places, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.none() | st.integers(0, len(content)))
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(content[:cut])
    message = f"{path}: "
    try:
        assert isinstance(model_files.find(path), Model)
    except ModelError as error:
        message = str(error)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


# --- more weights than ONNX holds


def test_a_model_too_large_for_onnx_says_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _trained(zoo.network("nin-small"))
    assert onnx_graph.too_large(model.network) is None
    assert (
        onnx_graph.too_large(zoo.network("alexnet", width=4))
        == "weights of 2.8 GiB exceed ONNX's 2 GiB"
    )
    monkeypatch.setattr(onnx_graph, "LARGEST_FILE", 1000)
    with pytest.raises(ModelError, match=r"exceed ONNX's 2 GiB; use a smaller input"):
        to_onnx(model)
    with pytest.raises(ModelError, match="exceed ONNX's 2 GiB; name a framework: --framework"):
        Predictor(model)
    if frameworks.FRAMEWORKS[FRAMEWORK].is_installed:
        assert Predictor(model, framework=FRAMEWORK).predict(_pictures(1, 28, 28, 1)[0])
