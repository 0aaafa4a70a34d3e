"""The layer of the vocabulary whose windows are those that a foreign file describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from netinnet.errors import NetworkError
from netinnet.networks.checks import LARGEST_COUNT
from netinnet.networks.layers import AvgPool, Conv, MaxPool, Shape
from netinnet.networks.network import LARGEST_INPUT
from netinnet.networks.windows import DoesNotFit, Pads

L = TypeVar("L", bound=Conv | MaxPool | AvgPool)


def fitted(
    kind: type[L],
    kernel: int,
    stride: int,
    shape: Shape,
    pads: Pads,
    *,
    ceil: bool = False,
    counts: bool = True,
    fields: Mapping[str, Any] | None = None,
) -> L | None:
    """The layer with these windows on a map of `shape`, None where the vocabulary has none.

    Args:
        kind: Conv, MaxPool or AvgPool.
        kernel: Height and width of the window.
        stride: Pixels between windows.
        shape: Of the map: the padding of TensorFlow's "same" depends on it.
        pads: Padding (above, below), (left, right).
        ceil: Whether a last window that reaches beyond the padding counts.
        counts: Whether a mean divides by the padding, too.
        fields: The layer's other fields.

    Example:
        >>> fitted(MaxPool, 3, 2, Shape(8, 28, 28), ((0, 1), (0, 1)))
        MaxPool(kernel=3, stride=2, padding=0, ceil=False, same=True)
    """
    sizes = shape[1:]
    if not all(1 <= n <= LARGEST_COUNT for n in (kernel, stride)):
        return None
    if any(not 0 <= side <= LARGEST_INPUT for pad in pads for side in pad):
        return None  # so no list here is much longer than an input may be
    wanted = [
        _starts(size, kernel, stride, pad, ceil) for size, pad in zip(sizes, pads, strict=True)
    ]
    if not all(wanted):
        return None
    ways: list[dict[str, Any]] = [{"padding": pads[0][0]}, {"same": True}]
    if kind is not Conv:
        ways.insert(1, {"padding": pads[0][0], "ceil": True})
    for way in ways:
        try:
            layer = kind(**(fields or {}), kernel=kernel, stride=stride, **way)
            rows = layer.counts(shape)
        except (NetworkError, DoesNotFit):
            continue
        own = [
            [i * stride - before for i in range(count)]
            for count, (before, _) in zip(rows, layer.pads(shape), strict=True)
        ]
        if own == wanted and _divides_alike(layer, shape, pads, wanted, counts):
            return layer
    return None


def _starts(size: int, kernel: int, stride: int, pad: tuple[int, int], ceil: bool) -> list[int]:
    """Where windows start. Empty where runtimes differ in whether there is one more."""
    whole = size + sum(pad) - kernel
    count = -(-whole // stride) + 1 if ceil else whole // stride + 1
    starts = [i * stride - pad[0] for i in range(count)]
    return [] if starts and starts[-1] >= size else starts


def _divides_alike(
    layer: Conv | MaxPool | AvgPool, shape: Shape, pads: Pads, starts: list[list[int]], counts: bool
) -> bool:
    if not isinstance(layer, AvgPool):
        return True
    wanted, factors = [], layer.factors(shape)
    for size, (before, after), places in zip(shape[1:], pads, starts, strict=True):
        first, end = (-before, size + after) if counts else (0, size)
        of = [min(s + layer.kernel, end) - max(s, first) for s in places]
        if min(of) < 1:
            return False  # a mean of padding alone
        wanted.append(layer.kernel / np.array(of))
    if factors is None:
        factors = [1.0] * len(wanted[0]), [1.0] * len(wanted[1])
    # What a window is multiplied by is the product of its row's and its column's.
    (rows, columns), both = wanted, factors[0][0] / wanted[0][0]
    found = np.concatenate((factors[0], np.multiply(factors[1], both)))
    return np.allclose(found, np.concatenate((rows * both, columns)))
