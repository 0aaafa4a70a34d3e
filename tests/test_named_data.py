"""The paper's data sets: their formats, from tiny files written as the true ones are."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from netinnet.costs import counts
from netinnet.data import cifar, datasets, svhn
from netinnet.data.original import OriginalFile, checked
from netinnet.errors import DataError
from netinnet.training import parts
from netinnet.training import recipe as recipes
from tests.conftest import nin
from tests.test_data import exactly, idx, put

RNG = np.random.default_rng(0)
CIFARS = {"cifar10": (1, 10), "cifar100": (2, 100)}
"""Bytes of labels in a record, and classes."""


def original(name: str, content: bytes, gzip: bool = False) -> OriginalFile:
    return OriginalFile(name, len(content), hashlib.sha256(content).hexdigest(), gzip)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETINNET_CACHE", str(tmp_path / "cache"))


def tar_of(contents: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


class Tiny:
    """CIFAR in little: each file has two pictures. `known` is put in the real one's place."""

    def __init__(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        real = datasets.find(name)
        label_bytes, classes = CIFARS[name]
        files = [file.name for file in real.unpacked]
        self.labels = RNG.integers(0, classes, 2 * len(files))
        self.pictures = RNG.integers(0, 256, (2 * len(files), 32, 32, 3), dtype=np.uint8)
        self.files = {}
        for i, file in enumerate(files):
            records = b""
            for label, picture in zip(
                self.labels[2 * i :][:2], self.pictures[2 * i :][:2], strict=True
            ):
                # The superclass, which is not to be taken for the class, comes first.
                records += bytes([13] * (label_bytes - 1) + [label])
                records += b"".join(picture[:, :, channel].tobytes() for channel in range(3))
            self.files[file] = records
        self.archive = tar_of(
            {f"{real.inside}/readme.html": b"no picture", **self.in_archive(real.inside)}
        )
        self.known = dataclasses.replace(
            real,
            files=(original(real.files[0].name, self.archive),),
            unpacked=tuple(original(name, content) for name, content in self.files.items()),
            sources=(),
        )
        monkeypatch.setitem(datasets.DATASETS, name, self.known)

    def in_archive(self, folder: str) -> dict[str, bytes]:
        return {f"{folder}/{name}": content for name, content in self.files.items()}

    @property
    def archive_name(self) -> str:
        return self.known.files[0].name

    def assert_loaded(self, loaded: datasets.Dataset) -> None:
        test = slice(-2, None)
        for split, part in (("train", slice(0, -2)), ("test", test)):
            source = loaded.splits[split]
            np.testing.assert_array_equal(source.labels, self.labels[part])
            np.testing.assert_array_equal(
                source.pictures(np.arange(len(source))), self.pictures[part]
            )


@pytest.fixture(params=CIFARS)
def tiny(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    return Tiny(request.param, monkeypatch)


# --- CIFAR


def test_cifar_from_its_archive(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / tiny.archive_name).write_bytes(tiny.archive)
    loaded = datasets.load(tiny.known.name, tmp_path)
    tiny.assert_loaded(loaded)
    assert loaded.train.images.flags.c_contiguous
    assert loaded.train.images.flags.writeable
    assert len(loaded.record.digest) == 64
    assert sorted(path.name for path in tmp_path.iterdir()) == [tiny.archive_name]


@pytest.mark.parametrize("below", [False, True])
def test_cifar_from_its_unpacked_files(tiny: Tiny, tmp_path: Path, below: bool) -> None:
    put(tmp_path / tiny.known.inside if below else tmp_path, tiny.files, compressed=False)
    tiny.assert_loaded(datasets.load(tiny.known.name, tmp_path))


def test_cifar_from_the_cache_and_fetched(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def source(wanted, folder, progress):
        for file in wanted:
            (folder / file.packed_name).write_bytes(tiny.archive)
        return []

    known = dataclasses.replace(tiny.known, sources=(source,))
    tiny.assert_loaded(known.load())
    assert known.status().verified
    tiny.assert_loaded(tiny.known.load())  # which has no source


def test_damaged_cifar(tiny: Tiny, tmp_path: Path) -> None:
    archive = tmp_path / tiny.archive_name
    cure = "replace it, or leave out --data-dir and it is found or fetched"
    archive.write_bytes(tiny.archive[:-1])
    size = len(tiny.archive)
    message = f"{archive}: truncated, it holds {size - 1:,} bytes instead of {size:,}; {cure}"
    with pytest.raises(DataError, match=exactly(message)):
        datasets.load(tiny.known.name, tmp_path)
    archive.write_bytes(tiny.archive[:-1] + b"x")
    with pytest.raises(DataError, match=f"not the original {tiny.archive_name}, its SHA-256 is"):
        datasets.load(tiny.known.name, tmp_path)
    assert not tiny.known.status(tmp_path).verified


@pytest.mark.parametrize("how", ["empty", "cut", "link"])
def test_archive_without_the_files(tiny: Tiny, tmp_path: Path, how: str) -> None:
    """As if another archive had the right digest: what isn't there as a file isn't looked for."""
    content = tiny.archive[: len(tiny.archive) // 2] if how == "cut" else tar_of({})
    if how == "link":
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for name in tiny.in_archive(tiny.known.inside):
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
                tar.addfile(entry)
        content = packed.getvalue()
    known = dataclasses.replace(tiny.known, files=(original(tiny.archive_name, content),))
    (tmp_path / tiny.archive_name).write_bytes(content)
    names = ", ".join(tiny.in_archive(known.inside))
    with pytest.raises(DataError, match=f": damaged, no {names} in it; replace it"):
        known.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "pickle"),
    [
        ("cifar10", "cifar-10-python.tar.gz"),
        ("cifar10", "data_batch_1"),
        ("cifar10", "cifar-10-batches-py/data_batch_1"),
        ("cifar100", "cifar-100-python.tar.gz"),
        ("cifar100", "meta"),
    ],
)
def test_pickled_cifar_is_refused(name: str, pickle: str, tmp_path: Path) -> None:
    known = datasets.find(name)
    path = tmp_path / pickle
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\x80\x02.")
    found = tmp_path / Path(pickle).parts[0]
    message = (
        f"{found}: {known.title} as Python pickles is not read, because a pickle can run any"
        f" program; put {known.files[0].name}, the binary version, there, or leave out --data-dir"
        " and it is found or fetched"
    )
    with pytest.raises(DataError, match=exactly(message)):
        datasets.load(name, tmp_path)


def test_some_unpacked_files_are_missing(tiny: Tiny, tmp_path: Path) -> None:
    end = "put the original files there, or leave out --data-dir and they are found or fetched"
    message = f"{tmp_path}: {tiny.archive_name} not found; {end}"
    with pytest.raises(DataError, match=exactly(message)):
        tiny.known.load(tmp_path)
    put(tmp_path, tiny.files, compressed=False)
    last = tiny.known.unpacked[-1].name
    (tmp_path / last).unlink()
    with pytest.raises(DataError, match=exactly(f"{tmp_path}: {last} not found; {end}")):
        tiny.known.load(tmp_path)


def test_an_archive_is_compared_as_it_is() -> None:
    """Not its decompressed content, as with a file that is published as NAME.gz."""
    content = tar_of({"a": b"b"})
    assert checked(content, original("f.tar.gz", content), "x") == content


# --- SVHN


def mat(pictures: np.ndarray, labels: np.ndarray) -> bytes:
    scipy_io = pytest.importorskip("scipy.io")
    file = io.BytesIO()
    held = {"X": pictures.transpose(1, 2, 3, 0), "y": labels.reshape(-1, 1).astype(np.uint8)}
    scipy_io.savemat(file, held, do_compression=True)
    return file.getvalue()


def put_svhn(folder: Path, contents: list[bytes]) -> datasets.NamedDataset:
    real = datasets.find("svhn")
    files = []
    for file, content in zip(real.files, contents, strict=True):
        (folder / file.name).write_bytes(content)
        files.append(original(file.name, content))
    return dataclasses.replace(real, files=tuple(files), sources=())


def test_svhn(tmp_path: Path) -> None:
    pictures = RNG.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    train, test = np.array([10, 1, 9]), np.array([2, 10])
    known = put_svhn(tmp_path, [mat(pictures[:3], train), mat(pictures[3:], test)])
    loaded = known.load(tmp_path)
    np.testing.assert_array_equal(loaded.train.images, pictures[:3])
    np.testing.assert_array_equal(loaded.test.images, pictures[3:])
    assert loaded.train.labels.tolist() == [0, 1, 9]
    assert loaded.test.labels.tolist() == [2, 0]
    assert loaded.test.labels.dtype == np.int64
    assert known.status(tmp_path).message == "complete, SHA-256 checked"


def test_damaged_mat(tmp_path: Path) -> None:
    whole = mat(RNG.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8), np.array([1]))
    for content in (b"nonsense", whole[:300], mat_without_labels()):
        known = put_svhn(tmp_path, [content, whole])
        with pytest.raises(DataError) as caught:
            known.load(tmp_path)
        start_of_it = f"{tmp_path / 'train_32x32.mat'}: not a MATLAB file with X and y, or damaged"
        assert str(caught.value).startswith(start_of_it)
        assert "\n" not in str(caught.value)


def mat_without_labels() -> bytes:
    file = io.BytesIO()
    pytest.importorskip("scipy.io").savemat(file, {"X": np.zeros((2, 2))})
    return file.getvalue()


def test_svhn_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything is fetched; a look at the files needs no SciPy."""
    monkeypatch.setitem(sys.modules, "scipy", None)
    known = dataclasses.replace(datasets.find("svhn"), sources=())
    message = "svhn: its .mat files need SciPy; install it: pip install 'netinnet[svhn]'"
    with pytest.raises(DataError, match=exactly(message)):
        known.load()
    assert known.status().message.startswith("not here yet")


# --- MNIST


def test_mnist(tmp_path: Path) -> None:
    real = datasets.find("mnist")
    images = RNG.integers(0, 256, (3, 28, 28))
    contents = dict(
        zip(
            (file.name for file in real.files),
            (idx(images), idx(np.arange(3)), idx(images[:1]), idx(np.array([7]))),
            strict=True,
        )
    )
    files = tuple(original(name, content, gzip=True) for name, content in contents.items())
    known = dataclasses.replace(real, files=files)
    put(tmp_path / "MNIST" / "raw", contents)  # where PyTorch keeps it
    loaded = known.load(tmp_path)
    np.testing.assert_array_equal(loaded.train.images[..., 0], images)
    assert loaded.test.labels.tolist() == [7]
    # Known from the files, it is that of the content.
    assert dataclasses.replace(loaded, digest="").record.digest == known.record().digest


# --- all of them


def test_facts() -> None:
    for name, known in datasets.DATASETS.items():
        assert datasets.facts(name) == known.facts
        assert known.facts.shape is not None
        assert len(known.facts.mean) == known.facts.shape.channels
        assert len(set(known.facts.classes)) == (100 if name == "cifar100" else 10)
        assert known.facts.horizontal_flip == (name not in ("mnist", "svhn"))
        assert all(len(file.sha256) == 64 for file in (*known.files, *known.unpacked))
        for count in known.counts.values():
            assert f"{count:,}" in known.description
    records = {1: 3073, 2: 3074}
    for known, (label_bytes, _) in zip(
        (cifar.CIFAR10, cifar.CIFAR100), CIFARS.values(), strict=True
    ):
        sizes = [file.size for file in known.unpacked]
        assert sum(sizes[:-1]) == 50_000 * records[label_bytes]
        assert sizes[-1] == 10_000 * records[label_bytes]
    assert svhn.DATASET.megabytes == round(sum(file.size for file in svhn.DATASET.files) / 1e6)


# The recipe for folders of pictures is for no data set that has a name.
@pytest.mark.parametrize("name", [name for name in recipes.shipped() if name != "pictures"])
def test_every_recipes_network_is_for_its_data(name: str) -> None:
    recipe = recipes.load(name)
    facts = datasets.facts(recipe.dataset)
    network = parts.network_for(recipe)
    assert network.classes == facts.classes
    assert counts.total_cost(network).parameters
    if recipe.image_size is None:
        assert network.input == facts.shape
    assert facts.horizontal_flip or not recipe.horizontal_flip


# --- nin data


def test_data_names_one(tmp_path: Path) -> None:
    done = nin("data", "cifar10", "--json")
    (found,) = json.loads(done.stdout)
    assert (found["name"], found["folder"], found["verified"]) == ("cifar10", None, False)
    assert found["message"] == "not here yet; it is fetched when it is first used (170 MB)"
    assert [line["name"] for line in json.loads(nin("data", "--json").stdout)] == [
        *datasets.DATASETS
    ]


def test_data_fetches_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = Tiny("cifar10", monkeypatch)

    def source(wanted, folder, progress):
        (folder / tiny.archive_name).write_bytes(tiny.archive)
        return []

    known = dataclasses.replace(tiny.known, sources=(source,))
    monkeypatch.setitem(datasets.DATASETS, "cifar10", known)
    done = nin("data", "cifar10", "--fetch", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["verified"]


def test_data_fetches_nothing_that_is_not_named() -> None:
    done = nin("data", "--fetch")
    assert done.returncode == 2
    assert done.stderr == (
        "nin: nin data --fetch: name what to fetch, as in nin data fashion-mnist --fetch; known:"
        " fashion-mnist, mnist, cifar10, cifar100, svhn\n"
    )
    done = nin("data", "photos", "--fetch")
    assert done.returncode == 2
    assert done.stderr.startswith("nin: nin data photos looks at this folder; leave out --fetch")
