"""Probabilities that hold, and "none of these": found, kept in the model, said by the commands."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import netinnet
from netinnet import calibration, weights
from netinnet.calibration import Calibration
from netinnet.cli.calibrate import calibration_line
from netinnet.data.source import Arrays, View, from_arrays
from netinnet.errors import ModelError, NetinnetError
from netinnet.formats import convert
from netinnet.inference import calibrating, model_files, onnx_graph, oracle
from netinnet.inference.predictor import NONE_OF_THESE, Predictor
from netinnet.metrics import softmax
from netinnet.networks import features, zoo
from netinnet.networks.blocks import Block
from netinnet.networks.layers import Conv, Flatten, GlobalAvgPool, Linear, ReLU, Shape
from netinnet.networks.network import Network
from netinnet.preprocessing import prepare
from netinnet.training.recipe import Recipe
from tests.conftest import FRAMEWORK, ROOT, needs, nin

COLUMNS = ("left", "right", "everywhere")


def _pictures(count: int, seed: int = 0) -> Arrays:
    """Dim noise, brighter on the left (class 0), on the right (1), or on both sides (2)."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 40, (count, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(count) % 3
    images[labels != 1, :, :4] += 90
    images[labels != 0, :, 4:] += 90
    return Arrays(images, labels)


def _network(*head: Any, last: tuple[Any, ...] = (ReLU(), Conv(3, 1))) -> Network:
    blocks = (
        Block("block1", (Conv(6, 3, padding=1), *last)),
        Block("head", head or (GlobalAvgPool(), Flatten())),
    )
    return Network("tiny", Shape(1, 8, 8), blocks, COLUMNS)


@pytest.fixture(scope="module")
def model() -> weights.Model:
    """A calibrated model; its weights are not trained."""
    network = _network()
    plain = weights.Model(network, weights.initial(network, 1))
    found = calibrating.calibrate(Predictor(plain), _pictures(300), _pictures(300, 1))
    return dataclasses.replace(plain, calibration=found.calibration)


def _changed(model: weights.Model, **values: Any) -> weights.Model:
    assert model.calibration is not None
    return dataclasses.replace(model, calibration=dataclasses.replace(model.calibration, **values))


BRIGHT = np.random.default_rng(5).integers(0, 2, (4, 8, 8, 1), dtype=np.uint8) * 255


# --- the numbers


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_known_temperature_is_found(temperature: float) -> None:
    rng = np.random.default_rng(3)
    logits = (3 * rng.standard_normal((6000, 5))).astype(np.float32)
    chances = softmax(logits / np.float32(temperature)).cumsum(axis=1)
    labels = (rng.random((6000, 1)) > chances[:, :-1]).sum(axis=1)
    found = calibration.fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.06)
    bins = calibration.reliability(logits, labels, found)
    assert calibration.calibration_error(bins) < 0.02


def test_pictures_that_are_all_right_make_no_one_infinitely_sure() -> None:
    logits = 3 * np.eye(4, dtype=np.float32)[np.arange(20) % 4]
    found = calibration.fit_temperature(logits, np.arange(20) % 4)
    assert 0.5 < found < 1
    assert softmax(logits / np.float32(found)).max() < 0.99


def test_a_temperature_at_the_limit_of_the_search_says_so() -> None:
    """Labels that have nothing to do with the logits, and logits that are far too small."""
    eye = np.eye(2, dtype=np.float32)[np.arange(200) % 2]
    none, faint = 30 * eye, 1e-3 * eye
    hot = calibration.fit_temperature(none, np.arange(200) // 2 % 2)
    cold = calibration.fit_temperature(faint, np.arange(200) % 2)
    assert (hot, cold) == (calibration.HIGHEST, calibration.LOWEST)
    values = {"pictures": 200, "ece": (0.5, 0.1), "refuse": 0.01, "threshold": None}
    for temperature in (hot, cold):
        line = calibration_line({**values, "temperature": temperature})
        assert f"temperature {temperature:.3f} (at the limit of the search), expected" in line
    assert "limit" not in calibration_line({**values, "temperature": 1.5})
    page = (ROOT / "docs/confidence.md").read_text("utf-8")
    assert f"from {calibration.LOWEST:g} to {calibration.HIGHEST:g}" in page


def test_the_calibration_error_by_hand() -> None:
    """Ten pictures of 80 % of which 6 are right, ten of 50 % of which 5 are: (10·.2 + 10·0)/20."""
    logits = np.zeros((20, 2), np.float32)
    logits[:10, 0] = np.log(4)
    labels = np.array([0] * 6 + [1] * 4 + [0] * 5 + [1] * 5)
    bins = calibration.reliability(logits, labels)
    assert [b.count for b in bins] == [10, 10]
    assert [b.accuracy for b in bins] == [0.5, 0.6]
    assert calibration.calibration_error(bins) == pytest.approx(0.1)


@pytest.mark.parametrize(("count", "refused"), [(98, None), (99, 0), (199, 1), (1000, 9)])
def test_the_threshold_keeps_its_promise(count: int, refused: int | None) -> None:
    scores = np.random.default_rng(0).permutation(count).astype(np.float64)
    threshold = calibration.fit_threshold(scores, 0.01)
    assert threshold == refused
    if threshold is not None:
        assert (scores < threshold).sum() == refused


def test_auroc_counts_pairs() -> None:
    rng = np.random.default_rng(1)
    known, unknown = (rng.integers(0, 9, n).astype(float) for n in (40, 30))
    pairs = known[:, None] - unknown
    assert calibration.auroc(known, unknown) == ((pairs > 0) + (pairs == 0) / 2).mean()


def test_distances_are_standard_deviations_within_a_class() -> None:
    rng = np.random.default_rng(2)
    labels = np.arange(20_000) % 2
    mixed = rng.standard_normal((20_000, 3)) @ np.array([[2, 0, 0], [1, 0.5, 0], [0, 0, 9.0]])
    values = (mixed + 50 * labels[:, None]).astype(np.float32)
    means, whitening = calibration.fit_distances(values, labels)
    within = np.cov((values - 50 * labels[:, None]) @ whitening, rowvar=False)
    assert np.allclose(within, np.eye(3), atol=0.05)
    place = values[labels == 0].mean(axis=0) + np.array([0, 0, 18], np.float32)
    assert calibration.distance(place[None], means, whitening) == pytest.approx(2, rel=0.03)


def test_features_that_never_change_and_few_pictures_give_numbers() -> None:
    same, one = np.ones((5, 4), np.float32), np.arange(5) % 2
    assert np.isfinite(calibration.distance(same + 1, *calibration.fit_distances(same, one))).all()
    logits = np.zeros((5, 2), np.float32)
    found = calibration.fit(calibration.fit_distances(same, one), logits, same, one)
    assert found.threshold is None
    assert not found.refuses(np.array([-1e9])).any()


def test_counter_examples_choose_the_score() -> None:
    """Of those that look like a class but leave the network unsure, the energy alone tells."""
    rng = np.random.default_rng(4)
    labels = np.arange(600) % 3
    logits = (9 * np.eye(3)[labels] + rng.standard_normal((600, 3))).astype(np.float32)
    near = rng.standard_normal((600, 8)).astype(np.float32)
    less = 7 * np.eye(3)[labels[:50]] + rng.standard_normal((50, 3))
    unsure = less.astype(np.float32), near[:50]
    distances = calibration.fit_distances(near, labels)
    plain = calibration.fit(distances, logits, near, labels)
    told = calibration.fit(distances, logits, near, labels, counter_examples=unsure)
    assert told.energy > plain.energy
    assert told.counter_examples is not None
    assert told.counter_examples.pictures == 50
    assert told.counter_examples.auroc > calibration.auroc(
        plain.scores(logits, near), plain.scores(*unsure)
    )


@pytest.mark.parametrize("share", [0, 1, -0.1])
def test_a_share_that_can_not_be(share: float) -> None:
    with pytest.raises(NetinnetError, match=r"refuse must be above 0 and below 1, as 0.01, got"):
        calibration.check_share(share)


# --- features


@pytest.mark.parametrize(
    ("network", "layer", "size"),
    [
        (_network(), "block1.conv2", 6),
        (_network(GlobalAvgPool(), Flatten(), Linear(3), last=(ReLU(),)), "head.flatten1", 6),
        (_network(Flatten(), Linear(3), last=(ReLU(),)), "head.flatten1", 6),
        (_network(Flatten(), Linear(5), ReLU(), Linear(3), last=(ReLU(),)), "head.linear2", 5),
    ],
)
def test_features_are_what_goes_into_the_last_weights(
    network: Network, layer: str, size: int
) -> None:
    found = features.of(network)
    assert found is not None
    assert (found.layer, found.size) == (layer, size)
    tensors = weights.initial(network, 0)
    images = _pictures(3).images
    x = prepare(images, network.input, network.preprocessing).transpose(0, 3, 1, 2)
    expected = oracle.logits(features.cut(network, found), tensors, x)
    got = Predictor(weights.Model(network, tensors)).run(images, ("features",))["features"]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", zoo.ZOO)
def test_every_network_of_the_zoo_has_features_or_too_many(name: str) -> None:
    network = zoo.network(name)
    found = features.of(network)
    if name in ("alexnet", "vgg11", "vgg11-quarter"):
        assert found is None
    else:
        assert found is not None
        assert features.cut(network, found).output.size == found.size


def test_the_first_layer_and_a_residual_block_have_none() -> None:
    first = Block("maps", (Conv(3, 1),)), Block("head", (GlobalAvgPool(), Flatten()))
    assert features.of(Network("first", Shape(1, 8, 8), first, COLUMNS)) is None
    inside = Block("a", (Conv(3, 1),)), Block("b", (Conv(3, 1), Conv(3, 1)), residual=True)
    network = Network("residual", Shape(1, 8, 8), (*inside, first[1]), COLUMNS)
    assert features.of(network) is None
    plain = weights.Model(network, weights.initial(network, 0))
    logits, measured = Predictor(plain).evidence(_pictures(2).images)
    assert logits is measured


# --- kept in the model


def test_the_files_keep_it(model: weights.Model, tmp_path: Path) -> None:
    assert model.calibration is not None
    text = model.calibration.to_json()
    file = tmp_path / "model.safetensors"
    weights.save(file, model)
    for name in ("model.onnx", "again.safetensors"):
        read = convert.read(file, None).model
        assert read.calibration is not None
        assert read.calibration.to_json() == text
        file = tmp_path / name
        convert.write(file, read)
    assert file.read_bytes() == (tmp_path / "model.safetensors").read_bytes()
    # A model that was read and then has none any more writes none.
    weights.save(file, dataclasses.replace(read, calibration=None))
    assert weights.load(file).calibration is None


def test_probabilities_are_calibrated_and_logits_raw(model: weights.Model) -> None:
    import onnxruntime

    model = _changed(model, temperature=2.0)
    images = _pictures(5, 7).images
    plain = Predictor(dataclasses.replace(model, calibration=None)).run(
        images, ("logits", "probabilities")
    )
    predictor = Predictor(model)
    np.testing.assert_array_equal(predictor.logits(images), plain["logits"])
    expected = softmax(plain["logits"] / np.float32(2))
    np.testing.assert_array_equal(predictor.probabilities(images), expected)
    session = onnxruntime.InferenceSession(
        onnx_graph.to_onnx(model), providers=["CPUExecutionProvider"]
    )
    names = [o.name for o in session.get_outputs()]
    assert names == ["logits", "probabilities", "class_maps", "features"]
    results = dict(zip(names, session.run(names, {"pictures": images}), strict=True))
    np.testing.assert_allclose(results["probabilities"], expected, rtol=1e-5)
    assert model.calibration is not None
    np.testing.assert_allclose(
        model.calibration.scores(results["logits"], results["features"]),
        predictor.scores(images),
        rtol=1e-6,
    )
    explained = netinnet.explain(images[0], model=model).classes[0]
    assert explained.probability == pytest.approx(float(expected[0].max()))


def test_a_model_without_it_is_as_before(model: weights.Model, tmp_path: Path) -> None:
    """Files of 0.1.0 have none."""
    plain = dataclasses.replace(model, calibration=None)
    weights.save(tmp_path / "old.safetensors", plain)
    assert b"calibration" not in (tmp_path / "old.safetensors").read_bytes()
    assert b"features" not in onnx_graph.to_onnx(plain)
    predictor = Predictor(tmp_path / "old.safetensors")
    answer = predictor.answer(BRIGHT[0])
    assert (answer.score, answer.refused) == (None, False)
    assert answer.name == answer.predictions[0].name
    assert answer.predictions == predictor.predict(BRIGHT[0])
    with pytest.raises(ModelError, match="tiny is not calibrated: nin calibrate does that"):
        predictor.scores(BRIGHT)


@needs(FRAMEWORK)
@pytest.mark.parametrize("last", [(ReLU(), Conv(3, 1)), (ReLU(),)])
def test_a_framework_gives_the_same_scores(last: tuple[Any, ...]) -> None:
    head = () if len(last) == 2 else (Flatten(), Linear(3))
    network = _network(*head, last=last)
    plain = weights.Model(network, weights.initial(network, 1))
    found = calibrating.calibrate(Predictor(plain), _pictures(90), _pictures(300, 1))
    model = dataclasses.replace(plain, calibration=found.calibration)
    images = np.concatenate([_pictures(6, 2).images, BRIGHT])
    native = Predictor(model, framework=FRAMEWORK).scores(images)
    np.testing.assert_allclose(native, Predictor(model).scores(images), rtol=1e-3, atol=1e-3)


def _damaged(text: str, **values: Any) -> str:
    return json.dumps({**json.loads(text), **values})


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"temperature": 0}, "its numbers are out of range"),
        ({"temperature": "warm"}, "damaged"),
        ({"threshold": float("nan")}, "its numbers are out of range"),
        ({"score": "entropy"}, "its score was computed by another version of netinnet"),
        ({"means": "AAAA"}, "damaged"),
        ({"whitening": "?"}, "damaged"),
        ({"shape": [3]}, "damaged"),
        ({"more": 1}, "unexpected keyword argument 'more'"),
        ({"counter_examples": {"x": 1}}, "damaged"),
    ],
)
def test_what_is_damaged_is_refused(
    values: dict[str, Any], reason: str, model: weights.Model, tmp_path: Path
) -> None:
    assert model.calibration is not None
    text = _damaged(model.calibration.to_json(), **values)
    with pytest.raises(ModelError, match=f"^m: its calibration is damaged .*{reason}|{reason}"):
        Calibration.from_json(text, "m")
    file = tmp_path / "model.safetensors"
    weights.save(file, model, {"calibration": text})
    with pytest.raises(ModelError, match=f"{file.name}: its calibration"):
        weights.load(file)
    with pytest.raises(ModelError, match="damaged"):
        Calibration.from_json("[]", "m")


def test_another_networks_calibration_is_refused(model: weights.Model, tmp_path: Path) -> None:
    network = _network(last=(ReLU(), Conv(9, 1), Conv(3, 1)))
    file = tmp_path / "model.safetensors"
    other = weights.Model(network, weights.initial(network, 0), calibration=model.calibration)
    weights.save(file, other)
    with pytest.raises(ModelError, match=r"calibration is for 6 features, tiny has 9"):
        weights.load(file)


# --- said by the commands


@pytest.fixture
def asked(model: weights.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments that name a picture of each kind and the model."""
    monkeypatch.chdir(tmp_path)
    weights.save(Path("m.safetensors"), model)
    Image.fromarray(_pictures(1, 9).images[0, ..., 0]).save("known.png")
    Image.fromarray(BRIGHT[0, ..., 0]).save("other.png")
    return ["known.png", "other.png", "--model", "m.safetensors"]


def test_predict_says_none_of_these(asked: list[str]) -> None:
    done = nin("predict", *asked, "--top", "1")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert lines[0].endswith("%")
    assert lines[1].startswith("other.png: none of these (score -")
    assert nin("predict", *asked[1:]).stdout == f"{lines[1]}\n"
    always = nin("predict", *asked, "--top", "1", "--always-answer").stdout.splitlines()
    assert always[0] == lines[0]
    assert always[1].endswith("%")


def test_json_and_csv_say_it(asked: list[str]) -> None:
    rows = [json.loads(x) for x in nin("predict", *asked, "--json").stdout.splitlines()]
    assert [row["none_of_these"] for row in rows] == [False, True]
    assert [len(row["predictions"]) for row in rows] == [3, 0]
    assert rows[0]["score"] > rows[1]["score"]
    always = nin("predict", *asked, "--json", "--always-answer").stdout.splitlines()
    row = json.loads(always[1])
    assert (row["none_of_these"], len(row["predictions"])) == (False, 3)
    assert row["score"] == rows[1]["score"]
    table = list(csv.DictReader(io.StringIO(nin("predict", *asked, "--csv").stdout)))
    assert [r["file"] for r in table] == ["known.png"] * 3 + ["other.png"]
    assert (table[3]["class"], table[3]["probability"]) == (NONE_OF_THESE, "")
    assert float(table[3]["score"]) == rows[1]["score"]


def test_explain_says_it(asked: list[str]) -> None:
    lines = nin("explain", *asked).stdout.splitlines()
    assert "none of these" not in lines[0]
    assert lines[1].startswith("other.png: none of these (score -")
    assert lines[1].endswith("what it would be:")
    assert Path("explained/index.html").read_text().count("The model says: none of these") == 1
    rows = [json.loads(x) for x in nin("explain", *asked, "--json").stdout.splitlines()]
    assert [row["none_of_these"] for row in rows] == [False, True]


# --- training and nin calibrate


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, a run that held pictures out, and one that did not."""
    folder = tmp_path_factory.mktemp("calibrated")
    sets = {"train": _pictures(360), "test": _pictures(60, 1)}
    splits = {name: (split.images, split.labels) for name, split in sets.items()}
    data = netinnet.data.save(from_arrays("dim", **splits, classes=COLUMNS), folder / "dim")
    for name, validation in (("held", 0.4), ("all", 0.0)):
        netinnet.train(
            "fashion",
            network=_network(),
            dataset=str(data),
            framework=FRAMEWORK,
            output=folder / name,
            validation=validation,
            epochs=2,
            threads=1,
        )
    return folder


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "runs")
    return tmp_path / "runs"


def _weights(file: Path) -> bytes:
    content = file.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


def test_a_run_that_holds_pictures_out_is_calibrated(trained: Path) -> None:
    metrics = json.loads((trained / "held/metrics.json").read_text())["calibration"]
    kept = netinnet.load(trained / "held").calibration
    assert kept.to_dict().items() <= metrics.items()
    assert metrics["pictures"] == sum(b["count"] for b in metrics["reliability"]["after"]) == 144
    assert model_files.find(trained / "held/model.onnx").calibration.to_json() == kept.to_json()
    page = (trained / "held/report.html").read_text()
    assert "expected calibration error" in page
    assert "is none of these: at most 1.0%" in page


def test_held_out_pictures_are_evaluated(trained: Path) -> None:
    """Those that the model's recipe held out; of a data set that is named, its own."""
    run, data = trained / "held", str(trained / "dim")
    found = json.loads(nin("evaluate", run, "--split", "validation", "--json").stdout)
    assert (found["split"], found["count"]) == ("validation", 144)
    metrics = json.loads((run / "metrics.json").read_text())["validation"]
    assert found["accuracy"] == metrics["accuracy"]
    assert found["loss"] == pytest.approx(metrics["loss"], rel=1e-5)
    few = nin("evaluate", run, "--split", "validation", "--examples", "10", "--json")
    assert json.loads(few.stdout)["count"] == 10
    cure = "; nin train --validation 0.1 holds out a tenth\n"
    for arguments, reason in (
        ([trained / "all"], "dim has no validation split, and the model's recipe held nothing out"),
        ([run, "--dataset", data], "dim has no validation split"),
    ):
        done = nin("evaluate", *arguments, "--split", "validation")
        assert (done.returncode, done.stderr) == (2, f"nin: {reason}{cure}")


def test_a_run_that_learns_all_says_so(trained: Path) -> None:
    metrics = json.loads((trained / "all/metrics.json").read_text())
    assert metrics["calibration"] is None
    assert "validation = 0.1 holds out a tenth" in metrics["not_calibrated"]
    assert netinnet.load(trained / "all").calibration is None
    assert "Not calibrated: no pictures were held out" in (trained / "all/report.html").read_text()


def test_calibrating_again_gives_the_same_and_changes_no_weight(runs: Path) -> None:
    run = runs / "held"
    before = (run / "model.safetensors").read_bytes()
    done = nin("calibrate", run)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("calibrated on 144 pictures: temperature ")
    assert "(1.0% of good ones)" in done.stdout
    assert (run / "model.safetensors").read_bytes() == before
    found = json.loads(nin("calibrate", run, "--refuse", "0.1", "--json").stdout)
    assert found["refuse"] == 0.1
    assert (run / "model.safetensors").read_bytes() != before
    assert json.loads((run / "metrics.json").read_text())["calibration"]["refuse"] == 0.1
    page = (run / "report.html").read_text()
    assert "at most 10.0%" in page
    assert "Training pictures" in page  # as the report that the training wrote
    onnx = model_files.find(run / "model.onnx").calibration
    assert onnx is not None
    assert onnx.refuse == 0.1
    shown = nin("evaluate", run).stdout
    assert "before scaling), refused as none of these" in shown


def test_a_model_that_learnt_all_takes_it_from_its_like(runs: Path) -> None:
    before = _weights(runs / "all/model.safetensors")
    refused = nin("calibrate", runs / "all")
    assert refused.returncode == 2
    assert "no pictures were held out from training" in refused.stderr
    assert "--like the run of the same recipe" in refused.stderr
    assert nin("calibrate", runs / "all", "--like", runs / "held").returncode == 0
    own, other = (netinnet.load(runs / name).calibration for name in ("all", "held"))
    assert (own.temperature, own.threshold) == (other.temperature, other.threshold)
    assert not np.array_equal(own.means, other.means)
    assert _weights(runs / "all/model.safetensors") == before
    assert "expected calibration error" in (runs / "all/report.html").read_text()


def test_what_is_promised_by_another_takes_no_share(runs: Path) -> None:
    done = nin("calibrate", runs / "all", "--like", runs / "held", "--refuse", "0.3")
    line = "--like takes the threshold of another model: leave out --refuse"
    assert (done.returncode, done.stderr) == (2, f"nin: {line}\n")


def test_files_that_are_no_counter_examples_are_said(tmp_path: Path) -> None:
    Image.fromarray(BRIGHT[0, ..., 0]).save(tmp_path / "other.png")
    (tmp_path / "other.heic").write_bytes(b"no")
    said: list[str] = []
    found = calibrating.read_counter_examples(tmp_path, 1, lambda text, *_: said.append(text))
    assert len(found) == 1
    assert any(": 1 skipped: hidden" in line for line in said)


def test_means_are_of_all_classes_where_labels_come_in_turns(
    model: weights.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = len(model.network.classes)
    monkeypatch.setattr(calibrating, "MOST", 40)
    plain = _pictures(40 * classes)
    turns = Arrays(plain.images, np.arange(len(plain)) % classes)
    asked: list[Any] = []
    monkeypatch.setattr(
        calibrating.calibration, "fit_distances", lambda _, labels: asked.append(set(labels))
    )
    calibrating.distances(Predictor(model), turns)
    assert asked == [set(range(classes))]


def test_what_can_not_be_calibrated(runs: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    before = (runs / "held/model.safetensors").read_bytes()
    for arguments, reason in (
        (("--refuse", "1"), "refuse must be above 0 and below 1"),
        (("--like", runs / "all"), "not calibrated itself; nin calibrate does that"),
        (("--like", model_files.shipped()), "not trained as"),
        (("--none-of-these", empty), "no picture in"),
        (("--like", runs / "all", "--none-of-these", empty), "leave out --none-of-these"),
        (("--dataset", runs / "dim"), "name a --dataset with a validation split"),
    ):
        done = nin("calibrate", runs / "held", *arguments)
        assert done.returncode == 2, arguments
        assert reason in done.stderr
        assert done.stderr.count("\n") == 1
    assert (runs / "held/model.safetensors").read_bytes() == before


def test_counter_examples_from_a_folder(runs: Path, tmp_path: Path) -> None:
    for i, picture in enumerate(BRIGHT):
        Image.fromarray(picture[..., 0]).save(tmp_path / f"{i}.png")
        (tmp_path / "inner").mkdir(exist_ok=True)
        Image.fromarray(np.full((20, 30, 3), 200, np.uint8)).save(tmp_path / f"inner/{i}.png")
    (tmp_path / "pictures").mkdir()
    for name in ("0.png", "1.png", "inner"):
        shutil.move(tmp_path / name, tmp_path / "pictures" / name)
    done = nin("calibrate", runs / "held", "--none-of-these", tmp_path / "pictures")
    assert done.returncode == 0, done.stderr
    assert "of 6 counter-examples " in done.stdout
    assert netinnet.load(runs / "held").calibration.counter_examples.auroc > 0.9


def test_a_calibration_that_fails_ends_no_training() -> None:
    from netinnet.training import calibrate

    network = _network()
    plain = weights.Model(network, weights.initial(network, 0))
    plain.weights["block1.conv1.weight"][:] = np.nan
    images = (_pictures(9).images, _pictures(9).labels)
    data = from_arrays("dim", images, images, images, classes=COLUMNS)
    found, said = calibrate.after_training(plain, Recipe(), data, 1)
    assert found is None
    assert said["calibration"] is None
    assert said["not_calibrated"]


def test_training_pictures_are_taken_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder's pictures come class by class: the first ones are of one class only."""
    data = _pictures(300)
    ordered = View(data, np.argsort(data.labels, kind="stable"))
    monkeypatch.setattr(calibrating, "MOST", 30)
    network = _network()
    plain = weights.Model(network, weights.initial(network, 0))
    means, _ = calibrating.distances(Predictor(plain), ordered)
    assert means.shape == (3, 6)
