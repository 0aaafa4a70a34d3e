"""Any valid network, not the zoo's alone: costs, JSON, the memory model and the ONNX graph."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from netinnet import frameworks, weights
from netinnet.costs import counts
from netinnet.costs import memory as memory_model
from netinnet.errors import NetinnetError, NetworkError
from netinnet.frameworks import FRAMEWORKS
from netinnet.frameworks.learner import LearnerSettings
from netinnet.inference import onnx_graph, oracle
from netinnet.networks.blocks import Block
from netinnet.networks.layers import (
    LAYERS,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    ReLU,
    Shape,
    Sigmoid,
)
from netinnet.networks.network import Network
from netinnet.optimizer import Optimizer
from tests.conftest import needs
from tests.strategies import networks

OPTIMIZERS = [Optimizer("sgd"), Optimizer("sgd", 0.9), Optimizer("adamw"), Optimizer("muon", 0.9)]
UNSHRUNK = settings(deadline=None, max_examples=2000, phases=[Phase.generate])
quick = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("kind", LAYERS.values())
def test_the_strategy_makes_every_layer(kind: type[Layer]) -> None:
    def has(net: Network) -> bool:
        return any(type(placed.layer) is kind for placed in net.placed_layers())

    assert find(networks(), has, settings=UNSHRUNK)


@pytest.mark.parametrize("several", [False, True], ids=["no weights", "several Linears"])
def test_the_strategy_makes_the_odd_ones(several: bool) -> None:
    def odd(net: Network) -> bool:
        if several:
            return any(
                sum(isinstance(layer, Linear) for layer in block.layers) > 1 for block in net.blocks
            )
        return not weights.shapes(net)

    assert find(networks(), odd, settings=UNSHRUNK)


@quick
@given(networks())
def test_tables_add_up(net: Network) -> None:
    total = counts.total_cost(net)
    for rows in (counts.layer_costs(net), counts.block_costs(net)):
        for field in ("parameters", "macs", "activation_bytes"):
            assert sum(getattr(row, field) for row in rows) == getattr(total, field)
        assert rows[-1].output == net.output
        assert all(row.description for row in rows)
    trained = [tensor.shape for tensor in weights.tensors(net).values() if tensor.is_trained]
    assert total.parameters == sum(map(math.prod, trained))


@quick
@given(networks(flat=False))
def test_json_round_trip(net: Network) -> None:
    assert Network.from_json(net.to_json()) == net


@quick
@given(networks(flat=False), st.integers(1, 5), st.sampled_from(OPTIMIZERS))
def test_memory_of_any_network(net: Network, batch: int, optimizer: Optimizer) -> None:
    memory = memory_model.model(net, batch, optimizer)
    assert len(memory.layers) == len([*memory_model.executed(net).placed_layers()])
    assert memory.prediction_peak.total <= memory.training_peak.total
    for row in memory.layers:
        assert 0 <= row.prediction_bytes <= memory.prediction_peak.total
        assert row.prediction_bytes <= row.training_bytes <= memory.training_peak.total


@settings(quick, max_examples=25)
@given(networks(flat=False), st.integers(0, 99))
def test_onnx_graph_of_any_network(net: Network, seed: int) -> None:
    import onnx
    import onnxruntime

    graph = onnx_graph.to_onnx(weights.Model(net, weights.initial(net, seed)))
    onnx.checker.check_model(onnx.load_from_string(graph), full_check=True)
    shape = (2, net.input.height, net.input.width, net.input.channels)
    pictures = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    logits, shares = onnxruntime.InferenceSession(graph).run(
        ["logits", "probabilities"], {"pictures": pictures}
    )
    assert logits.shape == shares.shape == (2, len(net.classes))
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("framework", [pytest.param(n, marks=needs(n)) for n in FRAMEWORKS])
def test_every_framework_computes_any_network(framework: str) -> None:
    """A sample that is always the same: logits as the oracle's; a step leaves finite numbers."""

    @settings(quick, max_examples=8, derandomize=True, database=None, phases=[Phase.generate])
    @given(networks(weights=True, largest=9))
    def agree(net: Network) -> None:
        values = weights.initial(net, 0)
        shape = (3, net.input.height, net.input.width, net.input.channels)
        images = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
        settings = LearnerSettings(net, Optimizer(), net.input)
        learner = frameworks.adapter(framework).learner(settings, values)
        expected = oracle.logits(net, values, np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        scale = max(float(np.abs(expected).max()), 1e-3)
        assert np.abs(learner.logits(images) - expected).max() <= 1e-4 * scale
        labels = np.arange(3) % len(net.classes)
        learner.step(images, labels, 1e-3, 1, 0)
        assert all(np.isfinite(array).all() for array in learner.weights().values())

    agree()


@needs("pytorch")
@pytest.mark.parametrize("before", [ReLU(), Sigmoid(), Flatten()], ids=lambda layer: layer.kind)
def test_a_relu_works_in_no_place_that_is_read_again(before: Layer) -> None:
    """The input's own memory, or what the backward pass of the layer before it reads."""
    layers = (Linear(4), before, ReLU(), Linear(2))
    net = Network("n", Shape(3, 1, 1), (Block("a", (ReLU(),)), Block("b", layers)), ("a", "b"))
    settings = LearnerSettings(net, Optimizer(), net.input)
    learner = frameworks.adapter("pytorch").learner(settings, weights.initial(net, 0))
    images = np.random.default_rng(0).normal(0, 1, (3, 1, 1, 3)).astype(np.float32)
    kept = images.copy()
    learner.step(images, np.array([0, 1, 0]), 0.1, 1, 0)
    learner.logits(images)
    assert np.array_equal(images, kept)


@pytest.mark.parametrize("framework", [pytest.param(n, marks=needs(n)) for n in FRAMEWORKS])
def test_every_framework_predicts_without_weights(framework: str) -> None:
    net = Network("n", Shape(2, 4, 4), (Block("head", (GlobalAvgPool(), Flatten())),), ("a", "b"))
    settings = LearnerSettings(net, Optimizer(), net.input)
    learner = frameworks.adapter(framework).learner(settings, {})
    images = np.random.default_rng(0).normal(0, 1, (3, 4, 4, 2)).astype(np.float32)
    np.testing.assert_allclose(learner.logits(images), images.mean((1, 2)), atol=1e-5)


@pytest.mark.parametrize(
    "blocks", [(), (Block("a", (Flatten(),)), Block("b", ()))], ids=["no block", "no layer"]
)
def test_a_network_of_nothing_is_refused(blocks: tuple[Block, ...]) -> None:
    with pytest.raises(NetworkError, match="net: a block has at least one layer"):
        Network("net", Shape(2, 1, 1), blocks, ("a", "b"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"kind": "lion"},
            "unknown optimizer 'lion' (did you mean 'muon'?); known are sgd, adamw, muon",
        ),
        ({"kind": "adam"}, "unknown optimizer 'adam' (did you mean 'adamw'?)"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1, got 1"),
        ({"momentum": math.nan}, "momentum must be at least 0 and below 1, got nan"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0, got -0.1"),
        ({"nesterov": True}, "nesterov needs a momentum above 0"),
    ],
)
def test_an_impossible_optimizer_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(NetinnetError) as caught:
        Optimizer(**settings)
    assert message in str(caught.value)
