"""The vocabulary: shapes, validation, JSON."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import netinnet
from netinnet.errors import NetworkError
from netinnet.networks import variations, zoo
from netinnet.networks.blocks import Block, nin_block
from netinnet.networks.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    LeakyReLU,
    Linear,
    MaxPool,
    ReLU,
    Shape,
)
from netinnet.networks.network import Network, Preprocessing, smallest_input
from netinnet.networks.windows import DoesNotFit
from tests.conftest import needs


@pytest.mark.parametrize("name", zoo.ZOO)
def test_json_round_trip(name: str) -> None:
    net = zoo.network(name, classes=("a", "ü", "<c>"), preprocessing=Preprocessing((0.5,), (0.2,)))
    assert Network.from_json(net.to_json()) == net


@needs("pytorch")
@given(
    size=st.integers(1, 40),
    kernel=st.integers(1, 11),
    stride=st.integers(1, 5),
    padding=st.integers(0, 5),
)
def test_conv_shape_is_pytorchs(size: int, kernel: int, stride: int, padding: int) -> None:
    import torch

    layer = Conv(3, kernel, stride, padding)
    native = torch.nn.Conv2d(2, 3, kernel, stride, padding)
    try:
        shape = layer.output(Shape(2, size, size))
    except DoesNotFit:
        with pytest.raises(RuntimeError):
            native(torch.zeros(1, 2, size, size))
        return
    assert tuple(native(torch.zeros(1, 2, size, size)).shape[1:]) == shape


@needs("pytorch")
@given(size=st.integers(1, 40), kernel=st.integers(1, 6), stride=st.integers(1, 4), data=st.data())
def test_pool_shape_is_pytorchs(size: int, kernel: int, stride: int, data: st.DataObject) -> None:
    import torch

    padding, ceil = data.draw(st.integers(0, kernel // 2)), data.draw(st.booleans())
    native = torch.nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil)
    for kind in (MaxPool, AvgPool):
        try:
            shape = kind(kernel, stride, padding, ceil).output(Shape(2, size, size))
        except DoesNotFit:
            assert size + 2 * padding < kernel  # here PyTorch fits a window that is rounded up
            if not ceil:
                with pytest.raises(RuntimeError):
                    native(torch.zeros(1, 2, size, size))
            return
        assert tuple(native(torch.zeros(1, 2, size, size)).shape[1:]) == shape


@needs("pytorch")
@given(size=st.integers(1, 20), kernel=st.integers(1, 6), stride=st.integers(1, 7), data=st.data())
def test_means_of_cut_windows_are_pytorchs(
    size: int, kernel: int, stride: int, data: st.DataObject
) -> None:
    """What the last windows see beyond the padding does not count, whatever the sizes."""
    import torch

    from netinnet.inference import oracle

    padding = data.draw(st.integers(0, kernel // 2))
    assume(size + 2 * padding >= kernel)
    x = np.random.default_rng(0).normal(0, 1, (1, 1, size, size))
    for kind, native in ((AvgPool, torch.nn.AvgPool2d), (MaxPool, torch.nn.MaxPool2d)):
        layer = kind(kernel, stride, padding, ceil=True)
        expected = native(kernel, stride, padding, ceil_mode=True)(torch.tensor(x)).numpy()
        np.testing.assert_allclose(oracle.OPERATIONS[kind](layer, {}, x), expected, rtol=1e-9)
    correction = AvgPool(kernel, stride, padding, ceil=True).correction(Shape(1, size, size))
    assert np.shape(correction) == expected.shape[2:]


def small(**changes: Any) -> Network:
    """A network that can be, unless it is changed."""
    blocks = (Block("a", (Flatten(), Linear(2))),)
    given = {"name": "n", "input": (1, 4, 4), "blocks": blocks, "classes": ("x", "y")}
    return Network(**{**given, **changes})


def test_numpys_numbers_are_numbers() -> None:
    """They go to JSON and back as Python's own."""
    eight, half = np.int64(8), np.float32(0.5)
    layers = (
        *(Conv(eight, np.uint8(3), bias=np.bool_(False)), BatchNorm(half, half), Dropout(half)),
        *(LeakyReLU(half), AvgPool(np.int8(2), np.int16(2)), Flatten(), Linear(np.int64(2))),
    )
    scaling = Preprocessing(np.array([0.5]), np.array([half]))
    net = small(input=np.array([1, 8, 8]), blocks=[Block("a", layers)], preprocessing=scaling)
    assert Network.from_json(net.to_json()) == net
    assert {type(n) for n in net.input} == {int}
    named = zoo.network("nin-small", classes=eight, image_size=np.int32(30), width=half)
    assert named == zoo.network("nin-small", classes=8, image_size=30, width=0.5)
    assert nin_block(eight, 3) == nin_block(8, 3)
    assert nin_block(np.array([8, 8, 8]), 3) == nin_block(8, 3)


def test_a_momentum_of_0_leaves_statistics_as_they_are() -> None:
    """Keras's momentum of 1 is this one."""
    assert (BatchNorm(momentum=0).momentum, BatchNorm(momentum=1).momentum) == (0.0, 1.0)


def test_a_linear_layer_behind_windows_takes_their_smallest_size() -> None:
    blocks = (Block("a", (Conv(4, 12), Linear(2))),)
    assert smallest_input(blocks, 1) == 12
    assert small(input=(1, 12, 12), blocks=blocks).output == (2, 1, 1)
    with pytest.raises(NetworkError, match=r"Linear needs a flat input, got 4×2×2"):
        small(input=(1, 13, 13), blocks=blocks)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Conv(0), "Conv: channels must be at least 1, got 0"),
        (lambda: Conv(3, padding=-1), "Conv: padding must be at least 0, got -1"),
        (lambda: MaxPool(3, 2, 2), "MaxPool: padding must be at most half the kernel (1), got 2"),
        (lambda: Conv(8.5, 5), "Conv: channels must be a whole number, got 8.5"),
        (lambda: Conv("8", 5), "Conv: channels must be a whole number, got '8'"),
        (lambda: Conv(8, bias=1), "Conv: bias must be a bool, got 1"),
        (lambda: Conv(True), "Conv: channels must be a whole number, got True"),
        (lambda: BatchNorm(-1e-5), "BatchNorm: epsilon must be at least 0, got -1e-05"),
        (lambda: BatchNorm(math.inf), "BatchNorm: epsilon must be at least 0, got inf"),
        (lambda: BatchNorm(math.nan), "BatchNorm: epsilon must be at least 0, got nan"),
        (lambda: BatchNorm("0.1"), "BatchNorm: epsilon must be a number, got '0.1'"),
        (lambda: BatchNorm(momentum=5), "BatchNorm: momentum must be in [0, 1], got 5.0"),
        (lambda: BatchNorm(momentum=-0.1), "BatchNorm: momentum must be in [0, 1], got -0.1"),
        (lambda: BatchNorm(momentum=math.nan), "BatchNorm: momentum must be in [0, 1], got nan"),
        (lambda: Dropout("0.5"), "Dropout: rate must be a number, got '0.5'"),
        (lambda: LeakyReLU(None), "LeakyReLU: slope must be a number, got None"),
        (lambda: nin_block("8", 3), "Conv: channels must be a whole number, got '8'"),
        (lambda: nin_block(8, 3, pointwise=1.5), "pointwise must be a whole number, got 1.5"),
        (lambda: nin_block(8, 3, last_norm=True), "give last_relu = false, too"),
        (lambda: Block("a", ReLU()), "layers of block 'a' must be a list, got ReLU()"),
        (lambda: Block("a", (ReLU,)), "block 'a' is made of layers, as ReLU(), got <class"),
        (lambda: small(blocks=Block("a", (Conv(2),))), "blocks must be a list, got Block("),
        (lambda: small(blocks=(ReLU(),)), "blocks must be of Blocks, got (ReLU(),)"),
        (lambda: small(input=(1, 5.5, 5)), "each of input must be a whole number, got 5.5"),
        (lambda: small(input=(1, 5)), "input must be channels, height and width, got (1, 5)"),
        (lambda: small(classes="xy"), "classes must be a list, got 'xy'"),
        (lambda: small(classes=("cat", "cat")), "n: 2 classes are called 'cat': rename all but"),
        (lambda: Preprocessing("123", "123"), "Preprocessing: mean must be a list, got '123'"),
        (lambda: Preprocessing(0.5, 0.5), "Preprocessing: mean must be a list, got 0.5"),
        (
            lambda: small(input=(1, 10, 10), blocks=(Block("a", (Conv(4, 12), Linear(2))),)),
            "n needs at least 12×12; got 10×10: nothing is left for a.conv1",
        ),
        (
            lambda: small(blocks=(Block("a", (Conv(4, 12), Conv(6, groups=4), Linear(2))),)),
            "n: got 4×4: nothing is left for a.conv1",
        ),
        (
            lambda: netinnet.build("nin-small", widht=0.5),
            "unknown option 'widht' (did you mean 'width",
        ),
        (
            lambda: zoo.network("nin-small", image_size="28"),
            "image_size must be a whole number, go",
        ),
        (
            lambda: zoo.network("nin-small", channels=1.5),
            "channels must be a whole number, got 1.5",
        ),
        (lambda: zoo.network("nin-small", width="0.5"), "width must be a number, got '0.5'"),
        (
            lambda: zoo.network("nin-small", logits_relu="no"),
            "logits_relu must be a bool, got 'no'",
        ),
        (lambda: zoo.network("nin-small", narrowing=8), "narrowing must be a string, got 8"),
        (
            lambda: zoo.network("nin-small", classes=10.0),
            "classes must be a whole number or a list of names, got 10.0",
        ),
        (lambda: zoo.network("nin-small", classes="10"), "or a list of names, got '10'"),
        (lambda: Dropout(1.0), "Dropout: rate must be in [0, 1), got 1.0"),
        (
            lambda: zoo.network("nin", image_size=64),
            "nin needs at least 67×67; got 64×64: nothing is left for the pool of block 3",
        ),
        (lambda: zoo.network("alexnet", image_size=20), "alexnet needs at least 65×65; got 20×20"),
        (lambda: zoo.network("mnin"), "unknown network 'mnin' (did you mean 'nin'?); known are"),
        (lambda: zoo.network("lenet", logits_relu=True), "lenet has no option logits_relu"),
        (lambda: zoo.network("nin", classes=0), "nin: the number of classes must be at least 1"),
        (
            lambda: Network("n", Shape(1, 4, 4), (Block("a", (Linear(2),)),), ("x", "y")),
            "n, a.linear1: Linear needs a flat input, got 1×4×4: put a Flatten before it",
        ),
        (
            lambda: Network("n", Shape(1, 4, 4), (Block("a", (Flatten(), Linear(2))),), ("x",)),
            "n: its output is 2×1×1, but it has 1 class names",
        ),
        (
            lambda: Network("n", Shape(4, 4, 4), (Block("a", (Conv(6, groups=4),)),), ("x",)),
            "n, a.conv1: groups must divide the input's channels (4) and the layer's (6), got 4",
        ),
        (
            lambda: Network("n", Shape(3, 4, 4), (Block("a", (Conv(4, groups=4),)),), ("x",)),
            "n, a.conv1: groups must divide the input's channels (3) and the layer's (4), got 4",
        ),
        (lambda: Conv(4, groups=0), "Conv: groups must be at least 1, got 0"),
        (
            lambda: Network("n", Shape(4, 4, 4), (nin_block(4, 3, residual=True),), tuple("abcd")),
            "n: block is residual, but makes 4×2×2 of 4×4×4; choose channels, strides and padding",
        ),
        (
            lambda: nin_block(8, 3, inner=2),
            "nin_block: inner must be odd, so that sizes stay, got 2",
        ),
        (lambda: nin_block(8, 3, inner=-1), "Conv: kernel must be at least 1, got -1"),
        (lambda: nin_block((1, 2), 3), "nin_block: 3 convolutions need as many channel numbers"),
        (lambda: Network.from_json("{"), "not a network description"),
        (
            lambda: Network.from_json('{"name": "x"}'),
            "not a network description: KeyError('input')",
        ),
    ],
)
def test_what_cannot_be_says_so(make: object, message: str) -> None:
    with pytest.raises(NetworkError) as raised:
        make()  # type: ignore[operator]
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@given(st.sampled_from(sorted(zoo.ZOO)), st.data())
def test_smallest_input_is_the_smallest(name: str, data: st.DataObject) -> None:
    net = zoo.network(name)
    smallest = smallest_input(net.blocks, net.input.channels)
    assert smallest is not None
    if variations.is_nin(net.blocks, len(net.classes)):  # a dense head would change with the size
        zoo.network(name, image_size=smallest)
    if smallest > 1:
        with pytest.raises(NetworkError, match=f"at least {smallest}×{smallest}"):
            zoo.network(name, image_size=data.draw(st.integers(1, smallest - 1)))


def test_fields_that_older_files_lack_are_as_they_were() -> None:
    data = zoo.network("nin").to_dict()
    for block in data["blocks"]:
        for layer in block["layers"]:
            for newer in ("groups", "ceil"):
                layer.pop(newer, None)
    assert Network.from_dict(data) == zoo.network("nin")


def test_malformed_layer_is_named() -> None:
    data = zoo.network("lenet").to_dict()
    data["blocks"][0]["layers"][0]["kernel"] = "5"
    with pytest.raises(NetworkError, match="kernel"):
        Network.from_dict(data)
    data["blocks"][0]["layers"][0] = {"layer": "Conw"}
    with pytest.raises(NetworkError, match="unknown layer 'Conw'"):
        Network.from_dict(data)


def test_pointwise_convolutions_of_a_block() -> None:
    for pointwise in range(4):
        convs = [x for x in nin_block(8, 3, pointwise=pointwise).layers if isinstance(x, Conv)]
        assert [conv.kernel for conv in convs] == [3] + [1] * pointwise
    assert dataclasses.astuple(convs[0]) == (8, 3, 1, 0, True, 1, False)


@pytest.mark.parametrize("inner", [1, 3, 5])
def test_inner_windows_keep_the_size(inner: int) -> None:
    block = nin_block((8, 6), 5, 2, pointwise=1, inner=inner)
    net = Network("n", Shape(3, 11, 9), (block, Block("head", (GlobalAvgPool(),))), tuple("abcdef"))
    assert [p.output for p in net.placed_layers()][2] == Shape(6, 4, 3)
    assert [layer.kernel for layer in block.layers if isinstance(layer, Conv)] == [5, inner]


def test_a_residual_nin_block_ends_in_batch_norm() -> None:
    block = nin_block(
        (8, 8, 8),
        3,
        padding=1,
        norm=True,
        bias=False,
        last_relu=False,
        last_norm=True,
        residual=True,
    )
    kinds = [type(layer).__name__ for layer in block.layers]
    assert kinds == ["Conv", "BatchNorm", "ReLU"] * 2 + ["Conv", "BatchNorm"]
    arguments = variations.nin_arguments(block)
    assert arguments is not None
    assert arguments["last_norm"]
    assert not arguments["last_relu"]
    assert nin_block(**arguments) == block


def test_norm_is_not_put_behind_logits() -> None:
    block = nin_block((8, 8), 3, pointwise=1, norm=True, last_relu=False)
    assert isinstance(block.layers[-1], Conv)


def depthwise(channels: int, classes: int) -> tuple[Block, ...]:
    wide = nin_block((channels, 2 * channels, channels), 3, padding=1, groups=channels)
    return (
        nin_block((channels,), 3, padding=1, pointwise=0, name="block1"),
        dataclasses.replace(wide, name="block2", residual=True),
        nin_block((classes,), 1, pointwise=0, name="block3", last_relu=False),
        Block("head", variations.head("gap", classes)),
    )


def test_a_depthwise_convolution_sees_one_channel() -> None:
    network = Network("n", Shape(1, 8, 8), depthwise(4, 3), tuple("abc"))
    costs = {p.name: p.layer.parameters(p.input) for p in network.placed_layers()}
    assert costs["block2.conv1"] == 4 * 9 + 4
    assert costs["block2.conv2"] == 4 * 8 + 8


@given(st.integers(1, 16), st.floats(0.1, 4))
def test_a_depthwise_convolution_of_another_width_is_one(channels: int, factor: float) -> None:
    changed = variations.with_width(depthwise(channels, 3), 3, factor)
    Network("n", Shape(1, 8, 8), changed, tuple("abc"))  # is one
    stem, wide = changed[0].layers[0], changed[1].layers[0]
    assert isinstance(stem, Conv)
    assert isinstance(wide, Conv)
    assert stem.channels == wide.channels == max(1, round(channels * factor))
    # One channel and one group is an ordinary convolution: it keeps its one group.
    assert wide.groups == (stem.channels if channels > 1 else 1)
