"""One wrong bit in anything that is kept: found before the first step or prediction, and named.

A flip may only go by where what is read is the same as without it (the time in a gzip header,
blanks at the end of a safetensors header): then nothing is wrong.
"""

from __future__ import annotations

import dataclasses
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attacks.files import small
from netinnet import data, weights
from netinnet.data import datasets, named
from netinnet.errors import ModelError, NetinnetError
from netinnet.formats import convert
from netinnet.inference import model_files, onnx_graph
from netinnet.networks.layers import Shape
from netinnet.training import checkpoint
from tests.test_data import put, tiny_contents
from tests.test_named_data import RNG, Tiny, mat, original, put_svhn

FLIPS = 100
Read = Callable[[list[str]], Any]
"""What is in the files, for comparing; it adds what is said to a list, or raises an error."""


def flipped(files: list[Path], count: int = FLIPS) -> Iterator[Path]:
    """Files with one bit turned, at random places of all their bytes, one after the other."""
    dice = random.Random(0)  # noqa: S311
    contents = {file: file.read_bytes() for file in files}
    sizes = [len(content) for content in contents.values()]
    for file in dice.choices(files, sizes, k=count):
        damaged = bytearray(contents[file])
        damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
        file.write_bytes(damaged)
        yield file
        file.write_bytes(contents[file])


def unseen(files: list[Path], read: Read, count: int = FLIPS) -> int:
    """How many flips go by, since what is read is the same; each other is a line that names it."""
    whole, same = read([]), 0
    for file in flipped(files, count):
        said: list[str] = []
        try:
            assert read(said) == whole, file
        except NetinnetError as error:
            said.append(str(error))
        assert all(file.name in line and "\n" not in line for line in said), said
        same += not said
    return same


def content_of(dataset: data.Dataset) -> tuple[Any, ...]:
    """All that a data set holds."""
    splits = dataset.splits.items()
    parts = [(k, s.labels.tobytes(), s.pictures(np.arange(len(s))).tobytes()) for k, s in splits]
    return (*parts, dataset.facts, dataset.record.digest)


# Data sets


def _idx(name: str, folder: Path, compressed: bool) -> named.NamedDataset:
    put(folder, tiny_contents(), compressed)
    files = tuple(original(n, content, gzip=True) for n, content in tiny_contents().items())
    return dataclasses.replace(datasets.find(name), files=files)


def _cifar(name: str, folder: Path, archive: bool) -> named.NamedDataset:
    with pytest.MonkeyPatch.context() as patch:
        tiny = Tiny(name, patch)
    put(folder, {tiny.archive_name: tiny.archive} if archive else tiny.files, compressed=False)
    return tiny.known


def _svhn(folder: Path) -> named.NamedDataset:
    pictures = RNG.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    return put_svhn(folder, [mat(pictures[:1], np.array([1])), mat(pictures[1:], np.array([10]))])


NAMED: dict[str, Callable[[Path], named.NamedDataset]] = {
    "fashion-mnist": lambda folder: _idx("fashion-mnist", folder, compressed=False),
    "fashion-mnist as gzip": lambda folder: _idx("fashion-mnist", folder, compressed=True),
    "mnist": lambda folder: _idx("mnist", folder, compressed=False),
    "cifar10 unpacked": lambda folder: _cifar("cifar10", folder, archive=False),
    "cifar10": lambda folder: _cifar("cifar10", folder, archive=True),
    "cifar100": lambda folder: _cifar("cifar100", folder, archive=True),
    "svhn": _svhn,
}


@pytest.mark.parametrize("case", NAMED)
def test_data_sets_with_a_name(case: str, tmp_path: Path) -> None:
    """Small files in the true formats, with their own SHA-256 in the published ones' place."""
    known = NAMED[case](tmp_path)
    same = unseen([*tmp_path.iterdir()], lambda _: content_of(known.load(tmp_path)))
    assert same < 10 if "gzip" in case else same == 0


@pytest.mark.slow
def test_the_real_fashion_mnist(fashion_mnist: data.Dataset, tmp_path: Path) -> None:
    known = datasets.find("fashion-mnist")
    folder = known.locate()
    assert folder is not None
    for file in known.files:
        path = file.find(folder)
        assert path is not None
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert unseen([*tmp_path.iterdir()], lambda _: known.load(tmp_path).record.digest) == 0


def _saved(folder: Path) -> Path:
    pictures = RNG.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    made = data.from_arrays("dots", (pictures, np.arange(6) % 2), (pictures[:2], np.arange(2)))
    return data.save(made, folder / "dots")


@pytest.mark.parametrize("only", ["", "dataset.json", "train-labels.npy"])
def test_a_saved_data_set(only: str, tmp_path: Path) -> None:
    folder = _saved(tmp_path)
    files = [path for path in folder.iterdir() if only in path.name]
    assert unseen(files, lambda _: content_of(data.load(str(folder)))) == 0


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of pictures, and an empty cache."""
    monkeypatch.setenv("NETINNET_CACHE", str(tmp_path / "cache"))
    for i in range(8):
        folder = tmp_path / "photos" / ("train", "test")[i % 2] / str(i % 4 > 1)
        folder.mkdir(parents=True, exist_ok=True)
        pixels = RNG.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("kind", ["store-*.npy", "look*.npz"])
def test_what_the_cache_keeps_of_pictures(
    kind: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made anew: a store with a word; a look, an archive with check sums, without."""
    monkeypatch.setattr(os, "fsync", lambda _: None)

    def read(said: list[str]) -> Any:
        sized = data.load(str(photos)).sized(
            Shape(3, 8, 8), lambda text, _done, total: said.append(text) if total is None else None
        )
        return content_of(sized)

    read([])
    (file,) = (photos.parent / "cache/pictures").glob(kind)
    found = unseen([file], read)
    assert found == (0 if kind.startswith("store") else FLIPS)


def test_a_damaged_store_is_said_and_made_anew(photos: Path) -> None:
    said: list[str] = []
    whole = content_of(data.load(str(photos)).sized((3, 8, 8)))
    (file,) = (photos.parent / "cache/pictures").glob("store-*.npy")
    kept = file.read_bytes()
    file.write_bytes(kept[:-32])  # as before 0.2.0, when it had no SHA-256
    again = data.load(str(photos)).sized((3, 8, 8), lambda text, *_: said.append(text))
    assert said[0] == f"{file}: damaged, or of an earlier version; it is made anew"
    assert (content_of(again), file.read_bytes()) == (whole, kept)


# Checkpoints


class Held:
    """A learner that only holds arrays."""

    def __init__(self) -> None:
        self.arrays: dict[str, Any] = {}
        self.state: dict[str, Any] = {}
        self.averages: dict[str, Any] = {}

    def own_weights(self) -> weights.Weights:
        return self.arrays

    def optimizer_state(self) -> dict[str, Any]:
        return self.state

    def set_weights(self, values: Any) -> None:
        self.arrays = dict(values)

    def set_optimizer_state(self, values: Any) -> None:
        self.state = dict(values)

    def average_weights(self) -> weights.Weights:
        return self.averages

    def set_averages(self, values: Any) -> None:
        self.averages = dict(values)


def test_checkpoints(tmp_path: Path) -> None:
    learner: Any = Held()
    for step in (1, 2):
        learner.arrays, learner.state = small().weights, {"a.weight": np.ones(3, np.float32)}
        learner.averages = {"a.weight": np.full(3, 2, np.float32)}
        newest = checkpoint.save(tmp_path, learner, checkpoint.Progress(step), "this run")

    def read(said: list[str]) -> Any:
        learner: Any = Held()
        progress, damaged = checkpoint.restore(tmp_path, learner, "this run")
        said += damaged
        assert (progress.step, len(damaged)) in ((2, 0), (1, 1))
        parts = (learner.arrays, learner.state, learner.averages)
        return [{name: value.tobytes() for name, value in part.items()} for part in parts]

    assert unseen([newest], read) < 5


# Models

MODELS = ("netinnet", "onnx", "pytorch", "flax", "keras")


def content_of_model(model: weights.Model) -> Any:
    arrays = {name: array.tobytes() for name, array in model.weights.items()}
    found = model.calibration.to_json() if model.calibration else ""
    return arrays, model.network, found, model.notes.get("recipe")


@pytest.mark.parametrize(
    ("kind", "model"),
    [*((kind, "shipped") for kind in MODELS), ("netinnet", "small"), ("onnx", "small")],
)
def test_models(kind: str, model: str, tmp_path: Path) -> None:
    """The small model's file is descriptions for the most part, the shipped one's is weights."""
    if kind == "keras":
        pytest.importorskip("h5py")
    file = tmp_path / f"model.{kind if kind in ('onnx', 'keras') else 'safetensors'}"
    convert.write(file, small() if model == "small" else model_files.find(None), kind)
    same = unseen([file], lambda _: content_of_model(convert.read(file).model))
    assert same < 5


def test_a_model_of_an_earlier_version_has_no_digest_and_is_read(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path, model = tmp_path / "m.safetensors", small()
    save_file(model.weights, path, weights.metadata_of(model))
    assert content_of_model(weights.load(path)) == content_of_model(model)
    path = tmp_path / "m.onnx"
    content = onnx_graph.to_onnx(model)
    path.write_bytes(content[: -len(onnx_graph.sealed(b""))])
    assert content_of_model(model_files.find(path)) == content_of_model(model)


def test_what_a_damaged_model_says(tmp_path: Path) -> None:
    for name in ("m.safetensors", "m.onnx"):
        path = tmp_path / name
        convert.write(path, small())
        content = path.read_bytes()
        bias = small().weights["block2.conv1.weight"].tobytes()
        place = content.index(bias)
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(ModelError) as caught:
            model_files.find(path)
        assert str(caught.value) == (
            f"{path}: damaged, its content is not what was written; take a copy of it (if it was "
            f"changed on purpose, leave netinnet-sha256 out of its metadata)"
        )


def test_the_digest_is_the_files_own(tmp_path: Path) -> None:
    """There and back it is made anew, not a note that comes along: equal files in the end."""
    names = ["a.safetensors", "b.onnx", "c.safetensors", "d.onnx"]
    model, contents = small(), []
    for name in names:
        convert.write(tmp_path / name, model)
        model = model_files.find(tmp_path / name)
        assert weights.DIGEST not in model.notes
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[2]
    assert contents[1] == contents[3]
