"""Every count of the zoo, against the published numbers and against the native models."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from netinnet import frameworks, resources, weights, zoo
from netinnet.network import Shape

PARAMETERS = {
    "nin": 1_992_166,
    "nin-small": 96_080,
    "nin-mnist": 349_674,
    "lenet": 61_706,
    "alexnet": 46_764_746,
    "vgg11": 128_806_154,
    "vgg11-quarter": 43_093_322,
}
"""Published: the chapter, the paper, the book."""

STAGES = [
    ("block1", Shape(96, 54, 54), 30_336),
    ("pool1", Shape(96, 26, 26), 0),
    ("block2", Shape(256, 26, 26), 746_240),
    ("pool2", Shape(256, 12, 12), 0),
    ("block3", Shape(384, 12, 12), 1_180_800),
    ("pool3", Shape(384, 5, 5), 0),
    ("dropout", Shape(384, 5, 5), 0),
    ("block4", Shape(10, 5, 5), 34_790),
    ("head", Shape(10, 1, 1), 0),
]


@pytest.mark.parametrize("name", PARAMETERS)
def test_published_parameters(name: str) -> None:
    assert resources.total_cost(zoo.network(name)).parameters == PARAMETERS[name]


def test_the_chapters_table() -> None:
    net = zoo.network("nin")
    rows = resources.block_costs(net)
    assert [(row.name, row.output, row.parameters) for row in rows] == STAGES
    assert resources.total_cost(net).macs == 762_297_352
    conv = next(row for row in resources.layer_costs(net) if row.name == "block2.conv1")
    assert conv.macs == 415_334_400


def test_imagenet_file_is_29_mb() -> None:
    assert round(4 * resources.total_cost(zoo.network("nin-imagenet")).parameters / 2**20) == 29


@pytest.mark.parametrize("name", zoo.ZOO)
def test_counts_are_the_native_models(name: str) -> None:
    net = zoo.network(name)
    model = frameworks.adapter("pytorch").build(net, weights.initial(net, 0))
    total = resources.total_cost(net)
    assert sum(p.numel() for p in model.parameters()) == total.parameters
    with torch.device("meta"):
        model = model.to("meta")
        counter = FlopCounterMode(display=False)
        with counter:
            model.eval()(torch.empty(1, *net.input))
    assert counter.get_total_flops() == 2 * total.macs


@pytest.mark.parametrize("name", zoo.ZOO)
def test_layer_shapes_are_the_native_models(name: str) -> None:
    net = zoo.network(name)
    with torch.device("meta"):
        adapter = frameworks.adapter("pytorch")
        model = adapter.build(net, weights.initial(net, 0)).to("meta")
        x = torch.empty(2, *net.input)
        placed = iter(net.placed_layers())
        for block in model:
            for layer in block:
                x = layer(x)
                place = next(placed)
                assert tuple(x.shape[1:]) in (place.output, (place.output.size,)), place.name


@pytest.mark.parametrize("name", zoo.ZOO)
def test_other_inputs_and_classes(name: str) -> None:
    own = zoo.ZOO[name].input.height
    net = zoo.network(name, image_size=own + 9, channels=3, classes=7)
    assert net.input == Shape(3, own + 9, own + 9)
    assert net.output == Shape(7, 1, 1)
