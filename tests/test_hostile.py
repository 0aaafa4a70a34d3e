"""What comes in from outside, made hostile: decoded or refused by name, in bounded memory."""

from __future__ import annotations

import io
import random
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attacks import files
from attacks.pictures import hostile, outcome, whole
from netinnet import preprocessing
from netinnet.errors import ModelError, NetinnetError, NetworkError
from netinnet.formats import convert
from netinnet.inference.predictor import Predictor
from netinnet.networks import description_file
from netinnet.networks.blocks import Block
from netinnet.networks.layers import Conv, Shape
from netinnet.networks.network import Network, Preprocessing
from netinnet.training import recipe


def test_pictures() -> None:
    """The long run, with the largest pictures: python -m attacks.pictures."""
    for kind, content in hostile(400, seed=1, bombs=False):
        why, array = outcome(content)
        assert kind != "noise" or array is None, why


@pytest.mark.parametrize("mode", ["L", "P"])
def test_no_flipped_bit_of_a_png_changes_a_pixel_unseen(mode: str) -> None:
    content = whole("PNG", mode)
    right = outcome(content)[1]
    for bit in range(0, 8 * len(content), 37):
        damaged = bytearray(content)
        damaged[bit >> 3] ^= 1 << (bit & 7)
        why, found = outcome(bytes(damaged))
        assert why or np.array_equal(found, right)  # type: ignore[arg-type]


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_large_pictures_are_resized_in_blocks_as_others_at_once(
    fit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 71, 93, 3), np.uint8)
    scaling = Preprocessing((0.4, 0.5, 0.6), (0.2, 0.2, 0.3), fit)
    at_once = preprocessing.prepare(images, Shape(3, 9, 14), scaling)
    monkeypatch.setattr(preprocessing, "AT_ONCE", 2000)
    in_blocks = preprocessing.prepare(images, Shape(3, 9, 14), scaling)
    np.testing.assert_allclose(in_blocks, at_once, atol=1e-6)


def test_a_large_picture_is_predicted_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(files.small())
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 1), np.uint8)
    expected = predictor.run(images, ("logits", "features"))
    monkeypatch.setattr("netinnet.inference.predictor.AT_ONCE", 100)
    found = predictor.run(images, ("logits", "features"))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # a recipe that leaves fields out says so
@pytest.mark.parametrize("name", files.KINDS)
def test_files(name: str, tmp_path: Path) -> None:
    """The long run: make fuzz."""
    for package, kinds in (("h5py", (".keras", ".h5")), ("scipy", (".mat",))):
        if name in kinds:
            pytest.importorskip(package)
    files.fuzz(name, tmp_path, random.Random(7), count=150)


def _json(**changes: Any) -> str:
    import json

    return json.dumps({**files.small().network.to_dict(), **changes})


def test_numbers_have_limits_wherever_a_network_comes_from() -> None:
    with pytest.raises(NetworkError, match="Conv: kernel must be at most 1,048,576"):
        Conv(3, 10**400, padding=10**400)
    with pytest.raises(NetworkError, match="at most 1,048,576 classes"):
        Network("a", Shape(1, 9, 9), (Block("b", (Conv(3),)),), ("a",) * 2_000_000)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "blocks=[{nin=3,kernel=3,pointwise=1000000}]", "at most 1,000 layers"),
        ("a.toml", "blocks=[" + "{max_pool=1}," * 1001 + "]", "a network at most 1,000"),
        ("a.toml", "#" * 300_000, "too large for the description"),
        ("a.json", _json(blocks=[{"name": "a", "layers": [{}]}] * 2000), "at most 1,000 blocks"),
        ("a.json", "[" * 100_000, "not a network description"),
    ],
)
def test_large_descriptions(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(NetworkError, match=message):
        description_file.read(tmp_path / name)


def test_a_large_recipe(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("#" * 300_000)
    with pytest.raises(NetinnetError, match="too large for a recipe"):
        recipe.load(str(tmp_path / "a.toml"))


def _hdf5(fill: Callable[[Any, Any], object]) -> bytes:
    h5py = pytest.importorskip("h5py")
    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        fill(h5py, h5)
    return file.getvalue()


def _promised(_: Any, h5: Any) -> None:
    h5.create_dataset("layers/c/vars/0", (10**9,), "f4", chunks=(10**6,))


def _virtual(h5py: Any, h5: Any) -> None:
    layout = h5py.VirtualLayout((10,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (10,))
    h5.create_virtual_dataset("layers/c/vars/0", layout)


def _external(h5py: Any, h5: Any) -> None:
    h5["layers"] = h5py.ExternalLink("/etc/passwd", "/")


def _many_ways(_: Any, h5: Any) -> None:
    group = h5
    for _ in range(30):
        child = group.create_group("x")
        group["y"], group = child, child


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (_promised, "promise more values than it can hold"),
        (_virtual, "is in another file"),
        (_external, "is in another file"),
        (_many_ways, "more than 20,000 parts"),
    ],
)
def test_hostile_hdf5(fill: Callable[[Any, Any], object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.weights.h5"
    path.write_bytes(_hdf5(fill))
    with pytest.raises(ModelError, match=message):
        convert.read(path, convert.Given(network=files.small().network))


def test_a_keras_archive_that_unpacks_to_much_more(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    path = tmp_path / "a.keras"
    path.write_bytes(files.keras_archive("{}", bytes(40 << 20), zipfile.ZIP_DEFLATED))
    with pytest.raises(ModelError, match=r"model.weights.h5 unpacks to more than"):
        convert.read(path)


_heard: list[tuple[str, tuple[Any, ...]]] = []
_listening = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _listening and event in ("pickle.find_class", "socket.connect", "subprocess.Popen"):
        _heard.append((event, arguments))
    name = arguments[0].co_filename if event == "exec" else ""
    known = ("<frozen", "<__array_function__")
    if _listening and name.startswith("<") and not name.startswith(known):
        _heard.append((event, arguments))


@pytest.mark.filterwarnings("ignore")
def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    """No unpickling, no connection, no process, no code of a file's content."""
    global _listening  # a hook can't be taken away again
    pytest.importorskip("h5py")
    pytest.importorskip("scipy")
    for name in files.KINDS:  # what is imported first may run code of its own
        files.fuzz(name, tmp_path / "first", random.Random(0), count=0)
    sys.addaudithook(_hook)
    _listening = True
    try:
        for name in files.KINDS:
            files.fuzz(name, tmp_path / "again", random.Random(0), count=20)
    finally:
        _listening = False
    assert _heard == []
