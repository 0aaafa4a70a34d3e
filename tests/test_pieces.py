"""A batch that goes through in pieces makes the same step as the whole batch."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netinnet import frameworks, weights
from netinnet.frameworks.learner import Learner, LearnerSettings
from netinnet.frameworks.pieces import piece_size, pieces
from netinnet.networks import zoo
from netinnet.networks.layers import Shape
from netinnet.optimizer import Optimizer
from tests.conftest import needs

IN_PIECES = [pytest.param(name, marks=needs(name)) for name in ("pytorch", "jax")]


def one_step(
    framework: str, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> tuple[weights.Array, Learner]:
    """Logits and learner after a step of a narrow `nin` on 10 pictures, `size` at once."""
    module = importlib.import_module(f"netinnet.frameworks.{framework}_learner")
    monkeypatch.setattr(module, "piece_size", lambda *_: size)
    net = zoo.network("nin", image_size=67, width=0.125, dropout=0.0, logits_relu=False)
    drawn = weights.initial(net, 0, "he")
    settings = LearnerSettings(net, Optimizer("sgd", momentum=0.9), Shape(1, 28, 28))
    learner = frameworks.adapter(framework).learner(settings, drawn)
    draw = np.random.default_rng(0)
    images = draw.normal(0, 1, (10, 28, 28, 1)).astype(np.float32)
    return learner.step(images, draw.integers(0, 10, 10), 0.1, 1, 0), learner


@pytest.mark.parametrize("framework", IN_PIECES)
@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.slow), 4, 5, 16])
def test_the_same_step(framework: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the last piece is smaller, and where all fits in one."""
    logits, whole = one_step(framework, None, monkeypatch)
    in_pieces, learner = one_step(framework, size, monkeypatch)
    np.testing.assert_allclose(in_pieces, logits, rtol=1e-4, atol=1e-6)
    for name, value in whole.weights().items():
        np.testing.assert_allclose(learner.weights()[name], value, rtol=1e-4, atol=1e-6)
    images = np.zeros((10, 28, 28, 1), np.float32)
    np.testing.assert_allclose(learner.logits(images), whole.logits(images), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "kept", "size"),
    [
        ("nin", 2**24, 8),
        ("nin", 2**26, 32),
        ("nin-small", 2**24, None),
        ("lenet", 2**24, 2048),
        ("vgg11-quarter", 2**24, 64),
    ],
)
def test_size_of_a_piece(name: str, kept: int, size: int | None) -> None:
    """Few pictures of a deep network; all where batch norm needs them; many per gradient of VGG."""
    assert piece_size(zoo.network(name), kept) == size


@given(st.integers(1, 300), st.none() | st.integers(1, 300))
def test_pieces_cover_the_batch_once(count: int, size: int | None) -> None:
    places = [place for piece in pieces(count, size) for place in range(count)[piece]]
    assert places == list(range(count))
