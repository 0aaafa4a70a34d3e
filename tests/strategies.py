"""Hypothesis strategies for networks: any valid one may come, not the zoo's alone.

Every layer class is in them, odd and oblong pictures, several Linears in a block, blocks of one
layer, residual ones, convolutions in groups, networks without a weight.
"""

from __future__ import annotations

import string

from hypothesis import strategies as st

from netinnet.errors import NetworkError
from netinnet.networks.blocks import Block
from netinnet.networks.layers import (
    LAYERS,
    AvgPool,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    MaxPool,
    Shape,
)
from netinnet.networks.network import Network, Preprocessing
from netinnet.networks.windows import DoesNotFit

MOST_CLASSES = 30
"""Flat outputs of more features get a Linear, so that no test draws thousands of class names."""

CHANNELS = st.integers(1, 5)
_RATES = st.sampled_from([0.0, 0.1, 0.5])


@st.composite
def _pools(draw: st.DrawFn, kind: type[Layer]) -> Layer:
    kernel = draw(st.integers(1, 4))
    stride, same = draw(st.integers(1, 3)), draw(st.booleans())
    padding = 0 if same else draw(st.integers(0, kernel // 2))
    ceil = not same and draw(st.booleans())
    return kind(kernel, stride, padding, ceil, same)  # type: ignore[call-arg]


@st.composite
def _convs(draw: st.DrawFn) -> Conv:
    kernel, stride, same = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.booleans())
    padding = 0 if same else draw(st.integers(0, 2))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    return Conv(draw(CHANNELS), kernel, stride, padding, draw(st.booleans()), groups, same)


_OWN: dict[type[Layer], st.SearchStrategy[Layer]] = {
    Conv: _convs(),
    Linear: st.builds(Linear, st.integers(1, 8), bias=st.booleans()),
    BatchNorm: st.builds(
        BatchNorm, epsilon=st.sampled_from([1e-5, 1e-3]), momentum=st.sampled_from([0.1, 0.01])
    ),
    MaxPool: _pools(MaxPool),
    AvgPool: _pools(AvgPool),
    Dropout: st.builds(Dropout, _RATES),
}


def layers(kinds: tuple[type[Layer], ...]) -> st.SearchStrategy[Layer]:
    """A layer of one of the kinds, small; those whose fields all have defaults come as they are."""
    return st.one_of([_OWN[kind] if kind in _OWN else st.just(kind()) for kind in kinds])


def _after(layer: Layer, shape: Shape) -> Shape | None:
    try:
        return layer.output(shape)
    except (DoesNotFit, NetworkError):
        return None


@st.composite
def networks(
    draw: st.DrawFn,
    *,
    kinds: tuple[type[Layer], ...] = tuple(LAYERS.values()),
    weights: bool = False,
    largest: int = 13,
    flat: bool = True,
) -> Network:
    """A valid network of up to four blocks of up to five layers, each of one of the `kinds`.

    Args:
        kinds: the layer classes to draw from.
        weights: there is at least one layer with weights, so that it can be trained.
        largest: largest height and width of the input, in pixels.
        flat: the last layer that changes the shape is a Flatten or a Linear (logits n×classes).
    """
    size = st.integers(1, largest)
    shape = given_shape = Shape(draw(st.integers(1, 3)), draw(size), draw(size))
    blocks: list[tuple[Layer, ...]] = []
    residual: list[bool] = []
    for count in draw(st.lists(st.integers(1, 5), min_size=0, max_size=3)):
        block: list[Layer] = []
        before = shape
        for layer in draw(st.lists(layers(kinds), min_size=count, max_size=count)):
            output = _after(layer, shape)
            if output is not None:
                block.append(layer)
                shape = output
        if block:
            blocks.append(tuple(block))
            flattens = any(isinstance(layer, Flatten | Linear) for layer in block)
            residual.append(shape == before and not flattens and draw(st.booleans()))
    # The end: flat, of not too many features, and with weights if they are wanted.
    head: list[Layer] = draw(st.sampled_from([[GlobalAvgPool(), Flatten()], [Flatten()]]))
    every = [*(layer for block in blocks for layer in block)]
    if not flat and shape.height == shape.width == 1 and draw(st.booleans()):
        head = []
    for layer in head:
        shape = layer.output(shape)
    needs_weights = weights and not any(isinstance(layer, Conv | Linear) for layer in every)
    if needs_weights or shape.size > MOST_CLASSES or draw(st.booleans()):
        head = [*head, *draw(st.lists(layers((Linear,)), min_size=1, max_size=3))]
        shape = Shape(vars(head[-1])["features"], 1, 1)
    if head:
        blocks.append(tuple(head))
    if not blocks:
        blocks = [(Flatten(),)]
    names = draw(st.lists(st.text(string.ascii_letters, min_size=1, max_size=8), max_size=3))
    return Network(
        name=draw(st.sampled_from(["net", *names])),
        input=given_shape,
        blocks=tuple(
            Block(f"block{i + 1}", layers, i < len(residual) and residual[i])
            for i, layers in enumerate(blocks)
        ),
        classes=tuple(f"class {i}" for i in range(shape.size)),
        preprocessing=draw(st.sampled_from([Preprocessing(), Preprocessing((0.3,), (0.5,))])),
    )
