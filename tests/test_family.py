"""NiN-like networks of growing depth: what they are, what they cost, that they train."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netinnet import frameworks, weights
from netinnet.costs import counts, memory
from netinnet.errors import NetworkError
from netinnet.frameworks.learner import LearnerSettings
from netinnet.metrics import cross_entropy
from netinnet.networks import resolve, zoo
from netinnet.networks.family import DEPTHS, nin_family
from netinnet.networks.layers import Conv, Shape
from netinnet.networks.network import Network
from netinnet.optimizer import Optimizer
from tests.conftest import needs

EXERCISES = Path(__file__).parents[1] / "docs" / "exercises.md"
depths = pytest.mark.parametrize("depth", DEPTHS)


@depths
def test_as_many_blocks_as_vgg_has_convolutions(depth: int) -> None:
    net = nin_family(depth)
    blocks = [block for block in net.blocks if isinstance(block.layers[0], Conv)]
    assert len(blocks) == depth - 3 + 1  # VGG's last three layers are dense; one block ends in maps
    assert [p.output for p in net.placed_layers() if p.name.startswith("pool5")] == [
        Shape(512, 7, 7)
    ]
    assert Network.from_json(net.to_json()) == net


@depths
def test_counts_are_those_of_the_exercises(depth: int) -> None:
    """For 28×28, and for 224×224 with a quarter of the width."""
    cells = [
        f"{row.parameters:,} | {row.macs / 1e6:,.1f} M"
        for row in map(
            counts.total_cost, (nin_family(depth, input=(1, 28, 28)), nin_family(depth, width=0.25))
        )
    ]
    assert f"| {depth} | {' | '.join(cells)} |" in EXERCISES.read_text()


def test_wider_inner_windows_cost_what_the_exercises_say() -> None:
    row = counts.total_cost(zoo.network("nin", inner=3))
    text = " ".join(EXERCISES.read_text().split())
    assert f"{row.parameters:,} parameters instead of 1,992,166" in text
    assert f"{row.macs / 1e6:,.1f} M multiply-accumulates instead of 762.3 M" in text


@depths
def test_memory_and_rows(depth: int) -> None:
    net = nin_family(depth, input=(3, 32, 32), classes=("a", "b"), width=0.1)
    assert net.input == Shape(3, 32, 32)
    assert net.classes == ("a", "b")
    assert all(row.description for row in counts.block_costs(net))
    assert memory.model(net, 8, Optimizer()).training_peak.total > 0


@needs("pytorch")
@depths
def test_it_learns(depth: int) -> None:
    net = nin_family(depth, input=(1, 28, 28), classes=2, width=0.125, inner=3, pointwise=1)
    learner = frameworks.adapter("pytorch").learner(
        LearnerSettings(net, Optimizer("sgd", 0.9), net.input), weights.initial(net, 0)
    )
    rng = np.random.default_rng(0)
    labels = np.arange(16) % 2
    images = rng.normal(0, 1, (16, 28, 28, 1)).astype(np.float32)
    images += labels[:, None, None, None].astype(np.float32)
    # Deep, with 16 values a channel at the end: rounding decides how soon; at five times the rate,
    # whether.
    losses = [
        cross_entropy(learner.step(images, labels, 0.01, step, 0), labels).mean()
        for step in range(1, 21)
    ]
    assert losses[-1] < 0.5 * losses[0]


def test_no_vgg_of_that_depth_is_one_line() -> None:
    message = "nin_family: depth must be one of 11, 16 and 19, got 13"
    with pytest.raises(NetworkError, match=f"^{re.escape(message)}$"):
        nin_family(13)


@pytest.mark.parametrize("width", [-1.0, 0.0, math.nan, math.inf, "1"])
def test_a_width_that_is_none_is_one_line(width: Any) -> None:
    with pytest.raises(NetworkError, match=r"^nin_family: width must be (above 0|a number), got"):
        nin_family(11, width=width)


def test_classes_are_a_number_or_names() -> None:
    own = nin_family(11, classes=np.int64(3), width=0.125)
    assert own == nin_family(11, classes=("0", "1", "2"), width=0.125)
    with pytest.raises(NetworkError, match=r"^classes must be a whole number or a list of names"):
        nin_family(11, classes="abc")


def test_it_is_trained_by_the_path_of_its_description(tmp_path: Path) -> None:
    """What docs/exercises.md says: nin train --network ./nin-11.json."""
    own = nin_family(11, input=(1, 28, 28), width=0.125)
    (tmp_path / "nin-11.json").write_text(own.to_json())
    assert resolve(tmp_path / "nin-11.json") == own
