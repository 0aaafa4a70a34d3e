"""Exact rewrites of a network: the same function and the same weights, with less work.

Each takes a network and returns one that computes the same outputs (up to float rounding) from
tensors of the same names and shapes. Training and prediction may use them freely.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from netinnet.networks.layers import Conv, Layer, MaxPool, Shape, Tensor
from netinnet.networks.network import Network


def activation_behind_pool(network: Network) -> Network:
    """Move an activation that stands before a max pool behind it, into the pool's block.

    Both are monotone, so max(relu(x)) = relu(max(x)); behind a stride of 2 the activation has a
    quarter of the elements to do. It leaves no residual block and enters none: what is added to
    its output would be another.
    """
    blocks = [list(block.layers) for block in network.blocks]
    pairs = itertools.pairwise(zip(network.blocks, blocks, strict=True))
    for (block, here), (behind, after) in pairs:
        is_free = here and after and not block.residual and not behind.residual
        if is_free and here[-1].is_monotone and isinstance(after[0], MaxPool):
            after.insert(1, here.pop())
    for layers in blocks:
        for i in range(len(layers) - 1):
            if layers[i].is_monotone and isinstance(layers[i + 1], MaxPool):
                layers[i], layers[i + 1] = layers[i + 1], layers[i]
    return _with_layers(network, blocks)


def _with_layers(network: Network, blocks: list[list[Layer]]) -> Network:
    return dataclasses.replace(
        network,
        blocks=tuple(
            dataclasses.replace(block, layers=tuple(layers))
            for block, layers in zip(network.blocks, blocks, strict=True)
            if layers
        ),
    )


@dataclass(frozen=True)
class ResizedConv(Layer):
    """A bilinear enlargement by a whole `factor`, then the convolution, as one layer.

    Both are linear, so together they are a small convolution of the original picture: an output
    depends on a few source pixels only, with one kernel for each output phase (its position modulo
    the period). For 28→224 (factor 8) and 11×11, stride 4: 4 kernels of 4×4 instead of 121 products
    an output, and the enlarged picture never exists. Only without padding: a zero border of the
    enlarged picture is no border of the source.
    """

    kind: ClassVar[str] = Conv.kind
    takes: ClassVar[str] = Conv.takes
    conv: Conv
    factor: int

    def output(self, shape: Shape) -> Shape:
        return self.conv.output(
            Shape(shape.channels, shape.height * self.factor, shape.width * self.factor)
        )

    def tensors(self, shape: Shape) -> tuple[Tensor, ...]:
        return self.conv.tensors(shape)

    def macs(self, shape: Shape) -> int:
        return self.output(shape).size * shape.channels * self.folded(shape).size ** 2

    def folded(self, shape: Shape) -> Folded:
        """How to compute it on pictures of `shape` by one matrix product over patches."""
        conv, period = self.conv, math.lcm(self.conv.stride, self.factor)
        phases, stride = period // conv.stride, period // self.factor
        place = np.arange(phases)[:, None] * conv.stride + np.arange(conv.kernel)[None, :]
        centres = (place + 0.5) / self.factor - 0.5
        first = math.floor(centres.min())
        size = math.floor(centres.max()) + 2 - first
        distance = np.abs(centres[:, :, None] - (first + np.arange(size)))
        taps = np.maximum(0.0, 1.0 - distance).astype(np.float32)
        out = self.output(shape)
        steps = (-(-out.height // phases), -(-out.width // phases))
        after = [
            max(0, (count - 1) * stride + size + first - n)
            for count, n in zip(steps, shape[1:], strict=True)
        ]
        return Folded(taps, phases, stride, size, steps, -first, (after[0], after[1]), out)


class Folded(NamedTuple):
    """The geometry of a `ResizedConv` on pictures of one shape, for every framework.

    The picture is padded by repeating its border, `before` and `after`; patches of size×size,
    `stride` apart, are multiplied by one small kernel for each output phase (p, q). The products
    (steps×steps×phases×phases×channels) are the output once phases stand beside each other, and
    what is beyond `out` is cut off.
    """

    taps: npt.NDArray[np.float32]
    """phases×kernel×size: [p, k, t] is the weight of patch pixel t in the enlarged pixel under
    kernel row k, for an output of phase p."""
    phases: int
    """Output phases along one axis."""
    stride: int
    """Source pixels between outputs of the same phase."""
    size: int
    steps: tuple[int, int]
    """Patches down and across."""
    before: int
    after: tuple[int, int]
    out: Shape


def fold_resize(network: Network, source: Shape) -> Network | None:
    """The network for pictures of `source` size, its enlargement folded into the first convolution.

    Returns None where that is not possible: the enlargement is not by one whole factor, or the
    network does not begin with an unpadded convolution of one group, or its input is added later.
    """
    first = network.blocks[0].layers[0]
    factor = network.input.height // source.height
    enlarged = Shape(source.channels, source.height * factor, source.width * factor)
    if factor < 2 or enlarged != network.input or not isinstance(first, Conv):
        return None
    if first.padding or first.same or first.groups != 1 or network.blocks[0].residual:
        return None
    blocks = [list(block.layers) for block in network.blocks]
    blocks[0][0] = ResizedConv(first, factor)
    return dataclasses.replace(_with_layers(network, blocks), input=source)
