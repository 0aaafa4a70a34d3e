"""`nin export`: what is written is the network, is as small as promised, and nothing is lost."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from onnx.reference import ReferenceEvaluator
from PIL import Image

import netinnet
from netinnet import weights
from netinnet.data import datasets, source
from netinnet.errors import ModelError, NetinnetError
from netinnet.export import at_hand, card, check, plain, quantise, writing
from netinnet.export.folding import folded
from netinnet.export.options import Exported, Options
from netinnet.inference import model_files, onnx_graph, oracle
from netinnet.networks import zoo
from netinnet.networks.blocks import Block
from netinnet.networks.layers import BatchNorm, Conv, GlobalAvgPool, MaxPool, ReLU, Shape
from netinnet.networks.network import Network, Preprocessing
from netinnet.weights import Model
from tests import strategies
from tests.conftest import needs, nin
from tests.parity import drawn

SMALL_INPUTS = {"nin": 67, "nin-imagenet": 67, "alexnet": 65, "vgg11": 32, "vgg11-quarter": 32}
LARGE = ("nin", "nin-imagenet", "alexnet", "vgg11", "vgg11-quarter", "nin-svhn", "nin-cifar100")
SIMPLE = {
    *("Conv", "BatchNormalization", "Relu", "LeakyRelu", "Sigmoid", "Mul", "Div", "Add", "MaxPool"),
    *("AveragePool", "GlobalAveragePool", "Flatten", "Gemm", "Softmax", "Constant"),
    *("Reshape", "Unsqueeze"),
}
each_zoo_network = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in zoo.ZOO]
)


def model_of(name: str) -> Model:
    network = zoo.network(name, image_size=SMALL_INPUTS.get(name), logits_relu=None)
    return Model(network, drawn(network))


def inputs(shape: Shape, count: int) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(count, *shape)).astype(np.float32)


def is_rounding(got: np.ndarray, want: np.ndarray) -> bool:
    """Up to 1e-5 of the largest logit; where sums cancel to almost nothing, of a tenth."""
    return bool(np.abs(got - want).max() <= 1e-5 * max(np.abs(want).max(), 0.1))


def by_onnxruntime(proto: onnx.ModelProto, feed: dict[str, Any], output: str = "logits") -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run([output], feed)[0]


def metadata_of(path: Path) -> dict[str, str]:
    proto = onnx.load_model(path)
    return {entry.key: entry.value for entry in proto.metadata_props}


@pytest.fixture(scope="session")
def clothes() -> datasets.Dataset:
    """Pictures of the shipped model's shape with its classes, light shapes on dark ground."""
    rng = np.random.default_rng(3)
    images = np.zeros((80, 28, 28, 1), np.uint8)
    for i, image in enumerate(images):
        top, left = rng.integers(2, 12, 2)
        image[top : top + 4 + i % 12, left : left + 14] = rng.integers(60, 255)
    labels = np.arange(80) % 10
    classes = netinnet.load().network.classes
    return source.from_arrays(
        "shapes", (images[:60], labels[:60]), (images[60:], labels[60:]), classes=classes
    )


@pytest.fixture
def clothes_folder(clothes: datasets.Dataset, tmp_path: Path) -> Path:
    from netinnet import data

    data.save(clothes, tmp_path / "shapes")
    return tmp_path / "shapes"


# Folding


@settings(max_examples=30)
@given(strategies.networks())
def test_folding_changes_no_logit(network: Network) -> None:
    model = Model(network, drawn(network))
    flat = folded(model)
    weights.check(flat.network, flat.weights, "folded")
    x = inputs(network.input, 2)
    want = oracle.logits(network, model.weights, x)
    assert is_rounding(oracle.logits(flat.network, flat.weights, x), want)


def test_every_batch_norm_behind_a_convolution_is_folded() -> None:
    model = model_of("nin-small")
    assert not any(isinstance(p.layer, BatchNorm) for p in folded(model).network.placed_layers())
    blocks = (
        Block("a", (BatchNorm(), Conv(4, bias=False), BatchNorm(), BatchNorm(), ReLU())),
        Block("b", (BatchNorm(), Conv(3), ReLU(), BatchNorm(), GlobalAvgPool())),
    )
    network = Network("norms", Shape(2, 5, 5), blocks, tuple("abc"))
    left = [p.name for p in folded(Model(network, drawn(network))).network.placed_layers()]
    assert [n for n in left if "norm" in n] == ["a.norm1", "b.norm1", "b.norm2"]


# Plain graphs


@settings(max_examples=20)
@given(strategies.networks())
def test_a_plain_graph_is_the_network(network: Network) -> None:
    model = Model(network, drawn(network))
    proto = plain.graph(model, 2)
    x = inputs(network.input, 2)
    want = oracle.logits(network, model.weights, x)
    assert is_rounding(by_onnxruntime(proto, {"input": x}), want)
    assert {node.op_type for node in proto.graph.node} <= SIMPLE


@each_zoo_network
def test_opencv_computes_plain_graphs(name: str) -> None:
    cv2 = pytest.importorskip("cv2")
    model = model_of(name)
    x = inputs(model.network.input, 2)
    content = plain.graph(model, 2).SerializeToString()
    net = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    net.setInput(x)
    logits, probabilities = net.forward(["logits", "probabilities"])
    want = oracle.logits(model.network, model.weights, x)
    assert check.relative(logits, want) <= 1e-5
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


@settings(max_examples=15)
@given(strategies.networks())
def test_opencv_computes_any_plain_graph(network: Network) -> None:
    cv2 = pytest.importorskip("cv2")
    # OpenCV 5.0 makes infinity of a 1×1 convolution with padding.
    convolutions = [p.layer for p in network.placed_layers() if isinstance(p.layer, Conv)]
    assume(not any(layer.padding >= layer.kernel for layer in convolutions))
    model = Model(network, drawn(network))
    content = plain.graph(model, 1).SerializeToString()
    x = inputs(network.input, 1)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    net.setInput(x)
    want = oracle.logits(network, model.weights, x)
    assert is_rounding(net.forward("logits"), want)


def test_shapes_of_a_plain_graph_are_numbers() -> None:
    proto = plain.graph(netinnet.load(), 5)
    (taken,) = proto.graph.input
    assert [d.dim_value for d in taken.type.tensor_type.shape.dim] == [5, 1, 28, 28]
    for given_out in proto.graph.output:
        assert [d.dim_value for d in given_out.type.tensor_type.shape.dim] == [5, 10]
    assert {n.op_type for n in proto.graph.node} == {
        *("Conv", "Relu", "MaxPool", "GlobalAveragePool", "Flatten", "Constant", "Div", "Softmax")
    }


def test_probabilities_of_a_plain_graph_are_calibrated() -> None:
    model = netinnet.load()
    x = inputs(model.network.input, 1)
    logits = by_onnxruntime(plain.graph(model, 1), {"input": x})
    found = by_onnxruntime(plain.graph(model, 1), {"input": x}, "probabilities")
    scaled = np.exp(logits / np.float32(model.calibration.temperature))
    np.testing.assert_allclose(found, scaled / scaled.sum(), rtol=1e-4)


# Smaller numbers


def test_float16_weights_are_computed_with_in_float32() -> None:
    model = netinnet.load()
    proto = onnx.load_model_from_string(onnx_graph.to_onnx(model))
    quantise.halve(proto, model.network)
    onnx.checker.check_model(proto, full_check=True)
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 31, 1), dtype=np.uint8)
    rounded = {
        name: array.astype(np.float16).astype(np.float32) if array.ndim > 1 else array
        for name, array in model.weights.items()
    }
    engine = check.onnx_engine(
        onnx_graph.to_onnx(dataclasses.replace(model, weights=rounded)), model.network, None
    )
    for run in (by_onnxruntime, reference):
        got = run(proto, {"pictures": images})
        assert check.relative(got, engine(images)) <= 1e-5


def reference(proto: onnx.ModelProto, feed: dict[str, Any]) -> Any:
    return ReferenceEvaluator(proto).run(["logits"], feed)[0]


def test_a_weight_beyond_float16_is_named() -> None:
    model = model_of("lenet")
    large = {name: 1e6 * array for name, array in model.weights.items()}
    proto = onnx.load_model_from_string(
        onnx_graph.to_onnx(dataclasses.replace(model, weights=large))
    )
    with pytest.raises(ModelError, match=r"block1\.conv1\.weight: a weight of .* beyond float16"):
        quantise.halve(proto, model.network)


@settings(max_examples=8)
@given(strategies.networks())
def test_any_network_can_be_quantised(network: Network) -> None:
    flat = folded(Model(network, drawn(network)))
    images = [
        np.random.default_rng(i).integers(
            0, 256, (1, *network.input[1:], network.input[0]), np.uint8
        )
        for i in range(3)
    ]
    proto = onnx.load_model_from_string(onnx_graph.to_onnx(flat))
    proto = quantise.in_eight_bits(proto, flat.network, images)
    onnx.checker.check_model(proto, full_check=True)
    logits = by_onnxruntime(proto, {"pictures": images[0]})
    assert logits.shape == (1, len(network.classes))
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("is_plain", [False, True])
@pytest.mark.parametrize(("precision", "share"), [("float16", 0.55), ("int8", 0.35)])
def test_sizes_and_losses(
    precision: str, share: float, is_plain: bool, clothes_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "small.onnx"
    options = Options(
        precision=precision, plain=is_plain, calibrate=str(clothes_folder), licence="CC0-1.0"
    )
    done = writing.export(None, path, options)
    float32 = writing.export(
        None, tmp_path / "large.onnx", Options(plain=is_plain, licence="CC0-1.0")
    )
    assert done.size == path.stat().st_size
    assert done.float32_size == float32.size == (tmp_path / "large.onnx").stat().st_size
    assert done.size <= share * float32.size
    assert done.loss is not None
    assert done.loss.measured_on == "20 test pictures of shapes"
    before, after = done.loss.accuracy or (0.0, 1.0)
    assert abs(before - after) <= 0.1
    assert done.loss.same_class >= 0.9
    onnx.checker.check_model(onnx.load_model(path), full_check=True)


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("precision", "points"), [("float16", 0.1), ("int8", 0.5)])
@pytest.mark.usefixtures("fashion_mnist")
def test_the_loss_on_fashion_mnist(
    precision: str, points: float, count: int, tmp_path: Path
) -> None:
    options = Options(precision=precision, test_pictures=count)
    done = writing.export(None, tmp_path / "small.onnx", options)
    assert done.loss is not None
    assert done.loss.accuracy is not None
    assert done.loss.measured_on == f"{count:,} test pictures of fashion-mnist"
    assert 100 * (done.loss.accuracy[0] - done.loss.accuracy[1]) <= points


def test_ranges_are_those_of_all_pictures() -> None:
    """However they are handed over: onnxruntime's own merging of many lost some."""
    flat, rng = folded(netinnet.load()), np.random.default_rng(4)
    images = rng.integers(0, 256, (70, 28, 28, 1)) * np.linspace(0.2, 1, 70)[:, None, None, None]
    graph = onnx_graph.to_onnx(flat)
    found = []
    for size in (1, 70):
        batches = [images[i : i + size].astype(np.uint8) for i in range(0, 70, size)]
        proto = onnx.load_model_from_string(graph)
        proto = quantise.in_eight_bits(proto, flat.network, batches)
        tensors = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
        found.append({name: t for name, t in tensors.items() if name.endswith("_scale")})
    assert found[0].keys() == found[1].keys()
    for name, scale in found[0].items():
        np.testing.assert_allclose(scale, found[1][name], rtol=1e-5)


def test_quantising_is_reproducible(clothes_folder: Path, tmp_path: Path) -> None:
    options = Options(precision="int8", calibrate=str(clothes_folder), pictures=20, test_pictures=5)
    for name in ("a.onnx", "b.onnx"):
        writing.export(None, tmp_path / name, options)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_class_maps_keep_their_meaning_in_eight_bits(clothes_folder: Path, tmp_path: Path) -> None:
    """The mean of a class's map is its logit."""
    path = tmp_path / "small.onnx"
    options = Options(precision="int8", calibrate=str(clothes_folder), test_pictures=5)
    writing.export(None, path, options)
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1), dtype=np.uint8)
    proto = onnx.load_model(path)
    maps = by_onnxruntime(proto, {"pictures": images}, "class_maps")
    logits = by_onnxruntime(proto, {"pictures": images})
    np.testing.assert_allclose(maps.mean(axis=(2, 3)), logits, rtol=1e-4, atol=1e-4)


def test_pictures_without_classes_serve_too(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "loose").mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        picture = rng.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / "loose" / f"{i}.png")
    done = nin(
        *("export", tmp_path / "small.onnx", "--precision", "int8", "--json"),
        *("--calibrate", tmp_path / "loose", "--pictures", "10"),
    )
    assert done.returncode == 0, done.stderr
    loss = json.loads(done.stdout)["loss"]
    assert loss["measured_on"] == "10 calibration pictures of loose"
    assert loss["accuracy"] is None


def test_the_seed_draws_the_pictures(clothes: datasets.Dataset, clothes_folder: Path) -> None:
    model = netinnet.load()

    def drawn_by(seed: int) -> np.ndarray:
        options = Options(precision="int8", calibrate=str(clothes_folder), pictures=10, seed=seed)
        return np.concatenate(at_hand.find(model, options, source.silent).some)

    assert np.array_equal(drawn_by(1), drawn_by(1))
    assert not np.array_equal(drawn_by(1), drawn_by(2))


# What a file says


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("is_plain", [False, True])
def test_metadata(precision: str, is_plain: bool, clothes_folder: Path, tmp_path: Path) -> None:
    path, model = tmp_path / "small.onnx", netinnet.load()
    more = {} if precision == "float32" else {"calibrate": str(clothes_folder), "test_pictures": 5}
    options = Options(precision=precision, plain=is_plain, licence="Apache-2.0", **more)
    writing.export(None, path, options)
    said = metadata_of(path)
    assert said["export"] == ("plain " if is_plain else "") + precision
    assert said["licence"] == "Apache-2.0"
    assert json.loads(said["classes"]) == list(model.network.classes)
    assert Network.from_json(said["network"]) == model.network
    how = json.loads(said["preprocessing"])
    assert how["in_graph"] is not is_plain
    assert (how["mean"], how["std"], how["fit"]) == ([0.286], [0.353], "stretch")
    assert (how["height"], how["width"], how["channels"]) == (28, 28, "grey")
    assert float(said["temperature"]) == pytest.approx(model.calibration.temperature)
    assert ("threshold" in said) is not is_plain
    if not is_plain:
        kept = weights.calibration_of(model.network, said, "here")
        np.testing.assert_allclose(
            kept.whitening, model.calibration.whitening, rtol=1e-3, atol=1e-3
        )
        assert float(said["threshold"]) == pytest.approx(kept.threshold)


def test_no_licence_is_said(tmp_path: Path) -> None:
    writing.export(None, tmp_path / "a.onnx")
    assert metadata_of(tmp_path / "a.onnx")["licence"] == "none given"


def test_only_whole_float32_exports_are_read_back(clothes_folder: Path, tmp_path: Path) -> None:
    writing.export(None, tmp_path / "whole.onnx")
    back = model_files.find(tmp_path / "whole.onnx")
    for name, array in netinnet.load().weights.items():
        np.testing.assert_array_equal(back.weights[name], array)
    more = {"calibrate": str(clothes_folder), "test_pictures": 5}
    assert back.notes["recipe"] == netinnet.load().notes["recipe"]
    assert back.calibration is not None
    assert set(back.notes) == {"netinnet", "recipe"}  # the licence is not given, not "none given"
    for options, kind in (
        (Options(plain=True), "plain float32"),
        (Options(precision="float16", **more), "float16"),
        (Options(precision="int8", **more), "int8"),
    ):
        writing.export(None, tmp_path / "other.onnx", dataclasses.replace(options, force=True))
        with pytest.raises(ModelError, match=rf"an export \({kind}\), which is not read back"):
            model_files.find(tmp_path / "other.onnx")


def test_a_licence_survives_copies(tmp_path: Path) -> None:
    options = Options(licence="CC0-1.0")
    writing.export(None, tmp_path / "a.onnx", options)
    assert nin("convert", "a.onnx", "b.safetensors", cwd=tmp_path).returncode == 0
    writing.export(tmp_path / "b.safetensors", tmp_path / "c.onnx")
    assert metadata_of(tmp_path / "c.onnx")["licence"] == "CC0-1.0"
    assert (
        "CC0-1.0" in sections(card.card(model_files.find(tmp_path / "c.onnx")))["Licence"].sentences
    )
    given = card.card(model_files.find(tmp_path / "c.onnx"), licence="MIT")
    assert sections(given)["Licence"].sentences == ("MIT",)


# Nothing is lost


def test_a_wrong_export_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A graph whose weights are not the model's is found out, whatever went wrong."""
    true = plain.graph

    def wrong(model: Model, batch: int) -> Any:
        name = "block2.conv1.weight"
        changed = {**model.weights, name: model.weights[name] * np.float32(1.01)}
        return true(dataclasses.replace(model, weights=changed), batch)

    monkeypatch.setattr(plain, "graph", wrong)
    path = tmp_path / "small.onnx"
    with pytest.raises(ModelError, match=r"not written: the export's logits are not the network's"):
        writing.export(None, path, Options(plain=True))
    assert not list(tmp_path.iterdir())
    path.write_text("mine")
    with pytest.raises(ModelError, match="not written"):
        writing.export(None, path, Options(plain=True, force=True))
    assert path.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["small.onnx"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.txt"], "a.txt: its name must end in .onnx"),
        (["a.keras"], "nin convert writes frameworks' own files"),
        (["a.html", "--precision", "int8"], "a page's weights are float16 or float32, not int8"),
        (["a.html", "--plain"], "--plain is not for .html files"),
        (["a.html", "--examples", "."], "--examples: no picture in ."),
        (["a.md", "--title", "Birds"], "--title is not for .md files"),
        (["a.md", "--plain"], "--plain is not for .md files"),
        (["a.tflite", "--plain"], "--plain is not for .tflite files"),
        (["a.onnx", "--batch", "2"], "--batch goes with --plain"),
        (["a.onnx", "--plain", "--batch", "0"], "--batch must be at least 1, got 0"),
        (["a.onnx", "--seed", "3"], "--seed goes with --precision float16 or int8"),
        (
            ["a.onnx", "--precision", "int8", "--calibrate", ".", "--seed", "-1"],
            "--seed must be at least 0, got -1",
        ),
        (["a.onnx", "--precision", "int4"], "unknown precision 'int4' (did you mean 'int8'?)"),
        (["a.onnx", "--licence", " "], "--licence is empty"),
        (["nothing", "a.onnx"], "nothing: no such model file"),
        (
            ["a.onnx", "--precision", "int8", "--calibrate", "./none"],
            "int8 needs pictures to measure ranges on; --calibrate names a data set or folder",
        ),
    ],
)
def test_what_cannot_be_is_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = nin("export", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1 + done.stderr.count("converting")
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(tmp_path: Path) -> None:
    model = tmp_path / "mine.onnx"
    writing.export(None, model)
    again = nin("export", model)
    assert (again.returncode, "--force to write over it" in again.stderr) == (2, True)
    itself = nin("export", model, model, "--force")
    assert "the model itself" in itself.stderr
    assert nin("export", model, "--force").returncode == 0


def test_a_runs_own_files_are_kept(small_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(small_run, tmp_path / "run")
    for name in ("model.onnx", "report.html"):
        before = (run / name).read_bytes()
        done = nin("export", run, run / name, "--force")
        assert (done.returncode, "a run's own file" in done.stderr) == (2, True)
        assert (run / name).read_bytes() == before
    assert nin("export", run, run / "plain.onnx", "--plain").returncode == 0


def test_a_page_has_the_models_card(tmp_path: Path) -> None:
    done = writing.export(None, tmp_path / "a.html", Options(licence="MIT", title="Shoes & more"))
    text = done.path.read_text("utf-8")
    assert "<h1>Shoes &amp; more</h1>" in text
    assert "MIT" in text
    assert done.size == len(text.encode())
    assert done.difference is not None


# The model card


def text_of(section: card.Section) -> dict[str, str]:
    return dict(section.rows)


def sections(found: card.Card) -> dict[str, card.Section]:
    return {section.title: section for section in found.sections}


def test_a_runs_card_says_what_the_run_knows(small_run: Path, tmp_path: Path) -> None:
    done = nin("export", small_run, tmp_path / "card.md", "--licence", "MIT")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "card.md").read_text()
    metrics = json.loads((small_run / "metrics.json").read_text())
    record = json.loads((small_run / "dataset.json").read_text())
    assert f"{metrics['test']['accuracy']:.4f}" in text
    assert "100 test pictures, after training" in text
    assert record["digest"] in text
    assert "only the first 256 were used" in text
    assert "Classes that it confuses most: " in text
    assert f"numpy {np.__version__}" in text
    assert text.rstrip().endswith("MIT")
    assert (small_run / "recipe.toml").read_text().strip() in text


def test_nothing_is_invented() -> None:
    network = zoo.network("lenet")
    found = sections(card.card(Model(network, weights.initial(network, 0))))
    assert "not measured" in text_of(found["How good it is"])["accuracy"]
    assert "not measured" in text_of(found["How good it is"])["calibration"]
    assert "not known" in text_of(found["Data"])["learnt"]
    assert "The recipe is not known" in found["How it was made"].sentences[0]
    assert "None was given" in found["Licence"].sentences[0]
    limits = " ".join(found["What it is for, and its limits"].sentences)
    assert 'it never says "none of these"' in limits


def test_the_shipped_models_card() -> None:
    found = sections(card.card(netinnet.load()))
    assert text_of(found["What it is"])["parameters"] == "96,080"
    assert text_of(found["What it is"])["multiply-accumulates"] == "10,772,160 a picture"
    assert text_of(found["Data"])["learnt"] == "fashion-mnist"
    assert text_of(found["How it was made"])["seed"] == "0"
    assert text_of(found["How good it is"])["none of these"] == "below a score of -8.80"


def test_markdown_of_a_card_is_escaped() -> None:
    classes = ("<script>", "a|b", "*c*")
    network = Network(
        "odd",
        Shape(1, 4, 4),
        (Block("head", (Conv(3), GlobalAvgPool())),),
        classes,
        Preprocessing(),
    )
    text = card.card(Model(network, weights.initial(network, 0)), licence="[x]").to_markdown()
    assert "<script>" not in text
    assert r"\<script\>, a\|b, \*c\*" in text
    assert r"\[x\]" in text


# Python and TensorFlow Lite


def test_from_python(tmp_path: Path, clothes_folder: Path) -> None:
    model = netinnet.load()
    done = netinnet.export_model(
        model,
        tmp_path / "a.onnx",
        precision="float16",
        calibrate=str(clothes_folder),
        test_pictures=5,
    )
    assert isinstance(done, Exported)
    assert done.difference is not None
    assert 0 < done.difference < 1e-2
    with pytest.raises(NetinnetError, match="no option 'precison'"):
        netinnet.export_model(model, tmp_path / "b.onnx", precison="float16")


@needs("tensorflow")
def test_padded_pools_of_tensorflow_have_no_infinity() -> None:
    """Which has no place among eight-bit numbers: it made a model of .92 one of .105."""
    from netinnet import frameworks

    blocks = (
        Block("pool1", (MaxPool(3, 2, 1),)),
        Block("pool2", (MaxPool(4, 3, 2, ceil=True),)),
        Block("head", (Conv(2), GlobalAvgPool())),
    )
    network = Network("pools", Shape(2, 14, 13), blocks, ("a", "b"))
    model = Model(network, drawn(network))
    native = frameworks.adapter("tensorflow").build(network, model.weights)
    assert "inf" not in native.to_json().lower()
    x = inputs(network.input, 2) - 5  # all negative, so that zeros would win
    got = np.asarray(native(x.transpose(0, 2, 3, 1)))
    assert check.relative(got, oracle.logits(network, model.weights, x)) <= 1e-5


@pytest.mark.slow
@needs("tensorflow")
@pytest.mark.usefixtures("fashion_mnist")
@pytest.mark.parametrize(
    ("precision", "share", "points"),
    [("float32", 1.0, 0), ("float16", 0.55, 0.1), ("int8", 0.35, 0.5)],
)
def test_tflite(precision: str, share: float, points: float, tmp_path: Path) -> None:
    path = tmp_path / "small.tflite"
    done = writing.export(None, path, Options(precision=precision))
    assert done.size == path.stat().st_size
    assert done.difference is not None
    if precision == "float32":
        assert done.difference <= 1e-5
        return
    assert done.size <= share * (done.float32_size or 0)
    assert done.loss is not None
    assert done.loss.accuracy is not None
    assert 100 * (done.loss.accuracy[0] - done.loss.accuracy[1]) <= points


@pytest.mark.parametrize("suffix", ["onnx", pytest.param("tflite", marks=needs("tensorflow"))])
def test_pictures_are_never_those_of_a_data_set_that_it_did_not_learn(
    suffix: str, tmp_path: Path
) -> None:
    """A file that does not say what the model learnt: int8 is refused, float16 not measured."""
    network = zoo.network("lenet")
    model, path = Model(network, weights.initial(network, 0)), tmp_path / f"a.{suffix}"
    unknown = "the model's file does not say which data set it learnt; name one with --calibrate"
    with pytest.raises(NetinnetError, match=f"int8 needs pictures to measure.*{unknown}"):
        writing.export(model, path, Options(precision="int8"))
    assert not path.exists()
    done = writing.export(model, path, Options(precision="float16"))
    assert done.notes[0] == f"what float16 changes was not measured on pictures: {unknown}"
    assert done.loss is None
    assert done.float32_size is not None
    assert done.size < 0.55 * done.float32_size


@pytest.mark.slow
@needs("tensorflow")
@pytest.mark.parametrize("name", ["lenet", "nin-mnist", "nin-cifar10", "nin-small-64"])
def test_tflite_of_the_zoo(name: str, tmp_path: Path) -> None:
    done = writing.export(model_of(name), tmp_path / "a.tflite", Options(batch=2))
    assert done.difference is not None
    assert done.difference <= 1e-5
