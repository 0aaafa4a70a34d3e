"""Canonical weights: initialisation and the model file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from netinnet import weights
from netinnet.errors import ModelError, NetinnetError, NetworkError
from netinnet.networks import zoo
from netinnet.networks.blocks import Block
from netinnet.networks.layers import Conv, GlobalAvgPool, Shape
from netinnet.networks.network import Network


@pytest.fixture
def model() -> weights.Model:
    net = zoo.network("nin-small")
    return weights.Model(net, weights.initial(net, 3))


def test_same_seed_same_weights() -> None:
    net = zoo.network("nin-small")
    first, again, other = (weights.initial(net, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["block1.conv1.weight"], other["block1.conv1.weight"])


def test_initial_weights_never_change() -> None:
    # Published runs rely on these numbers: a change here changes every result.
    drawn = weights.initial(zoo.network("nin"), 0, "xavier")["block2.conv1.weight"]
    digest = hashlib.sha256(drawn.tobytes()).hexdigest()
    assert (drawn.shape, digest[:16]) == ((256, 96, 5, 5), "c51e43af1a7831c0")


@pytest.mark.parametrize(
    ("initialisation", "std"),
    [("he", np.sqrt(2 / (96 * 25))), ("xavier", np.sqrt(2 / ((96 + 256) * 25)))],
)
def test_spread_of_initial_weights(initialisation: str, std: float) -> None:
    drawn = weights.initial(zoo.network("nin"), 0, initialisation)
    assert drawn["block2.conv1.weight"].std() == pytest.approx(std, rel=0.01)
    assert not drawn["block2.conv1.bias"].any()


def test_unknown_initialisation() -> None:
    with pytest.raises(NetworkError, match=r"'hi' \(did you mean 'he'\?\); known are he, xavier"):
        weights.initial(zoo.network("lenet"), 0, "hi")


def test_file_round_trip_and_same_bytes(model: weights.Model, tmp_path: Path) -> None:
    notes = {str(i): "x" for i in range(20)}
    weights.save(tmp_path / "a.safetensors", model, notes)
    weights.save(tmp_path / "b.safetensors", model, notes)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    loaded = weights.load(tmp_path / "a.safetensors")
    assert loaded.network == model.network
    assert all(np.array_equal(loaded.weights[n], model.weights[n]) for n in model.weights)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model file"):
        weights.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0, 7, 100, 5000, -1])
def test_truncated_file(model: weights.Model, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "m.safetensors"
    weights.save(path, model)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match="not a safetensors file, or damaged"):
        weights.load(path)


def test_foreign_file_and_wrong_tensors(model: weights.Model, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    weights.save_tensors(path, {"x": np.zeros(3, np.float32)}, {})
    with pytest.raises(ModelError, match="not a netinnet model file"):
        weights.load(path)
    meta = {"format": weights.FORMAT, "network": json.dumps(model.network.to_dict())}
    tensors = dict(model.weights)
    del tensors["block2.conv1.weight"]
    weights.save_tensors(path, tensors, meta)
    with pytest.raises(ModelError, match=r"tensor block2\.conv1\.weight is missing"):
        weights.load(path)
    wrong = {**model.weights, "block2.conv1.weight": np.zeros((1, 2), np.float32)}
    weights.save_tensors(path, wrong, meta)
    with pytest.raises(ModelError, match=r"should have shape \(64, 32, 3, 3\), has \(1, 2\)"):
        weights.load(path)


def test_full_disk_leaves_nothing(model: weights.Model) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(NetinnetError, match="cannot be written"):
        weights.save(Path("/dev/full/m.safetensors"), model)


def test_groups_count_in_the_spread_of_weights() -> None:
    """A value of a grouped convolution is a sum over its group alone (PyTorch's convention)."""
    blocks = (Block("a", (Conv(512, 3, groups=8), GlobalAvgPool())),)
    net = Network("n", Shape(64, 3, 3), blocks, tuple(map(str, range(512))))
    drawn = weights.initial(net, 0)["a.conv1.weight"]
    assert drawn.shape == (512, 8, 3, 3)
    assert drawn.std() == pytest.approx((2 / (8 * 9)) ** 0.5, rel=0.02)
