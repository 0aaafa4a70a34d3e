"""`nin explain`: maps whose mean is the logit, laid over the right places, written as files."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import netinnet
from benchmarks import pointing
from netinnet import frameworks, weights
from netinnet.cli.main import run
from netinnet.errors import ImageError, ModelError
from netinnet.inference import class_maps, explanation, oracle
from netinnet.networks import zoo
from netinnet.networks.blocks import Block
from netinnet.networks.layers import AvgPool, Conv, Flatten, GlobalAvgPool, Linear, ReLU, Shape
from netinnet.networks.network import Network
from netinnet.preprocessing import prepare
from netinnet.reports import overlays
from tests.conftest import ROOT, needs
from tests.html_parser import parse

RNG = np.random.default_rng(0)
HOSTILE = 'a/b <script>alert("1")</script> 猫'


def _mirror(size: int = 6, classes: tuple[str, str] = ("light", "dark")) -> weights.Model:
    """A model whose first map is the picture, 0…1, and whose second one is 0.25 less it."""
    blocks = (Block("maps", (Conv(2, 1),)), Block("head", (GlobalAvgPool(), Flatten())))
    network = Network("mirror", Shape(1, size, size), blocks, classes)
    tensors = {
        "maps.conv1.weight": np.array([1, -1], np.float32).reshape(2, 1, 1, 1),
        "maps.conv1.bias": np.array([0, 0.25], np.float32),
    }
    return weights.Model(network, weights.check(network, tensors, "mirror"))


def _scene(*lines: str) -> np.ndarray:
    """A picture of digits 0…9: of black to white."""
    return np.array([[int(digit) * 28 for digit in line] for line in lines], np.uint8)


SCENE = _scene("000000", "008000", "009700", "000000", "800000", "000000")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a model and a folder of pictures, two of one name."""
    monkeypatch.chdir(tmp_path)
    model = _mirror(classes=(HOSTILE, "dark"))
    weights.save(Path("mirror.safetensors"), model)
    for name in ("2.png", "10.png", "inner/2.png"):
        path = Path("photos", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(SCENE).save(path)
    return Path("photos")


def explain(*arguments: str | Path, model: str = "mirror.safetensors") -> int:
    return run(["explain", *map(str, arguments), "--model", model])


# --- the numbers


def _noise(count: int, network: Network) -> np.ndarray:
    shape = (count, network.input.height, network.input.width, network.input.channels)
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def _assert_means_are_logits(maps: np.ndarray, logits: np.ndarray) -> None:
    means = maps.astype(np.float64).mean((2, 3))
    assert np.abs(means - logits).max() <= 1e-5 * np.abs(logits).max()


@pytest.mark.parametrize("framework", [None, *frameworks.FRAMEWORKS])
def test_the_mean_of_a_map_is_the_logit_on_real_pictures(
    framework: str | None, fashion_mnist: Any
) -> None:
    if framework is not None and not frameworks.FRAMEWORKS[framework].is_installed:
        pytest.skip(f"{framework} is not installed")
    pictures = fashion_mnist.splits["test"].pictures(np.arange(1000))
    predictor = netinnet.Predictor(netinnet.load(), framework=framework)
    results = predictor.run(pictures, ("logits", "class_maps"))
    _assert_means_are_logits(results["class_maps"], results["logits"])


def test_the_mean_of_a_map_is_the_logit_in_the_definition(fashion_mnist: Any) -> None:
    model = netinnet.load()
    network, maps = model.network, class_maps.of(model.network)
    assert maps is not None
    pictures = fashion_mnist.splits["test"].pictures(np.arange(64))
    x = prepare(pictures, network.input, network.preprocessing).transpose(0, 3, 1, 2)
    values = oracle.logits(class_maps.features(network, maps), model.weights, x)
    logits = oracle.logits(network, model.weights, x)
    values = values.reshape(len(x), *maps.input)
    _assert_means_are_logits(values, logits)
    np.testing.assert_allclose(
        values, netinnet.Predictor(model).class_maps(pictures), atol=1e-4 * np.abs(values).max()
    )


def test_an_explanation_says_what_a_prediction_says() -> None:
    predictor = netinnet.Predictor(netinnet.load())
    picture = _noise(1, predictor.network)[0]
    result = netinnet.explain(picture, model=predictor)
    assert result.maps.shape == (10, 7, 7)
    (shown,) = result.classes
    best = predictor.predict(picture, top=1)[0]
    assert (shown.name, shown.probability) == (best.name, pytest.approx(best.probability))
    assert shown.logit == pytest.approx(shown.values.mean(), rel=1e-5)
    names = ["Bag", "Sandal", "Bag"]
    asked = netinnet.explain(Image.fromarray(picture[..., 0]), classes=names)
    assert [c.name for c in asked.classes] == ["Bag", "Sandal"]
    assert asked.scale == np.abs(result.maps).max() == result.scale


def test_other_weights_give_other_maps() -> None:
    """The sanity check: what is drawn comes of what was learnt, not of the picture's edges."""
    model = netinnet.load()
    pictures = _noise(64, model.network)
    learnt = netinnet.Predictor(model).class_maps(pictures)
    last = {
        name: value
        for name, value in weights.initial(model.network, 0).items()
        if name.startswith("block3.")
    }
    for tensors in (weights.initial(model.network, 0), {**model.weights, **last}):
        other = netinnet.Predictor(weights.Model(model.network, tensors)).class_maps(pictures)
        pairs = zip(learnt.reshape(-1, 49), other.reshape(-1, 49), strict=True)
        similar = [np.corrcoef(a, b)[0, 1] for a, b in pairs]
        assert np.mean(np.abs(similar)) < 0.5


@needs("pytorch")
def test_a_gradient_through_the_last_block_says_the_same() -> None:
    """Grad-CAM and HiResCAM aimed at the maps themselves are the maps, over the number of cells."""
    import torch

    model = netinnet.load()
    pictures = _noise(8, model.network)
    x = prepare(pictures, model.network.input, model.network.preprocessing).transpose(0, 3, 1, 2)
    net = netinnet.load(framework="pytorch").eval()
    maps = netinnet.Predictor(model).class_maps(pictures)[:, 3]
    classes = torch.full((8,), 3)
    computed = pointing.gradient_maps(net, "block3", torch.tensor(x.copy()), classes)
    assert list(computed) == ["Grad-CAM", "HiResCAM"]
    for values in computed.values():
        np.testing.assert_allclose(values * 49, maps, atol=1e-4 * np.abs(maps).max())


@pytest.mark.slow
@needs("pytorch")
def test_maps_point_at_the_object(tmp_path: Path) -> None:
    """The figures of docs/explain.md, of a shorter training."""
    pointing.train(tmp_path / "run", 0, 2500, 3)
    rows = pointing.measure(tmp_path / "run", 0, 500)
    assert rows["accuracy"] > 0.95
    assert rows["class maps: peak"] > 0.93
    assert rows["class maps: centre of the box"] > 0.98
    for layer in ("block2", "pool2"):
        other = rows[f"Grad-CAM at {layer}: centre of the box"]
        assert rows["class maps: centre of the box"] > other - 0.01


@given(
    st.lists(st.tuples(*(st.integers(1, n) for n in (4, 3)), st.integers(0, 1)), max_size=2),
    st.booleans(),
)
@settings(max_examples=40)
def test_a_cell_lies_at_the_centre_of_what_it_sees(
    windows: list[tuple[int, int, int]], ceil: bool
) -> None:
    """Against the picture itself: where the pixels are that change a cell."""
    layers = [AvgPool(k, s, min(p, k // 2), ceil=ceil) for k, s, p in windows]
    blocks = (Block("body", (Conv(1, 3, padding=1), *layers)), Block("head", (GlobalAvgPool(),)))
    network = Network("probe", Shape(1, 25, 27), blocks, ("a",))
    tensors = {"body.conv1.weight": np.ones((1, 1, 3, 3)), "body.conv1.bias": np.zeros(1)}
    maps = class_maps.of(network)
    assert maps is not None
    pixels = np.eye(25 * 27).reshape(-1, 1, 25, 27)
    seen = oracle.logits(class_maps.features(network, maps), tensors, pixels)
    seen = seen.reshape(25, 27, maps.input.height, maps.input.width)
    rows, columns = explanation.axes(network, 25, 27)
    for axis, length, others in ((rows, 25, (1, 3)), (columns, 27, (0, 2))):
        fields = [np.nonzero(line)[0] for line in seen.any(others).T]
        reach = max(np.ptp(field) for field in fields if len(field))
        for cell, field in enumerate(fields):
            # What padding cuts off has its centre elsewhere.
            if len(field) and np.ptp(field) == reach and 0 < field[0] <= field[-1] < length - 1:
                centre = (field[0] + field[-1] + 1) / 2
                assert axis.first + axis.step * cell == pytest.approx(centre)


def test_the_papers_network_sees_less_of_the_border() -> None:
    rows, columns = explanation.axes(zoo.network("nin"), 448, 224)
    assert [columns.first + columns.step * i for i in range(5)] == [33.5, 65.5, 97.5, 129.5, 161.5]
    assert (rows.first, rows.step) == (67, 64)


def test_the_peak_and_the_box_hang_together() -> None:
    result = netinnet.explain(SCENE, model=_mirror(), classes=["light"])
    (shown,) = result.classes
    # The 8 in the corner is as high but stands apart; 7 beside the 9 belongs to the box.
    assert (shown.peak, shown.box) == ((2.5, 2.5), (2, 1, 4, 3))
    larger = netinnet.explain(SCENE.repeat(4, 0).repeat(2, 1), model=_mirror(), classes=["light"])
    assert larger.classes[0].peak == (5, 10)
    assert larger.classes[0].box == (4, 4, 8, 12)


@pytest.mark.parametrize("value", [0, 77, 255])
def test_an_even_picture_is_all_box(value: int) -> None:
    picture = np.full((6, 9), value, np.uint8)
    for shown in netinnet.explain(picture, model=_mirror(), classes=["light", "dark"]).classes:
        assert shown.box == (0, 0, 9, 6) or shown.values.std() > 0  # resizing rounds
        assert 0 <= shown.peak[0] <= 9


def test_more_light_changes_no_box() -> None:
    """A constant added to all maps changes no probability."""
    model = _mirror()
    lighter = weights.Model(
        model.network,
        {**model.weights, "maps.conv1.bias": model.weights["maps.conv1.bias"] + np.float32(3)},
    )
    names = ["light", "dark"]
    for a, b in zip(
        netinnet.explain(SCENE, model=model, classes=names).classes,
        netinnet.explain(SCENE, model=lighter, classes=names).classes,
        strict=True,
    ):
        assert (a.peak, a.box) == (b.peak, b.box)
        assert a.probability == pytest.approx(b.probability)


def test_what_cannot_be_explained_is_one_line() -> None:
    head = (Conv(4), Flatten(), Linear(3))
    network = Network(
        "own", Shape(1, 8, 8), (Block("body", (Conv(2), ReLU(), *head)),), tuple("abc")
    )
    dense = weights.Model(network, weights.initial(network, 0))
    with pytest.raises(ModelError, match=r"^own has no class maps: .*; those of nin-small are$"):
        netinnet.explain(np.zeros((8, 8), np.uint8), model=dense)
    with pytest.raises(ModelError, match=r"^unknown class 'Bags' \(did you mean 'Bag'\?\)"):
        netinnet.explain(np.zeros((8, 8), np.uint8), classes=["Bags"])
    with pytest.raises(ImageError, match=r"^a picture is a uint8 array"):
        netinnet.explain(np.zeros((8, 8)))


def test_values_that_are_not_finite_are_refused() -> None:
    model = _mirror()
    for tensor in model.weights.values():
        tensor[0] = 3e38
    with pytest.raises(ModelError, match="not finite"):
        netinnet.explain(SCENE, model=model)


# --- the drawing


def _grey(colour: np.ndarray) -> np.ndarray:
    return colour @ [0.299, 0.587, 0.114]


def test_the_scale_is_in_order_in_grey_over_any_picture() -> None:
    values = np.linspace(-2, 2, 41)
    for below in (0, 100, 255):
        shades = _grey(overlays.colours(values, 2.0, np.full(41, below)))
        assert (np.diff(shades) > 0).all()
    ends = _grey(overlays.colours(np.array([[-2.0], [2.0]]), 2.0, np.array([0, 255])))
    # Any picture's black and white lie between the two ends.
    assert ends[0].max() < overlays.GREYS[0] < overlays.GREYS[1] < ends[1].min()


def test_a_map_of_zeros_leaves_the_picture() -> None:
    drawn = overlays.colours(np.zeros(3), 0.0, np.array([0, 127, 255]))
    assert (drawn == drawn[:, :1]).all()
    assert (np.diff(drawn[:, 0].astype(int)) > 0).all()


@pytest.mark.parametrize("size", [(1, 1), (6, 6), (28, 40), (3, 900), (1200, 700)])
def test_an_overlay_has_the_pictures_proportions(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    result = netinnet.explain(picture, model=_mirror())
    drawn = overlays.overlay(result, result.classes[0])
    assert max(drawn.size) <= overlays.LARGE
    assert max(drawn.size) > overlays.SMALL / 2
    expected = [max(1, round(side * max(drawn.size) / max(size))) for side in size]
    assert [drawn.height, drawn.width] == expected
    assert overlays.panel(result, result.classes[0])[:4] == b"\x89PNG"


def test_an_overlay_is_yellow_where_the_map_is_high() -> None:
    result = netinnet.explain(SCENE, model=_mirror(), classes=["light", "dark"])
    light, dark = (
        np.asarray(overlays.overlay(result, c)).astype(int)[..., 0]
        - np.asarray(overlays.overlay(result, c))[..., 2]
        for c in result.classes
    )
    y, x = 4 * 42 + 21, 21  # the middle of the 8 in the corner, away from cross and box
    assert light[y, x] > 80
    assert dark[y, x] < -40


# --- the command


def test_a_folder_is_written(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(photos, "--output", "out", "--grid", "--npy", "--classes", "dark") == 0
    assert sorted(path.name for path in Path("out").iterdir()) == [
        *("10.dark.png", "10.npy", "2-2.npy", "2.dark-2.png", "2.dark.png", "2.npy"),
        *("index.html", "sheet.png"),
    ]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        *("photos/2.png", "photos/10.png", "photos/inner/2.png", "page"),
    ]
    maps = np.load("out/10.npy")
    assert (maps.shape, maps.dtype) == ((2, 6, 6), np.float32)
    np.testing.assert_allclose(maps[0], SCENE / 255, atol=1e-6)
    page = parse(Path("out/index.html").read_text("utf-8"))
    assert page.tags.count("img") == 3
    assert "script" not in page.tags
    assert HOSTILE in page.text
    assert "matplotlib" not in page.text


def test_a_closed_standard_output(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert explain(photos) == 0
    assert len(list(Path("explained").iterdir())) == 4
    assert explain(photos, "--json") == 0


def test_the_class_that_is_shown_is_each_pictures_own(photos: Path) -> None:
    Image.fromarray(np.zeros((6, 6), np.uint8)).save("black.png")
    Image.fromarray(np.full((6, 6), 255, np.uint8)).save("white.png")
    assert explain("black.png", "white.png") == 0
    names = sorted(path.name for path in Path("explained").iterdir())
    assert names[:2] == ["black.dark.png", "index.html"]
    assert names[2].startswith("white.a-b")
    assert parse(Path("explained/index.html").read_text("utf-8")).values("alt") == [
        *(f"{name}: the overlay of its class map" for name in ("dark", HOSTILE)),
    ]


def test_json_has_the_maps_and_writes_nothing(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(Path().rglob("*"))
    assert explain(photos / "2.png", "none.png", "--json", "--classes", "dark") == 2
    out, err = capsys.readouterr()
    good, bad = map(json.loads, out.splitlines())
    assert good["file"] == "photos/2.png"
    assert (good["width"], good["height"], good["overlays"]) == (6, 6, [])
    (shown,) = good["classes"]
    assert np.mean(shown["values"]) == pytest.approx(shown["logit"], abs=1e-6)
    assert shown["peak"] == [0.5, 0.5]
    assert good["rows"] == {"first": 0.5, "step": 1.0, "length": 6, "seen": [0, 6]}
    assert bad == {"file": "none.png", "error": err.strip().removeprefix("nin: ")}
    assert sorted(Path().rglob("*")) == before


def test_nothing_is_written_over(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = photos / "10.png"
    assert explain(picture) == 0
    before = {path: path.read_bytes() for path in Path("explained").iterdir()}
    assert explain(picture) == 2
    assert "explained/index.html already exists" in capsys.readouterr().err
    (Path("explained") / "index.html").unlink()
    assert explain(photos / "2.png") == 0
    Path("explained/index.html").unlink()
    assert explain(picture) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert {path: path.read_bytes() for path in before if path.exists()}.items() <= before.items()
    assert explain(picture, "--force") == 0


def test_a_failure_is_on_the_page_and_ends_nothing(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "1.png").write_bytes(b"hello")
    assert explain(photos, "--output", "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    page = parse(Path("out/index.html").read_text("utf-8"))
    assert page.tags.count("img") == 3
    assert f"Not explained: {line.removeprefix('nin: ')}" in page.text


def test_its_own_files_are_not_explained(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert explain(photos, "--output", photos / "maps", "--force") == 0
        out, err = capsys.readouterr()
        assert len(out.splitlines()) == 4
    line = "nin: photos/maps: 3 skipped: in the folder that is written to"
    assert err.splitlines()[-1] == line


@pytest.mark.parametrize("output", [".", "photos"])
def test_the_folder_may_be_the_pictures_own(photos: Path, output: str) -> None:
    assert explain(photos, "--output", output, "--classes", "dark") == 0
    assert len(list(Path(output).glob("*.dark*.png"))) == 3


def test_standard_input(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = (photos / "2.png").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert explain("-", "--classes", "dark") == 0
    assert Path("explained/standard-input.dark.png").is_file()


def test_more_pictures_than_a_page_holds_are_said(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netinnet.reports.explained.MOST", 2)
    assert explain(photos, "--grid") == 0
    page = parse(Path("explained/index.html").read_text("utf-8"))
    assert "Only the first 2 pictures are shown" in page.text
    assert len(list(Path("explained").glob("*.png"))) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photos", "--classes", "night"], "unknown class 'night'; known are a/b <script>"),
        (["photos", "--json", "--npy"], "--grid, --npy and --force need --output"),
        (["empty"], "no picture in empty"),
        (["photos", "--framework", "torhc"], "unknown framework 'torhc'"),
    ],
)
def test_a_mistake_is_one_line(
    photos: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    assert explain(*arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not Path("explained").exists()


def test_a_network_with_another_head_is_told_so(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lenet = zoo.network("lenet")
    weights.save(Path("lenet.safetensors"), weights.Model(lenet, weights.initial(lenet, 0)))
    assert explain(photos, model="lenet.safetensors") == 2
    err = capsys.readouterr().err
    assert err.startswith("nin: lenet has no class maps: its logits are not made by global average")
    assert err.count("\n") == 1
    assert not Path("explained").exists()


def test_long_names_are_cut_and_stay_apart(photos: Path) -> None:
    names = (f"{'long' * 60}-a", f"{'long' * 60}-b")
    weights.save(Path("long.safetensors"), _mirror(classes=names))
    flags = (word for name in names for word in ("--classes", name))
    assert explain(photos / "2.png", *flags, model="long.safetensors") == 0
    assert len(list(Path("explained").glob("2.long*.png"))) == 2


def test_the_page_of_the_docs_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/explain.md").read_text("utf-8")
    commands, code = re.findall(r"^```(?:sh|python)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    picture = _noise(1, netinnet.load().network)[0]
    for path in (Path("boot.png"), Path("photos/1.png")):
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture[..., 0]).save(path)
    Path("runs/first").mkdir(parents=True)
    weights.save(Path("runs/first/model.safetensors"), netinnet.load())
    for line in commands.splitlines():
        words = shlex.split(line, comments=True)
        assert words[0] == "nin"
        assert run(words[1:]) == 0, line
    assert Path("maps/sheet.png").is_file()
    names: dict[str, Any] = {"pictures": [picture, picture]}
    exec(code, names)  # noqa: S102
    assert [maps.shape for maps in names["maps"]] == [(10, 7, 7)] * 2


@pytest.mark.usefixtures("without_matplotlib")
def test_it_needs_no_matplotlib(photos: Path) -> None:
    assert explain(photos, "--grid") == 0
