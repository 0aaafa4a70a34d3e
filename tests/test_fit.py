"""Pictures of another aspect ratio than the input's: stretched, cropped or padded, alike."""

from __future__ import annotations

import json
import tomllib
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator
from PIL import Image

import netinnet
from netinnet import data, frameworks, weights
from netinnet.cli.main import run
from netinnet.data import pictures
from netinnet.errors import NetworkError, RecipeError
from netinnet.inference.onnx_graph import to_onnx
from netinnet.inference.predictor import Predictor
from netinnet.networks import zoo
from netinnet.networks.blocks import Block
from netinnet.networks.layers import Conv, Flatten, GlobalAvgPool, Shape
from netinnet.networks.network import FITS, Network, Preprocessing
from netinnet.preprocessing import prepare, spans
from netinnet.reports import overlays
from netinnet.training import recipe as recipes
from netinnet.training.parts import network_for
from netinnet.weights import Model

from .conftest import FRAMEWORK, nin

SIDES = st.integers(1, 70)
MEAN = Preprocessing((0.3,), (0.4,))


def _with(fit: str, channels: int = 1) -> Preprocessing:
    mean, std = (0.49, 0.48, 0.45)[:channels], (0.25, 0.24, 0.26)[:channels]
    return Preprocessing(mean, std, fit)


def _pictures(height: int, width: int, channels: int = 1, count: int = 2) -> np.ndarray:
    rng = np.random.default_rng(height * 1000 + width)
    return rng.integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def _bare(shape: Shape, fit: str) -> Model:
    """A network whose logits are its preprocessed input."""
    names = tuple(map(str, range(shape.size)))
    blocks = (Block("head", (Flatten(),)),)
    return Model(Network("input", shape, blocks, names, _with(fit, shape.channels)), {})


# --- the definition


@given(SIDES, SIDES, SIDES, SIDES)
@settings(max_examples=300)
def test_a_part_is_the_largest_centred_one(h: int, w: int, height: int, width: int) -> None:
    for frame, ratio, fit in (((h, w), (height, width), "crop"), ((height, width), (h, w), "pad")):
        found = spans((h, w), (height, width), fit)
        parts = [span[:2] if fit == "crop" else span[2:] for span in found]
        others = [span[2:] if fit == "crop" else span[:2] for span in found]
        assert others == [(0, side) for side in ratio]
        for (start, length), side in zip(parts, frame, strict=True):
            assert 1 <= length <= side
            assert side - (start + length) - start in (0, 1)
        (_, down), (_, across) = parts
        assert down == frame[0] or across == frame[1]
        # The side that was rounded is the exact one's nearest whole number, halves up.
        exact = min(frame[0], frame[1] * ratio[0] / ratio[1])
        assert down - exact <= 0.5 + 1e-9 or down == 1
        assert exact - down < 0.5
        exact = min(frame[1], frame[0] * ratio[1] / ratio[0])
        assert across - exact <= 0.5 + 1e-9 or across == 1
        assert exact - across < 0.5


@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from((1, 3)))
@settings(max_examples=60, deadline=None)
def test_crop_and_pad_are_stretching_of_a_part(
    h: int, w: int, height: int, width: int, channels: int
) -> None:
    images, shape = _pictures(h, w, channels), Shape(channels, height, width)
    down, across = spans((h, w), (height, width), "crop")
    rows, columns = (slice(s.start, s.start + s.length) for s in (down, across))
    cropped = prepare(images, shape, _with("crop", channels))
    part = prepare(images[:, rows, columns], shape, _with("stretch", channels))
    np.testing.assert_allclose(cropped, part, atol=2e-6)

    down, across = spans((h, w), (height, width), "pad")
    rows, columns = (slice(s.at, s.at + s.size) for s in (down, across))
    padded = prepare(images, shape, _with("pad", channels))
    inside = Shape(channels, down.size, across.size)
    whole = prepare(images, inside, _with("stretch", channels))
    np.testing.assert_allclose(padded[:, rows, columns], whole, atol=2e-6)
    padded[:, rows, columns] = 0
    assert not padded.any()


@given(SIDES, SIDES, st.integers(1, 4), st.integers(1, 4))
def test_equal_aspect_ratios_need_no_fit(h: int, w: int, larger: int, smaller: int) -> None:
    source, target = (h * smaller, w * smaller), (h * larger, w * larger)
    assert len({spans(source, target, fit) for fit in FITS}) == 1


# --- the same numbers everywhere


@cache
def _session(shape: Shape, fit: str) -> Predictor:
    return Predictor(_bare(shape, fit), threads=1)


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("target", [Shape(3, 8, 8), Shape(1, 9, 14), Shape(1, 1, 5)], ids=str)
@given(SIDES, SIDES)
@settings(max_examples=60, deadline=None)
def test_onnx_is_the_definition(fit: str, target: Shape, h: int, w: int) -> None:
    images = _pictures(h, w, target.channels)
    want = prepare(images, target, _with(fit, target.channels)).transpose(0, 3, 1, 2)
    got = _session(target, fit).logits(images)
    np.testing.assert_allclose(got, want.reshape(2, -1), atol=2e-6)


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_onnx_by_the_reference_evaluator(fit: str) -> None:
    shape = Shape(3, 9, 14)
    proto = onnx.load_model_from_string(to_onnx(_bare(shape, fit)))
    onnx.checker.check_model(proto, full_check=True)
    evaluator = ReferenceEvaluator(proto)
    for size in ((33, 57), (301, 17), (9, 14), (1, 60), (18, 28), (1, 1)):
        images = _pictures(*size, 3)
        want = prepare(images, shape, _with(fit, 3)).transpose(0, 3, 1, 2)
        (got,) = evaluator.run(["logits"], {"pictures": images})
        np.testing.assert_allclose(got, want.reshape(2, -1), atol=2e-6)


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("framework", frameworks.FRAMEWORKS)
def test_frameworks_are_the_definition(framework: str, fit: str) -> None:
    if not frameworks.FRAMEWORKS[framework].is_installed:
        pytest.skip(f"{framework} is not installed")
    shape = Shape(1, 9, 14)
    predictor = Predictor(_bare(shape, fit), framework=framework)
    for size in ((33, 57), (31, 7), (9, 14), (18, 28)):
        images = _pictures(*size)
        want = prepare(images, shape, _with(fit)).reshape(2, -1)
        np.testing.assert_allclose(predictor.logits(images), want, atol=2e-6)


def test_a_store_holds_what_prediction_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETINNET_CACHE", str(tmp_path / "cache"))
    folder = _folder(tmp_path / "photos")
    loaded, shape, every = data.load(str(folder)), Shape(3, 12, 16), np.arange(4)
    paths = [line.split(",") for line in loaded.files.splitlines()[1:]]
    train = [folder / path for path, _, split in paths if split == "train"]
    for fit in FITS:
        way = _with(fit, 3)
        stored = loaded.sized(shape, preprocessing=way).train.pictures(every)
        for path, picture in zip(train, stored, strict=False):
            exact = prepare(pictures.read(path)[None], shape, way)[0]
            exact = 255 * (exact * np.array(way.std) + np.array(way.mean))
            assert np.abs(picture - exact).max() <= 0.501
    stretched = loaded.sized(shape).train.pictures(every)
    assert not np.array_equal(stretched, stored)
    # Another mean is another padding; crops have none.
    other = loaded.sized(shape, preprocessing=Preprocessing(fit="pad")).train.pictures(every)
    assert not other[:, 0].any()
    loaded.sized(shape, preprocessing=Preprocessing(fit="crop"))
    assert len(list((tmp_path / "cache").rglob("store-*"))) == 4


# --- what it is written in


def test_a_description_keeps_its_bytes_and_its_fit() -> None:
    net = zoo.network("lenet", preprocessing=MEAN)
    assert "fit" not in net.to_json()
    assert net.takes == "1×28×28"
    for fit in FITS:
        net = zoo.network("lenet", preprocessing=Preprocessing((0.3,), (0.4,), fit))
        assert Network.from_json(net.to_json()) == net
    assert net.takes == "1×28×28, pictures padded"
    named = {**net.to_dict(), "preprocessing": {"fit": "croped"}}
    with pytest.raises(
        NetworkError, match=r"unknown fit 'croped' \(did you mean 'crop'\?\); known are"
    ):
        Network.from_dict(named)
    with pytest.raises(NetworkError, match="expected str, got 3"):
        Network.from_dict({**net.to_dict(), "preprocessing": {"fit": 3}})


def test_a_recipe_decides_else_the_network() -> None:
    recipe = recipes.load("fashion")
    assert "fit" not in recipe.to_toml()
    own = zoo.network("lenet", preprocessing=_with("crop"))
    assert network_for(recipe).preprocessing.fit == "stretch"
    assert network_for(recipe, own).preprocessing.fit == "crop"
    assert network_for(recipe.replace(fit="pad"), own).preprocessing.fit == "pad"
    assert network_for(recipe, own).preprocessing.mean == network_for(recipe).preprocessing.mean
    with pytest.raises(RecipeError, match="unknown fit 'fill'"):
        recipe.replace(fit="fill")


def test_summary_and_report_say_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.json"
    path.write_text(zoo.network("lenet", preprocessing=_with("crop")).to_json(), "utf-8")
    assert run(["summary", str(path)]) == 0
    assert "pictures cropped" in capsys.readouterr().out


# --- explanations


def _mirror(fit: str) -> Model:
    """A model whose first map is the picture, 0…1, and whose second one is its negative."""
    blocks = (Block("maps", (Conv(2, 1),)), Block("head", (GlobalAvgPool(), Flatten())))
    way = Preprocessing(fit=fit)
    network = Network("mirror", Shape(1, 6, 6), blocks, ("light", "dark"), way)
    tensors = {
        "maps.conv1.weight": np.array([1, -1], np.float32).reshape(2, 1, 1, 1),
        "maps.conv1.bias": np.zeros(2, np.float32),
    }
    return Model(network, weights.check(network, tensors, "mirror"))


def test_peaks_and_boxes_are_in_the_pictures_pixels() -> None:
    picture = np.zeros((12, 24), np.uint8)
    picture[4:8, 8:12] = 200
    picture[4:8, :4] = 255  # brighter, and outside of what is cropped
    (cropped,) = netinnet.explain(picture, model=_mirror("crop"), classes=["light"]).classes
    # Cells are 2×2 pixels from column 6 on; the first of equal ones is the peak.
    assert (cropped.peak, cropped.box) == ((9, 5), (8, 4, 12, 8))
    picture[4:8, :4] = 0
    (padded,) = netinnet.explain(picture, model=_mirror("pad"), classes=["light"]).classes
    # Cells are 4×4 pixels; one row of them is padding above, two are below.
    assert (padded.peak, padded.box) == ((10, 6), (8, 4, 12, 8))
    turned = netinnet.explain(picture.T.copy(), model=_mirror("pad"), classes=["light"]).classes[0]
    assert (turned.peak, turned.box) == ((6, 10), (4, 8, 8, 12))


def test_what_peaks_in_the_padding_is_drawn_at_the_edge() -> None:
    picture = np.full((12, 24), 200, np.uint8)  # the padding is darker
    (shown,) = netinnet.explain(picture, model=_mirror("pad"), classes=["dark"]).classes
    assert (shown.peak, shown.box) == ((2, 0), (0, 0, 24, 1))


def test_what_was_not_seen_stays_grey() -> None:
    picture = np.full((12, 24), 200, np.uint8)
    result = netinnet.explain(picture, model=_mirror("crop"), classes=["light"])
    assert result.to_dict()["columns"]["seen"] == (6, 18)
    drawn = np.array(overlays.overlay(result, result.classes[0])).astype(int)
    factor = drawn.shape[1] // 24
    is_grey = (np.ptp(drawn, 2) == 0)[:6].all(0)  # above the box and its cross
    assert is_grey[: 5 * factor].all()
    assert is_grey[19 * factor :].all()
    assert not is_grey[8 * factor : 16 * factor].any()


# --- training


def _folder(folder: Path) -> Path:
    for label in "ab":
        (folder / label).mkdir(parents=True)
        for i in range(10):
            rng = np.random.default_rng([ord(label), i])
            coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
            wide = coarse.resize((40 + i, 20), Image.Resampling.BICUBIC)
            wide.save(folder / label / f"{i}.png")
    return folder


def test_a_training_keeps_its_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETINNET_CACHE", str(tmp_path / "cache"))
    folder, done = _folder(tmp_path / "photos"), tmp_path / "run"
    flags = ["--network", "lenet", "--image-size", "16", "--epochs", "1", "--batch-size", "8"]
    flags += ["--framework", FRAMEWORK, "--threads", "1", "--device", "cpu", "--fit", "pad"]
    trained = nin("train", "--dataset", folder, "--output", done, *flags)
    assert trained.returncode == 0, trained.stderr
    assert tomllib.loads((done / "recipe.toml").read_text("utf-8"))["fit"] == "pad"
    made = json.loads((done / "network.json").read_text("utf-8"))
    assert made["preprocessing"]["fit"] == "pad"
    assert "3×16×16, pictures padded" in (done / "report.html").read_text("utf-8")
    evaluated = nin("evaluate", done, "--json")
    metrics = json.loads((done / "metrics.json").read_text("utf-8"))
    result = json.loads(evaluated.stdout)
    assert result["accuracy"] == metrics["test"]["accuracy"]
    assert len(list((tmp_path / "cache").rglob("store-*"))) == 1  # evaluation takes the same
    network = Predictor(done).network
    seen = prepare(pictures.read(folder / "a/0.png")[None], network.input, network.preprocessing)
    assert not seen[0, :4].any()
    assert seen[0, 4:12].all(2).any()
