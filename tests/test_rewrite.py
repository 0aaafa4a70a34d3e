"""Exact rewrites: same outputs, same gradients."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from netinnet import weights
from netinnet.networks import zoo
from netinnet.networks.blocks import Block
from netinnet.networks.layers import Conv, Flatten, GlobalAvgPool, MaxPool, ReLU, Shape
from netinnet.networks.network import Network
from netinnet.networks.rewrite import activation_behind_pool, fold_resize
from netinnet.preprocessing import resize
from tests.conftest import needs


def outputs_and_gradient(net: Network, drawn: weights.Weights, x: np.ndarray) -> list[np.ndarray]:
    import torch

    from netinnet.frameworks import pytorch_learner, pytorch_model

    model = pytorch_model.assemble(net, pytorch_learner.MODULES).eval()
    pytorch_model.load(model, drawn)
    # Twice the digits: where a gradient's terms cancel, two orders of float32 sums differ.
    y = model.double()(torch.from_numpy(x).double().permute(0, 3, 1, 2))
    parameters = dict(model.named_parameters())
    names = sorted(parameters)
    gradients = torch.autograd.grad(y.square().sum(), [parameters[n] for n in names])
    return [t.detach().numpy() for t in (y, *gradients)]


def assert_close(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    for a, b in zip(first, second, strict=True):
        assert np.abs(a - b).max() <= 2e-5 * max(np.abs(a).max(), 1e-6)


@needs("pytorch")
@pytest.mark.parametrize("name", ["nin", "nin-small", "nin-mnist", "alexnet", "lenet"])
def test_activation_behind_pool(name: str) -> None:
    net = zoo.network(name, image_size=67 if name in ("nin", "alexnet") else None)
    fast = activation_behind_pool(net)
    drawn = weights.initial(net, 1)
    x = np.random.default_rng(0).random((2, net.input.height, net.input.width, 1), np.float32)
    assert_close(outputs_and_gradient(net, drawn, x), outputs_and_gradient(fast, drawn, x))
    if name != "lenet":
        assert fast != net
        kinds = [type(p.layer).__name__ for p in fast.placed_layers()]
        assert ("ReLU", "MaxPool") not in list(itertools.pairwise(kinds))


@needs("pytorch")
@settings(max_examples=40, deadline=None)
@example(kernel=2, stride=1, factor=8, size=6, channels=1, bias=True)  # its gradient's terms cancel
@given(
    kernel=st.integers(1, 12),
    stride=st.integers(1, 9),
    factor=st.integers(2, 8),
    size=st.integers(3, 9),
    channels=st.integers(1, 2),
    bias=st.booleans(),
)
def test_fold_resize(
    kernel: int, stride: int, factor: int, size: int, channels: int, bias: bool
) -> None:
    if size * factor < kernel:
        return
    conv = Conv(3, kernel, stride, bias=bias)
    block = Block("a", (conv, ReLU(), GlobalAvgPool(), Flatten()))
    net = Network("n", Shape(channels, size * factor, size * factor), (block,), ("x", "y", "z"))
    folded = fold_resize(net, Shape(channels, size, size))
    assert folded is not None
    drawn = weights.initial(net, 0)
    x = np.random.default_rng(1).random((2, size, size, channels), np.float32) - 0.5
    plain = outputs_and_gradient(net, drawn, resize(x, size * factor, size * factor))
    assert_close(plain, outputs_and_gradient(folded, drawn, x))


def test_the_chapters_first_convolution_needs_16_products() -> None:
    folded = fold_resize(zoo.network("nin"), Shape(1, 28, 28))
    assert folded is not None
    geometry = folded.blocks[0].layers[0].folded(folded.input)  # type: ignore[attr-defined]
    assert folded.blocks[0].layers[0].macs(folded.input) == 96 * 54 * 54 * 16
    assert geometry.taps.shape == (2, 11, 4)
    assert geometry.before == 1
    np.testing.assert_allclose(geometry.taps.sum(axis=2), 1, atol=1e-6)


IN_GROUPS = Network(
    "n", Shape(2, 8, 8), (Block("a", (Conv(2, 3, groups=2), GlobalAvgPool())),), ("x", "y")
)


RESIDUAL = Network(
    "n",
    Shape(2, 8, 8),
    (
        Block("a", (Conv(2), ReLU()), residual=True),
        Block("b", (MaxPool(3, 1, 1),), residual=True),
        Block("c", (ReLU(),)),
        Block("d", (MaxPool(3, 1, 1),), residual=True),
        Block("e", (MaxPool(2, 2), GlobalAvgPool())),
    ),
    ("x", "y"),
)


def test_an_activation_neither_leaves_nor_enters_a_residual_block() -> None:
    assert activation_behind_pool(RESIDUAL) == RESIDUAL


@pytest.mark.parametrize(
    ("net", "source"),
    [
        (zoo.network("alexnet"), Shape(1, 28, 28)),  # padded
        (IN_GROUPS, Shape(2, 4, 4)),
        (RESIDUAL, Shape(2, 4, 4)),
        (zoo.network("nin"), Shape(1, 30, 30)),  # no whole factor
        (zoo.network("nin"), Shape(1, 224, 224)),  # nothing to enlarge
        (zoo.network("nin"), Shape(3, 28, 28)),
    ],
)
def test_fold_resize_declines(net: Network, source: Shape) -> None:
    assert fold_resize(net, source) is None


def test_a_pool_without_activation_stays() -> None:
    block = Block("a", (Conv(2, 3), MaxPool(2, 2), GlobalAvgPool(), Flatten()))
    net = Network("n", Shape(1, 8, 8), (block,), ("x", "y"))
    assert activation_behind_pool(net) == net
