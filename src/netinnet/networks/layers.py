"""The layers a network is made of: small frozen dataclasses that know the shape they make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from netinnet.errors import NetworkError


class Shape(NamedTuple):
    """Channels, height and width of one example. A flat vector of n features is (n, 1, 1)."""

    channels: int
    height: int
    width: int

    @property
    def size(self) -> int:
        return self.channels * self.height * self.width

    def __str__(self) -> str:
        return f"{self.channels}×{self.height}×{self.width}"


class DoesNotFit(Exception):
    """Raised by a layer whose window is larger than what is left of the picture."""


def _window(shape: Shape, channels: int, kernel: int, stride: int, padding: int) -> Shape:
    """Shape behind a sliding window: floor((n + 2·padding - kernel)/stride) + 1 each way."""
    height, width = (
        (n + 2 * padding - kernel) // stride + 1 if n + 2 * padding >= kernel else 0
        for n in (shape.height, shape.width)
    )
    if height < 1 or width < 1:
        raise DoesNotFit
    return Shape(channels, height, width)


@dataclass(frozen=True)
class Layer:
    """What all layers share: a short `kind` that names them, and the shape they make."""

    kind: ClassVar[str] = ""

    def output(self, shape: Shape) -> Shape:
        """Shape of the output for an input of `shape`."""
        return shape

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            lowest = 0 if name in ("padding",) else 1
            if type(value) is int and value < lowest:
                raise NetworkError(
                    f"{type(self).__name__}: {name} must be at least {lowest}, got {value}"
                )


@dataclass(frozen=True)
class Conv(Layer):
    """Square convolution (cross-correlation) with `channels` outputs, zero padding."""

    kind: ClassVar[str] = "conv"
    channels: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    bias: bool = True

    def output(self, shape: Shape) -> Shape:
        return _window(shape, self.channels, self.kernel, self.stride, self.padding)


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation per channel (Ioffe and Szegedy 2015).

    `momentum` is the weight of the newest batch in the running statistics. Their variance is the
    unbiased one (divided by n - 1), as in PyTorch.
    """

    kind: ClassVar[str] = "norm"
    epsilon: float = 1e-5
    momentum: float = 0.1


@dataclass(frozen=True)
class ReLU(Layer):
    """max(x, 0)."""

    kind: ClassVar[str] = "relu"


@dataclass(frozen=True)
class Sigmoid(Layer):
    """1 / (1 + exp(-x)); LeNet's activation in the book."""

    kind: ClassVar[str] = "sigmoid"


@dataclass(frozen=True)
class Pool(Layer):
    """What the two pools share: a square window that slides."""

    kind: ClassVar[str] = "pool"
    kernel: int
    stride: int
    padding: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if 2 * self.padding > self.kernel:
            raise NetworkError(
                f"{type(self).__name__}: padding must be at most half the kernel "
                f"({self.kernel // 2}), got {self.padding}"
            )

    def output(self, shape: Shape) -> Shape:
        return _window(shape, shape.channels, self.kernel, self.stride, self.padding)


class MaxPool(Pool):
    """Maximum over a square window. Padding never wins: it counts as minus infinity."""


class AvgPool(Pool):
    """Mean over a square window. Padding counts as zeros."""


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """Mean over all positions: one number a channel (Lin, Chen, Yan 2013, section 3.2)."""

    kind: ClassVar[str] = "gap"

    def output(self, shape: Shape) -> Shape:
        return Shape(shape.channels, 1, 1)


@dataclass(frozen=True)
class Dropout(Layer):
    """Inverted dropout in training, nothing in prediction."""

    kind: ClassVar[str] = "dropout"
    rate: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise NetworkError(f"Dropout: rate must be in [0, 1), got {self.rate}")


@dataclass(frozen=True)
class Flatten(Layer):
    """All features in one vector, in the order channel, row, column."""

    kind: ClassVar[str] = "flatten"

    def output(self, shape: Shape) -> Shape:
        return Shape(shape.size, 1, 1)


@dataclass(frozen=True)
class Linear(Layer):
    """Fully connected layer with `features` outputs; its input must be flat."""

    kind: ClassVar[str] = "linear"
    features: int
    bias: bool = True

    def output(self, shape: Shape) -> Shape:
        if shape.height != 1 or shape.width != 1:
            raise NetworkError(f"Linear needs a flat input, got {shape}: put a Flatten before it")
        return Shape(self.features, 1, 1)


LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (
        Conv,
        BatchNorm,
        ReLU,
        Sigmoid,
        MaxPool,
        AvgPool,
        GlobalAvgPool,
        Dropout,
        Flatten,
        Linear,
    )
}
"""Every layer kind by its name in JSON."""
