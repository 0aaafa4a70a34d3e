"""Data of one's own: sources, folders, what a run keeps of them, and the thread that loads them."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import itertools
import json
import os
import re
import shutil
import signal
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.lib.stride_tricks import sliding_window_view

import netinnet
from netinnet import data, weights
from netinnet.cli.main import run as command
from netinnet.data import augmentation, batches, datasets
from netinnet.data.augmentation import Augmentation
from netinnet.data.loader import AHEAD, ahead, logits_of
from netinnet.data.source import Arrays, Dataset, View
from netinnet.errors import DataError, NetinnetError, RecipeError
from netinnet.metrics import wilson
from netinnet.networks.network import Preprocessing
from netinnet.preprocessing import normalise
from netinnet.training import recipe as recipes
from netinnet.training import run as runs
from netinnet.training import start
from netinnet.training.events import Evaluation, Event, Progress, of_kind
from netinnet.training.interruption import Interrupted

from .conftest import FRAMEWORK

CLASSES = ("red", "green", "blue", "grey")
SMALL: dict[str, Any] = {
    **{"epochs": 2, "batch_size": 8, "framework": FRAMEWORK, "threads": 1, "device": "cpu"},
    **{"crop_padding": 1, "dropout": 0.2, "learning_rate": 0.02},
}
FLAGS = [
    *("--epochs", "1", "--batch-size", "8", "--framework", FRAMEWORK, "--threads", "1"),
    *("--device", "cpu"),
]


def pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Colour pictures 12×12 with their labels: one channel is bright, or none."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    images = rng.integers(0, 120, (count, 12, 12, 3), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[..., label : label + 1] += 120
    return images, labels


def colours(**changes: Any) -> Dataset:
    return data.from_arrays(
        "colours", pictures(36, 1), pictures(20, 2), **{"classes": CLASSES, **changes}
    )


def same(one: data.Source, other: data.Source) -> None:
    indices = np.array([3, 0, 3, len(one) - 1])
    np.testing.assert_array_equal(one.pictures(indices), other.pictures(indices))
    assert one.pictures(indices).dtype == np.uint8
    assert type(other.pictures(indices)) is np.ndarray
    np.testing.assert_array_equal(one.labels, other.labels)
    assert one.labels.dtype == other.labels.dtype == np.int64


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(dataset: Dataset, folder: Path, compressed: bool) -> Path:
    """The grey pictures of a data set in MNIST's files."""
    folder.mkdir()
    for name, split in (("train", dataset.train), ("t10k", dataset.test)):
        images = split.pictures(np.arange(len(split)))[..., 0]
        for kind, array in (("images-idx3", images), ("labels-idx1", split.labels)):
            content = idx(array.astype(np.uint8))
            suffix = ".gz" if compressed else ""
            content = gzip.compress(content) if compressed else content
            (folder / f"{name}-{kind}-ubyte{suffix}").write_bytes(content)
    return folder


# --- sources


def test_facts_are_computed_from_the_training_pictures_and_said() -> None:
    images, labels = pictures(36, 1)
    said: list[str] = []
    made = data.from_arrays(
        "mine", (images, labels), pictures(8, 2), on_progress=lambda text, *_: said.append(text)
    )
    assert made.facts.classes == ("0", "1", "2", "3")
    assert made.facts.shape == (3, 12, 12)
    assert made.facts.mean == pytest.approx(images.mean((0, 1, 2)) / 255, abs=1e-6)
    assert made.facts.std == pytest.approx(images.std((0, 1, 2)) / 255, abs=1e-6)
    assert len(said) == 1
    assert "taken from the pictures and labels: 4 classes, mean" in said[0]


def test_all_ways_of_storing_give_the_same(tmp_path: Path) -> None:
    """In memory, memory-mapped, IDX, IDX in gzip: pictures, labels, facts and digest."""
    grey = [(images[..., 0], labels.astype(np.uint8)) for images, labels in (pictures(30, 1),) * 2]
    made = data.from_arrays("grey", *grey)
    folders = [
        data.save(made, tmp_path / "npy"),
        write_idx(made, tmp_path / "idx", compressed=False),
        write_idx(made, tmp_path / "gz", compressed=True),
    ]
    for folder in folders:
        read = data.load(str(folder))
        same(made.train, read.train)
        same(made.test, read.test)
        assert read.record.digest == made.record.digest
        assert read.facts == made.facts
    mapped = [isinstance(data.load(str(folder)).train.images, np.memmap) for folder in folders]
    assert mapped == [True, True, False]


def test_parts_are_views_and_nothing_is_copied() -> None:
    made = colours()
    assert made.limited(None, None).train is made.train
    part = made.limited(5, 100)
    assert (len(part.train), len(part.test)) == (5, 20)
    same(part.train, View(made.train, np.arange(5)))
    nested = View(View(made.train, np.arange(10, 20)), np.array([1, 3]))
    np.testing.assert_array_equal(
        nested.pictures(np.array([1])), made.train.pictures(np.array([13]))
    )
    images = pictures(8, 1)[0]
    kept = data.from_arrays("x", (images, np.arange(8) % 4), pictures(8, 2)).train
    assert isinstance(kept, Arrays)
    assert kept.images is images


def test_the_digest_is_of_the_content() -> None:
    made = colours()
    assert made.record.digest == colours(classes=tuple("abcd")).record.digest
    images, labels = pictures(36, 1)
    images[7, 3, 3, 1] += 1
    other = data.from_arrays("colours", (images, labels), pictures(20, 2))
    assert other.record.digest != made.record.digest
    labels = pictures(36, 1)[1][::-1]
    other = data.from_arrays("colours", (pictures(36, 1)[0], labels), pictures(20, 2))
    assert other.record.digest != made.record.digest


def test_the_digest_of_fashion_mnist_is_known_from_its_files(fashion_mnist: Dataset) -> None:
    assert dataclasses.replace(fashion_mnist, digest="").record == (
        datasets.find("fashion-mnist").record()
    )


def test_a_record_survives_json() -> None:
    record = colours(horizontal_flip=False).record
    read = type(record).from_dict(json.loads(json.dumps(record.to_dict())), "x")
    assert read == record


IMAGES, LABELS = pictures(8, 1)
BAD_ARRAYS: dict[str, tuple[Any, str]] = {
    "floats": ((IMAGES / 255, LABELS), "train pictures must be uint8 (0…255)"),
    "flat": ((IMAGES[:, 0, 0], LABELS), "n×h×w or n×h×w×c, and at least one; got uint8 8×3"),
    "empty": ((IMAGES[:0], LABELS[:0]), "at least one; got uint8 0×12×12×3"),
    "counts": ((IMAGES, LABELS[:7]), "one for each of 8 pictures; got int64 7"),
    "float labels": ((IMAGES, LABELS / 2), "labels must be whole numbers from 0"),
    "below 0": ((IMAGES, LABELS - 1), "labels must be whole numbers from 0"),
    "shapes": ((IMAGES[:, :8], LABELS), "pictures of one shape, it has label 3, pictures 12×12×3"),
    "too large": ((IMAGES, LABELS * 10**6), "labels must be below 65,536"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_arrays_that_make_no_data_set(case: str) -> None:
    pair, message = BAD_ARRAYS[case]
    with pytest.raises(DataError, match=re.escape(message)) as error:
        data.from_arrays("mine", pair, pictures(8, 2))
    assert str(error.value).startswith("mine")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "facts",
    [
        {"mean": [0.5]},
        {"std": [0.2, 0.0, 0.1]},
        {"mean": [float("nan")] * 3},
        {"classes": [1, 2, 3, 4]},
        {"mean": ["a", "b", "c"]},
        {"horizontal_flip": "yes"},
    ],
)
def test_facts_that_cannot_be(facts: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"^mine: "):
        data.from_arrays("mine", pictures(8, 1), pictures(8, 2), **{"classes": CLASSES, **facts})


def test_a_label_without_a_class() -> None:
    with pytest.raises(DataError, match="labels must be below 3"):
        colours(classes=CLASSES[:3])


# --- folders


def test_a_folder_keeps_facts_and_a_validation_split(tmp_path: Path) -> None:
    made = data.from_arrays(
        *("mine", pictures(12, 1), pictures(8, 2), pictures(4, 3)),
        **{"classes": CLASSES, "mean": [0.1, 0.2, 0.3], "horizontal_flip": False},
    )
    read = data.load(str(data.save(made, tmp_path / "deep" / "folder")))
    assert read.record == made.record
    assert read.validation is not None
    same(made.validation, read.validation)  # type: ignore[arg-type]


def test_nothing_is_written_over_or_half_written(tmp_path: Path) -> None:
    folder = data.save(colours(), tmp_path / "mine")
    with pytest.raises(NetinnetError, match="exists and is not empty"):
        data.save(colours(), folder)

    class Broken(Arrays):
        def pictures(self, indices: np.ndarray) -> np.ndarray:
            raise OSError(5, "no such disk")

    broken = dataclasses.replace(colours(), test=Broken(*pictures(8, 1)))
    with pytest.raises(NetinnetError, match="no such disk"):
        data.save(broken, tmp_path / "broken")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def _folder(tmp_path: Path) -> Path:
    return data.save(colours(), tmp_path / "mine")


BAD_FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda f: (f / "test-labels.npy").unlink(), "no test labels in it; it should have"),
    "pickle": (
        lambda f: np.save(f / "train-labels.npy", np.array([{}], object), allow_pickle=True),
        "train-labels.npy: not a NumPy file of numbers, or damaged",
    ),
    "truncated": (
        lambda f: os.truncate(f / "train-images.npy", 1000),
        "train-images.npy: not a NumPy file of numbers, or damaged",
    ),
    "no array": (
        lambda f: (f / "test-images.npy").write_bytes(b"PNG"),
        "test-images.npy: not a NumPy file of numbers, or damaged",
    ),
    "folder": (
        lambda f: ((f / "test-images.npy").unlink(), (f / "test-images.npy").mkdir()),
        "test-images.npy: not a NumPy file of numbers, or damaged ([Errno 21] Is a directory",
    ),
    "unknown fact": (
        lambda f: (f / "dataset.json").write_text('{"classses": ["a"]}'),
        "dataset.json: should hold name, classes, mean, std, horizontal_flip, got classses",
    ),
    "no object": (lambda f: (f / "dataset.json").write_text("3"), "not an object in JSON"),
    "no JSON": (lambda f: (f / "dataset.json").write_text("{"), "not an object in JSON"),
    "few classes": (
        lambda f: (f / "dataset.json").write_text('{"classes": ["a", "b"]}'),
        "labels must be below 2",
    ),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_folders_that_hold_no_data_set(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, message = BAD_FOLDERS[case]
    folder = _folder(tmp_path)
    spoil(folder)
    with pytest.raises(DataError, match=re.escape(message)) as error:
        data.load(str(folder))
    assert str(error.value).startswith(str(folder))
    assert "\n" not in str(error.value)
    assert command(["train", "--dataset", str(folder), *FLAGS, "--quiet"]) == 2
    assert capsys.readouterr().err.strip().endswith(str(error.value))


def test_names_and_paths() -> None:
    with pytest.raises(RecipeError, match=r"no data set 'fashion' .*mean 'fashion-mnist'"):
        recipes.load("fashion", dataset="fashion")
    assert recipes.load("fashion", dataset="./fashion").dataset == "./fashion"
    with pytest.raises(DataError, match=r"^fashion: no such folder; a data set's has train-images"):
        data.load("./fashion")


@given(content=st.binary(max_size=80), gz=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_idx_file_is_read_or_refused(content: bytes, gz: bool, tmp_path: Path) -> None:
    file = tmp_path / "train-images-idx3-ubyte"
    for begin in (b"", b"\0\0\x08\x01\0\0\0"):
        raw = gzip.compress(begin + content) if gz else begin + content
        file.write_bytes(raw)
        with contextlib.suppress(DataError):
            assert datasets.folders.open_idx(file).dtype == np.uint8
        file.write_bytes(raw[:-3])
        with contextlib.suppress(DataError):
            datasets.folders.open_idx(file)


@given(array=hnp.arrays(np.uint8, hnp.array_shapes(max_dims=4, max_side=5)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_idx_files_come_back(array: np.ndarray, tmp_path: Path) -> None:
    for compress in (gzip.compress, bytes):
        (tmp_path / "file").write_bytes(compress(idx(array)))
        np.testing.assert_array_equal(datasets.folders.open_idx(tmp_path / "file"), array)


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    header = struct.pack(">HBB3I", 0, 8, 3, 2, 2, 2)
    (tmp_path / "file").write_bytes(gzip.compress(header + bytes(50_000_000)))
    with pytest.raises(DataError, match=r"bytes after the IDX header, which announces 2×2×2 = 8"):
        datasets.folders.open_idx(tmp_path / "file")


@given(content=st.binary(max_size=100))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_npy_file_is_read_or_refused(content: bytes, tmp_path: Path) -> None:
    for begin in (b"", b"\x93NUMPY\x01\0\x46\0{'descr': '|u1', 'fortran_order': False, 'shape': ("):
        (tmp_path / "x.npy").write_bytes(begin + content)
        with contextlib.suppress(DataError):
            datasets.folders._array(tmp_path / "x.npy")


# --- the loader and the batches


def test_the_loader_gives_the_same_batches_in_order() -> None:
    made = colours().train
    make = batches.TrainingBatches(made, Preprocessing((0.5,), (0.2,)), 8, 3, Augmentation(True, 2))
    for step, batch in enumerate(ahead(make, range(11))):
        for mine, alone in zip(batch, make(step), strict=True):
            assert mine.tobytes() == alone.tobytes()
    assert step == 10


def test_the_loader_is_only_a_little_ahead_and_ends_with_the_loop() -> None:
    began: list[int] = []
    items = ahead(lambda n: began.append(n) or n, itertools.count())
    with contextlib.closing(items):
        assert [next(items) for _ in range(3)] == [0, 1, 2]
        time.sleep(0.05)
        assert len(began) <= 3 + AHEAD
    assert not [t for t in threading.enumerate() if t.name.startswith("netinnet-loader")]


def test_what_fails_in_the_loader_reaches_the_loop() -> None:
    def make(n: int) -> int:
        if n == 2:
            raise DataError("the third is damaged")
        return n

    items = ahead(make, range(5))
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(DataError, match="the third is damaged"):
        next(items)
    assert not [t for t in threading.enumerate() if t.name.startswith("netinnet-loader")]


def test_logits_of_a_source_are_those_of_its_pictures() -> None:
    made = colours().train
    by_parts = logits_of(made, lambda p: p.reshape(len(p), -1).astype(np.float32), size=7)
    images = made.pictures(np.arange(len(made)))
    np.testing.assert_array_equal(by_parts, images.reshape(len(images), -1))


@given(
    images=hnp.arrays(np.uint8, st.tuples(*[st.integers(1, 6)] * 3, st.sampled_from([1, 3]))),
    flip=st.booleans(),
    padding=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_faster_augmentation_gives_the_same_bytes(
    images: np.ndarray, flip: bool, padding: int, seed: int
) -> None:
    """Against the plain definitions: a window cut out of a padded picture, then a flip."""
    count, height, width, channels = images.shape
    rng = np.random.default_rng([seed, 1, 2, augmentation.AUGMENT])
    flipped = rng.random((count,)) < 0.5
    expected = images
    if padding:
        corners = rng.integers(0, 2 * padding + 1, size=(2, count))
        padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
        windows = sliding_window_view(padded, (height, width), axis=(1, 2))
        expected = np.moveaxis(windows[np.arange(count), corners[0], corners[1]], 1, 3)
    if flip:
        expected = np.where(flipped[:, None, None, None], expected[:, :, ::-1], expected)
    got = Augmentation(flip, padding)(images, (seed, 1, 2))
    np.testing.assert_array_equal(got, expected)
    own = Preprocessing((0.2860,) * channels, tuple(np.linspace(0.2, 0.4, channels)))
    scale = (1.0 / (255.0 * np.asarray(own.std))).astype(np.float32)
    offset = (np.asarray(own.mean) / np.asarray(own.std)).astype(np.float32)
    plain = images.astype(np.float32) * scale - offset
    assert normalise(images, own).tobytes() == plain.tobytes()


# --- training with data of one's own


def interrupt_at(step: int) -> Callable[[Event], None]:
    def listener(event: Event) -> None:
        if isinstance(event, Progress) and event.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    return listener


def test_an_object_is_trained_resumed_evaluated_and_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = colours()
    whole = netinnet.train("fashion", dataset=made, output=tmp_path / "whole", **SMALL)
    record = json.loads((whole.folder / "dataset.json").read_text())
    assert record["name"] == "colours"
    assert record["digest"] == made.record.digest
    assert (record["train"], record["test"], record["shape"]) == (36, 20, [3, 12, 12])
    model = netinnet.load(whole.folder)
    assert model.network.classes == CLASSES
    assert model.network.input.channels == 3
    assert json.loads(model.notes["dataset"]) == record
    metrics = whole.metrics()
    low, high = metrics["test"]["accuracy_interval"]
    assert low < metrics["test"]["accuracy"] < high or metrics["test"]["accuracy"] in (0, 1)
    assert "red" in (whole.folder / "report.html").read_text()
    assert {p.name for p in netinnet.Predictor(model).predict(IMAGES[0])} == set(CLASSES)

    recipe = recipes.load("fashion", **SMALL)
    with pytest.raises(Interrupted):
        start.train(recipe, dataset=made, output=tmp_path / "cut", listener=interrupt_at(7))
    with pytest.raises(DataError, match="colours was given as an object"):
        netinnet.resume(tmp_path / "cut")
    other = data.from_arrays("colours", pictures(36, 9), pictures(20, 2), classes=CLASSES)
    with pytest.raises(DataError, match="not the data set that was used"):
        netinnet.resume(tmp_path / "cut", dataset=other)
    # The same content as a folder does as well.
    folder = data.save(made, tmp_path / "saved")
    cut = netinnet.resume(tmp_path / "cut", data_dir=folder)
    assert cut.model_file.read_bytes() == whole.model_file.read_bytes()

    capsys.readouterr()
    arguments = ["evaluate", str(whole.folder), "--data-dir", str(folder), "--json"]
    assert command(arguments) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["dataset"] == "colours"
    assert shown["accuracy"] == metrics["test"]["accuracy"]
    assert shown["accuracy_interval"] == metrics["test"]["accuracy_interval"]
    assert command(["evaluate", str(whole.folder)]) == 2
    assert "given as an object" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("split = 5", "the model's recipe: split must be of type str, got 5"),
        ('group_by = "("', "the model's recipe: group_by is no regular expression: missing )"),
        ("skip_bad = []", "the model's recipe: skip_bad must be of type bool, got []"),
        ("dataset = 5", "the model's recipe: dataset must be of type str, got 5"),
        ("split = " + "[" * 5000, "the model's recipe is damaged (maximum recursion depth"),
    ],
)
def test_a_models_damaged_recipe_is_one_line(
    recipe: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not recipe.startswith("dataset"):
        recipe = f'dataset = "{tmp_path}"\n{recipe}'
    shipped = netinnet.load()
    model = tmp_path / "model.safetensors"
    weights.save(model, dataclasses.replace(shipped, notes={"recipe": recipe}))
    assert command(["evaluate", str(model)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_study_refuses_an_object_in_one_line() -> None:
    with pytest.raises(RecipeError, match=r"netinnet\.data\.save writes colours as a folder"):
        netinnet.reliability("fashion", dataset=colours(), seeds=1)


class Unread(Arrays):
    """Pictures that nobody may look at."""

    def pictures(self, indices: np.ndarray) -> np.ndarray:
        raise AssertionError("the test pictures were read")


def test_with_validation_the_test_pictures_stay_unread(tmp_path: Path) -> None:
    made = colours()
    hidden = dataclasses.replace(made, test=Unread(*pictures(20, 2)), digest=made.record.digest)
    recipe = recipes.load("fashion", validation=0.25, evaluate="validation", **SMALL)
    from netinnet.reports import html

    run = start.train(recipe, dataset=hidden, output=tmp_path / "run", report=html.write)
    metrics = run.metrics()
    assert "test" not in metrics
    assert metrics["judged"] == "validation"
    assert metrics["validation_examples"] == 9
    evaluations = of_kind(run.events(), Evaluation)
    assert all({*event.figures} == {"train", "validation"} for event in evaluations)
    assert "How many validation pictures" in run.report_file.read_text()


@pytest.mark.parametrize(
    ("evaluate", "validation", "own", "expected"),
    [
        (None, 0.0, False, ["test"]),
        (None, 0.25, False, ["test", "validation"]),
        (None, 0.0, True, ["test", "validation"]),
        ("test", 0.25, False, ["test"]),
        ("validation", 0.25, False, ["validation"]),
        ("validation", 0.0, True, ["validation"]),
        ("both", 0.25, True, ["test", "validation"]),
    ],
)
def test_what_is_evaluated(
    evaluate: str | None, validation: float, own: bool, expected: list[str]
) -> None:
    from netinnet.training.splits import splits

    recipe = recipes.load("fashion", evaluate=evaluate, validation=validation)
    made = colours(validation=pictures(4, 3) if own else None)
    train, evaluated = splits(recipe, made)
    assert list(evaluated) == expected
    assert len(train) == 27 if validation else 36
    if "validation" in evaluated:
        assert len(evaluated["validation"]) == (9 if validation else 4)


@pytest.mark.parametrize("evaluate", ["validation", "both"])
def test_no_validation_pictures_to_judge_by(evaluate: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"needs pictures held out .*validation = 0\.1"):
        netinnet.train(
            "fashion", dataset=colours(), evaluate=evaluate, output=tmp_path / "run", **SMALL
        )
    assert not (tmp_path / "run").exists()


def test_a_study_by_path_goes_on_where_the_folder_moved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data.save(colours(), "colours")
    study = ["reliability", "--dataset", "./colours", *FLAGS, "--validation", "0.25"]
    study += ["--evaluate", "validation", "--seeds", "1", "--output", "study", "--workers", "1"]
    assert command([*study, "--quiet"]) == 0, capsys.readouterr().err
    assert "median validation acc" in capsys.readouterr().out
    assert "judged by validation accuracy" in (tmp_path / "study" / "report.html").read_text()
    plan = (tmp_path / "study" / "study.toml").read_text()
    assert '[data."./colours"]' in plan

    shutil.move("colours", "elsewhere")
    more = ["reliability", "--resume", "study", "--seeds", "2", "--quiet"]
    assert command(more) == 2
    error = capsys.readouterr().err
    assert "colours: no such folder" in error
    assert command([*more, "--data-dir", "elsewhere", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["judged"] == "validation"
    assert [run["state"] for run in document["arms"][0]["runs"]] == ["finished"] * 2
    (run,) = {path.parent for path in (tmp_path / "study").rglob("seed-1/recipe.toml")}
    assert runs.Run(run).dataset().name == "colours"
    assert "test" not in runs.Run(run).metrics()

    assert command(["evaluate", str(run), "--data-dir", "elsewhere"]) == 0
    assert "on colours, test: 20 pictures" in capsys.readouterr().out
    facts = json.loads(Path("elsewhere/dataset.json").read_text())
    kept = {name: facts[name] for name in ("name", "classes", "mean", "std", "horizontal_flip")}
    Path("elsewhere/dataset.json").write_text(json.dumps(kept))
    labels = np.load("elsewhere/train-labels.npy")
    np.save("elsewhere/train-labels.npy", labels[::-1])
    assert command([*more, "--data-dir", "elsewhere"]) == 2
    assert "not the data set that was used (colours)" in capsys.readouterr().err


def test_a_damaged_record_is_one_line(tmp_path: Path) -> None:
    run = netinnet.train("fashion", dataset=colours(), output=tmp_path / "run", **SMALL)
    for text in ("[", "[1]", '{"name": "x"}', '{"classes": 3}'):
        run.dataset_file.write_text(text)
        with pytest.raises(NetinnetError, match=r"dataset\.json: damaged") as error:
            run.dataset()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    # R: binom::binom.wilson.
    [(0, 10, 0.0, 0.2775328), (9, 10, 0.5958500, 0.9821238), (50, 100, 0.4038315, 0.5961685)],
)
def test_wilsons_interval(right: int, total: int, low: float, high: float) -> None:
    assert wilson(right / total, total) == pytest.approx((low, high), abs=1e-6)
