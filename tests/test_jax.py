"""What is special to JAX: layers written for a CPU.

What all frameworks have in common is tested with `parity.py`.
"""

from __future__ import annotations

import importlib
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import netinnet
from netinnet import frameworks, weights
from netinnet.networks.layers import Conv, Layer, MaxPool, ReLU, Shape

if not frameworks.FRAMEWORKS["jax"].is_installed:
    pytest.skip("JAX is not installed", allow_module_level=True)

adapter = frameworks.adapter("jax")
jax, nnx = map(importlib.import_module, ("jax", "flax.nnx"))
jax_layers, jax_learner, jax_model = (
    importlib.import_module(f"netinnet.frameworks.jax_{name}")
    for name in ("layers", "learner", "model")
)


def test_plain_flax_code_trains_saves_and_composes_it() -> None:
    optax = importlib.import_module("optax")
    net = netinnet.build("nin-small", framework="jax", seed=0)
    assert "kernel_size=(3, 3)" in str(net)
    optimizer = nnx.Optimizer(net, optax.sgd(0.1), wrt=nnx.Param)
    rng = np.random.default_rng(0)
    x, labels = rng.random((8, 28, 28, 1), np.float32), np.arange(8)

    @nnx.jit  # type: ignore[untyped-decorator]
    def step(net: Any, optimizer: Any) -> Any:
        def loss(net: Any) -> Any:
            return optax.softmax_cross_entropy_with_integer_labels(net(x), labels).mean()

        value, gradients = nnx.value_and_grad(loss)(net)
        optimizer.update(net, gradients)
        return value

    losses = [float(step(net, optimizer)) for _ in range(5)]
    assert losses[-1] < losses[0]
    other = netinnet.build("nin-small", framework="jax", seed=1)
    nnx.update(other, nnx.state(net))
    net.eval()
    other.eval()
    assert np.array_equal(other(x), net(x))
    block = netinnet.nin_block(32, 16, 3, padding=1, framework="jax")
    assert nnx.Sequential(net.block1, block)(x).shape == (8, 28, 28, 16)


def outputs_and_gradients(module: Any, x: weights.Array, of_y: weights.Array) -> list[Any]:
    """The output, and the gradients of the input and of the parameters."""
    graph, parameters = nnx.split(module)

    def function(x: Any, parameters: Any) -> Any:
        return nnx.merge(graph, parameters)(x)

    y, backward = jax.vjp(function, x, parameters)
    return [y, *jax.tree.leaves(backward(of_y))]


def check_same(layer: Layer, shape: Shape, x: weights.Array) -> None:
    """The layer in training against the native one, with random parameters and gradients."""
    draw = np.random.default_rng(0)
    modules = [
        table[type(layer)](layer, shape, nnx.Rngs(0))
        for table in (jax_model.MODULES, jax_layers.MODULES)
    ]
    for name in ("kernel", "bias"):
        if isinstance(getattr(modules[0], name, None), nnx.Param):
            value = draw.normal(0, 1, getattr(modules[0], name).shape).astype(np.float32)
            for module in modules:
                setattr(module, name, nnx.Param(jax.numpy.asarray(value)))
    of_y = draw.normal(0, 1, modules[0](x).shape).astype(np.float32)
    native, ours = (outputs_and_gradients(module, x, of_y) for module in modules)
    assert len(native) == len(ours)
    for expected, found in zip(native, ours, strict=True):
        scale = max(1.0, float(abs(expected).max()))
        np.testing.assert_allclose(found, expected, atol=2e-5 * scale)


@hypothesis.given(
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.integers(0, 2),
    height=st.integers(5, 13),
    width=st.integers(5, 13),
)
@hypothesis.settings(max_examples=2, deadline=None)  # each is compiled
def test_the_same_max_pool(kernel: int, stride: int, padding: int, height: int, width: int) -> None:
    """Windows of any size and step; few different values, so that most windows have equal ones."""
    hypothesis.assume(2 * padding <= kernel)
    x = np.random.default_rng(1).integers(-2, 2, (2, height, width, 3)).astype(np.float32)
    check_same(MaxPool(kernel, stride, padding), Shape(3, height, width), x)


@pytest.mark.parametrize(
    "layer",
    [
        Conv(6, 1),
        Conv(6, 1, stride=2),
        Conv(6, 1, bias=False),
        Conv(6, 3, padding=1),
        Conv(6, 5, stride=2, padding=2),
        Conv(6, 5, padding=1, bias=False),
        ReLU(),
    ],
    ids=str,
)
def test_the_same_layer(layer: Layer) -> None:
    x = np.random.default_rng(1).normal(0, 1, (3, 9, 8, 4)).astype(np.float32)
    check_same(layer, Shape(4, 9, 8), x)
