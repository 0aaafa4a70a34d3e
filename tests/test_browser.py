"""The JavaScript back end: the same numbers as NumPy's, with WebAssembly and without."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netinnet
from netinnet import weights
from netinnet.data.pictures import as_channels
from netinnet.errors import ModelError
from netinnet.export import page
from netinnet.inference import class_maps, oracle
from netinnet.inference.predictor import Predictor
from netinnet.networks import GlobalAvgPool, features, zoo
from netinnet.networks.blocks import Block
from netinnet.networks.layers import LAYERS
from netinnet.networks.network import Network, Preprocessing
from netinnet.preprocessing import prepare
from netinnet.weights import Model
from tests.browser import FOLDER, ask, data, difference, node, picture
from tests.strategies import networks

needs_node = pytest.mark.skipif(node() is None, reason="no Node.js")


def random_model(network: Network, seed: int) -> Model:
    """Weights that are nowhere 0 or 1: no batch norm without an effect."""
    rng = np.random.default_rng(seed)
    drawn = {
        name: (abs(array) + rng.uniform(0.5, 1.5, array.shape)).astype(np.float32)
        if name.endswith("running_var")
        else (array + rng.normal(0, 0.3, array.shape)).astype(np.float32)
        for name, array in weights.initial(network, seed).items()
    }
    return Model(network, drawn)


def exact(model: Model, x: np.ndarray) -> np.ndarray:
    """Logits by NumPy in float64."""
    return oracle.logits(model.network, model.weights, x.astype(np.float64))[0]


def test_every_layer_has_a_line() -> None:
    table = page.text("network.js").split("const LAYERS = {")[1].split("\n};")[0]
    assert set(re.findall(r"^  (\w+)[:(]", table, re.M)) == set(LAYERS)


@needs_node
@settings(max_examples=30, deadline=None)
@given(networks(), st.integers(0, 2**16))
def test_any_network_gives_numpys_numbers(network: Network, seed: int) -> None:
    model = random_model(network, seed)
    x = np.random.default_rng(seed).normal(0, 1, (1, *network.input)).astype(np.float32)
    case = {"model": data(model), "input": x[0].transpose(1, 2, 0).ravel().tolist()}
    for result in ask([case, {**case, "plain": True}]):
        assert difference(result["logits"], exact(model, x)) < 1e-4
        assert (result.get("maps") is not None) == (class_maps.of(network) is not None)
        assert (result.get("features") is not None) == (features.of(network) is not None)


@needs_node
@pytest.mark.parametrize("name", ["nin-small", "lenet", "nin-cifar10", "nin-small-32"])
def test_a_network_of_the_zoo(name: str) -> None:
    model = random_model(zoo.resolve(name), 1)
    c, h, w = model.network.input
    image = np.random.default_rng(0).integers(0, 256, (h + 5, w + 2, c), dtype=np.uint8)
    predictor = Predictor(model)
    want = predictor.run(image[None], ("logits", *(("class_maps",) if predictor.maps else ())))
    answers = ask(
        [{"model": data(model), "picture": picture(image), "plain": p} for p in (False, True)]
    )
    for result in answers:
        assert difference(result["logits"], want["logits"]) < 1e-5
        if predictor.maps:
            assert difference(result["maps"], want["class_maps"]) < 1e-5
    assert [a["time"]["kernel"] for a in answers] == ["WebAssembly", "JavaScript"]


@needs_node
@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_any_size_come_to_the_same_input(fit: str, channels: int) -> None:
    """A network that only takes means: its logits are those of its input's quarters."""
    scaling = Preprocessing((0.3,) * channels, (0.6,) * channels, fit)
    head = Block("head", (netinnet.networks.AvgPool(4, 4), netinnet.networks.Flatten()))
    names = tuple(map(str, range(channels * 6)))
    model = Model(Network("means", (channels, 8, 12), (head,), names, scaling), {})
    rng = np.random.default_rng(3)
    sizes = [(8, 12), (3, 2), (1, 1), (40, 40), (9, 100), (100, 7), (16, 24)]
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    answers = ask([{"model": data(model), "picture": picture(image)} for image in images])
    for image, answer in zip(images, answers, strict=True):
        x = prepare(as_channels(image, channels)[None], model.network.input, scaling)
        want = exact(model, x.transpose(0, 3, 1, 2))
        assert difference(answer["logits"], want) < 1e-5, image.shape


@needs_node
@pytest.mark.parametrize(("precision", "limit"), [("float32", 1e-5), ("float16", 5e-3)])
def test_the_shipped_model_with_its_calibration(precision: str, limit: float) -> None:
    model = netinnet.load()
    predictor = Predictor(model)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (28, 28, 1), dtype=np.uint8), np.zeros((60, 45, 1), np.uint8)]
    answers = ask([{"model": data(model, precision), "picture": picture(i)} for i in images])
    for image, answer in zip(images, answers, strict=True):
        want = predictor.run(image[None], ("logits", "probabilities", "class_maps"))
        assert difference(answer["logits"], want["logits"]) < limit
        assert difference(answer["maps"], want["class_maps"]) < limit
        assert np.abs(answer["probabilities"] - want["probabilities"][0]).max() < limit
        score = predictor.scores(image[None])[0]
        assert abs(answer["score"] - score) < limit * abs(score)
        assert answer["refused"] == predictor.refuses(score)


@needs_node
@given(st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=200))
@settings(max_examples=5, deadline=None)
def test_half_precision_is_read_exactly(words: list[int]) -> None:
    words = [w for w in words if w & 0x7C00 != 0x7C00] + [0, 1, 1023, 1024, 0x8001, 0x7BFF]
    raw = np.array(words, "<u2")
    program = page.script(page.ENGINE) + (
        f"console.log(JSON.stringify(Array.from(halves(new Uint8Array({list(raw.tobytes())})))))"
    )
    done = subprocess.run([str(node()), "-e", program], capture_output=True, text=True, check=True)
    assert np.array_equal(np.array(eval(done.stdout), np.float64), raw.view("<f2").astype(float))  # noqa: S307


def test_class_maps_are_where_the_explanation_has_them() -> None:
    from netinnet.inference import explanation

    network = zoo.resolve("nin-cifar10")
    rows, columns = explanation.axes(network, *network.input[1:])
    assert data(random_model(network, 0))["maps"]["cells"] == [
        (rows.first, rows.step),
        (columns.first, columns.step),
    ]


def test_the_kernel_is_what_its_source_makes(tmp_path: Path) -> None:
    """By the compiler whose version stands in the Makefile: another one makes other bytes."""
    compiler = shutil.which("clang-14")
    if compiler is None or shutil.which("wasm-ld-14") is None:
        pytest.skip("no clang 14 with lld 14")
    made = tmp_path / "kernel.wasm"
    subprocess.run(["make", "-s", "page-kernel", f"KERNEL={made}"], check=True)
    assert made.read_bytes() == (FOLDER / "kernel.wasm").read_bytes()


def test_weights_too_large_for_half_precision_are_named() -> None:
    model = netinnet.load()
    name = next(iter(model.weights))
    large = {**model.weights, name: model.weights[name] * np.float32(1e6)}
    with pytest.raises(ModelError, match=f"{name} has values above 65504.*float32"):
        data(Model(model.network, large), "float16")


def test_a_picture_has_one_or_three_channels() -> None:
    head = Block("head", (GlobalAvgPool(),))
    model = Model(Network("five", (5, 4, 4), (head,), tuple("abcde")), {})
    with pytest.raises(ModelError, match="not 5 channels"):
        page.page(model)
