"""Every count of the zoo, against the published numbers and against the native models."""

from __future__ import annotations

import pytest

from netinnet import frameworks, weights
from netinnet.costs import counts
from netinnet.errors import NetworkError
from netinnet.networks import zoo
from netinnet.networks.blocks import Block, nin_block
from netinnet.networks.layers import Conv, GlobalAvgPool, Linear, Shape, Sigmoid
from netinnet.networks.network import Network
from tests.conftest import FRAMEWORK, needs, some_slow

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
    assert counts.total_cost(zoo.network(name)).parameters == PARAMETERS[name]


def test_the_chapters_table() -> None:
    net = zoo.network("nin")
    rows = counts.block_costs(net)
    assert [(row.name, row.output, row.parameters) for row in rows] == STAGES
    assert counts.total_cost(net).macs == 762_297_352
    conv = next(row for row in counts.layer_costs(net) if row.name == "block2.conv1")
    assert conv.macs == 415_334_400


def test_a_block_of_any_layers_is_described() -> None:
    layers = (Linear(8), Sigmoid(), Linear(2), Sigmoid())
    net = Network("n", Shape(3, 1, 1), (Block("mlp", layers),), ("x", "y"))
    (row,) = counts.block_costs(net)
    assert row.description == "linear, 8 features → linear, 2 features, sigmoid"
    block = nin_block(4, 3, padding=1, pointwise=1, inner=3, residual=True)
    net = Network("n", Shape(4, 6, 6), (block, Block("head", (GlobalAvgPool(),))), tuple("abcd"))
    row = counts.block_costs(net)[0]
    assert row.description == "conv 3×3, pad 1, 4 channels → 3×3 4, ReLU, its input added"
    words = [row.description for row in counts.layer_costs(net)]
    assert words[2:4] == ["conv 3×3, pad 1, 4 channels", "ReLU, block's input added"]


def test_imagenet_file_is_29_mb() -> None:
    assert round(4 * counts.total_cost(zoo.network("nin-imagenet")).parameters / 2**20) == 29


@needs("pytorch")
@pytest.mark.parametrize("name", some_slow(zoo.ZOO, "vgg11"))  # 129 M parameters
def test_counts_are_the_native_models(name: str) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    net = zoo.network(name)
    model = frameworks.adapter("pytorch").build(net, weights.initial(net, 0))
    total = counts.total_cost(net)
    assert sum(p.numel() for p in model.parameters()) == total.parameters
    with torch.device("meta"):
        model = model.to("meta")
        counter = FlopCounterMode(display=False)
        with counter:
            model.eval()(torch.empty(1, *net.input))
    assert counter.get_total_flops() == 2 * total.macs


@needs("pytorch")
@pytest.mark.parametrize("name", some_slow(zoo.ZOO, "vgg11"))
def test_layer_shapes_are_the_native_models(name: str) -> None:
    import torch

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


OPTIONS: dict[str, tuple[str, dict[str, object], int]] = {
    # Worked out by hand from the chapter's table: each 1×1 convolution of n channels has n² + n.
    "no 1×1": ("nin", {"pointwise": 0}, 1_992_166 - 2 * (9_312 + 65_792 + 147_840 + 110)),
    "one 1×1": ("nin", {"pointwise": 1}, 1_992_166 - (9_312 + 65_792 + 147_840 + 110)),
    "as it is": ("nin", {"pointwise": 2, "head": "gap", "width": 1.0}, 1_992_166),
    "three 1×1": ("nin", {"pointwise": 3}, 1_992_166 + (9_312 + 65_792 + 147_840 + 110)),
    "3×3 for 1×1": ("nin", {"inner": 3}, 1_992_166 + 16 * (96**2 + 256**2 + 384**2 + 10**2)),
    "gradual": (
        "nin",
        {"narrowing": "128-32"},
        1_992_166 - 34_790 + (9 * 384 * 128 + 128) + (128 * 32 + 32) + (32 * 10 + 10),
    ),
    "narrowing decides for the last block": (
        "nin",
        {"narrowing": "10-10", "pointwise": 0},
        1_992_166 - 2 * (9_312 + 65_792 + 147_840),
    ),
    "dense head": ("nin", {"head": "dense"}, 1_992_166 + 5 * 5 * 10 * 10 + 10),
    "dense head, dropout": ("nin", {"head": "dense-dropout"}, 1_992_166 + 2_510),
    "half as wide": (
        "nin-small",
        {"width": 0.5},
        # Convolutions without biases, batch norm's two values a channel, ten biases at the end.
        *(
            9 * 24
            + 24 * 16
            + 16 * 16
            + 2 * (24 + 16 + 16)
            + 9 * 16 * 32
            + 2 * 32 * 32
            + 2 * 3 * 32
            + 9 * 32 * 48
            + 48 * 48
            + 2 * 2 * 48
            + 48 * 10,
        ),
    ),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_change_the_parameters(case: str) -> None:
    name, options, expected = OPTIONS[case]
    net = zoo.network(name, **options)  # type: ignore[arg-type]
    assert counts.total_cost(net).parameters == expected
    adapter = frameworks.adapter(FRAMEWORK)
    native = adapter.read(net, adapter.build(net, weights.initial(net, 0)))
    assert (
        sum(a.size for name, a in native.items() if weights.tensors(net)[name].is_trained)
        == expected
    )


@pytest.mark.parametrize("name", [name for name in zoo.ZOO if name.startswith("nin")])
def test_fewer_pointwise_convolutions_keep_the_blocks_outputs(name: str) -> None:
    blocks = [row.output for row in counts.block_costs(zoo.network(name))]
    for pointwise in range(4):
        changed = zoo.network(name, pointwise=pointwise)
        assert [row.output for row in counts.block_costs(changed)] == blocks
        for block in changed.blocks:
            convs = [layer.kernel for layer in block.layers if isinstance(layer, Conv)]
            assert not convs or convs[1:] == [1] * pointwise


@pytest.mark.parametrize("name", zoo.ZOO)
def test_width_scales_what_is_hidden(name: str) -> None:
    net = zoo.network(name, width=0.25, image_size=max(67, zoo.ZOO[name].input.height))
    own = zoo.network(name, image_size=net.input.height)
    assert net.output == own.output
    # A quarter of the channels is a sixteenth of the products between them.
    assert 0.04 < counts.total_cost(net).macs / counts.total_cost(own).macs < 0.3


@pytest.mark.parametrize("width", [0.05, 0.25, 0.3, 0.37, 1.0, 1.7, 2.0])
def test_groups_divide_the_channels_of_any_width(width: float) -> None:
    net = zoo.network("nin-grouped-32", width=width)
    groups = [x.groups for b in net.blocks for x in b.layers if isinstance(x, Conv)]
    assert max(groups) <= 5
    if width in (1.0, 2.0):
        assert groups.count(4) == 5
        assert groups.count(5) == 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lenet", {"pointwise": 1}, "lenet has no option pointwise: leave it out"),
        ("alexnet", {"narrowing": "128-32"}, "alexnet has no option narrowing"),
        ("vgg11", {"head": "gap"}, "vgg11 has no option head"),
        ("nin", {"head": "dens"}, "unknown head 'dens' (did you mean 'dense'?); known are gap"),
        ("nin", {"narrowing": "128,32"}, "channel counts joined by hyphens, as in 128-32, got"),
        ("nin", {"narrowing": "128-0"}, "channel counts joined by hyphens"),
        ("nin", {"narrowing": ""}, "channel counts joined by hyphens"),
        ("nin", {"pointwise": -1}, "pointwise must be at least 0, got -1"),
        ("nin", {"inner": 2}, "inner must be odd, so that sizes stay, got 2"),
        ("lenet", {"inner": 3}, "lenet has no option inner"),
        ("nin", {"width": 0.0}, "width must be above 0, got 0"),
        ("nin", {"width": float("inf")}, "width must be above 0, got inf"),
    ],
)
def test_options_that_cannot_be(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(NetworkError) as raised:
        zoo.network(name, **options)  # type: ignore[arg-type]
    assert message in str(raised.value)
