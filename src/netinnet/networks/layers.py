"""The layers a network is made of: each class is its layer's one home.

A layer knows the shape it makes, its tensors, what it costs, what its two passes hold in memory,
and its words in a table. What it computes is written once for each back end, in a plain table
{layer class: maker}: `frameworks/X_model.py` (and what a learner runs faster, in `X_learner.py` or
`X_layers.py`), `inference/onnx_graph.py`, and `inference/oracle.py`, the simplest of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, NamedTuple, TypeVar

from netinnet.errors import FrameworkError, NetworkError
from netinnet.networks import checks, tiles
from netinnet.networks.checks import WORDS, typed
from netinnet.networks.windows import Sliding

FLOAT32_BYTES = 4


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


class Tensor(NamedTuple):
    """One array of a layer's weights, with PyTorch's name and order of axes."""

    name: str
    shape: tuple[int, ...]
    fill: float | None = None
    """The value it starts with; None: drawn from the seed (`weights.initial`)."""
    is_trained: bool = True
    """Whether the optimiser changes it (running statistics it does not)."""

    @property
    def matrix(self) -> tuple[int, int, int, int] | None:
        """(output, input, row, column) of a kernel or matrix, None for a vector."""
        return (*self.shape, 1, 1)[:4] if len(self.shape) > 1 else None  # type: ignore[return-value]


class Needs(NamedTuple):
    """What the two passes of a layer take in PyTorch on a CPU, in bytes (`costs/memory.py`)."""

    output: int
    """Its output; 0 where that is in the input's memory."""
    gradient: int
    """The gradient of its input; 0 where that is in the memory of the output's gradient."""
    keeps_input: bool = False
    keeps_output: bool = False
    keeps_more: int = 0
    forward: int = 0
    """Workspace of the forward pass."""
    backward: int = 0


@dataclass(frozen=True)
class Layer:
    """What all layers share. A layer without tensors need only say what differs from this."""

    kind: ClassVar[str] = ""
    """Short name that the names of layers in a block are made of: `conv1`."""
    words: ClassVar[str] = ""
    """What it is called in a table, where that is not its name."""
    takes: ClassVar[str] = "any"
    """What it works on: a `map` of positions, a `flat` vector, or `any` of them."""
    is_monotone: ClassVar[bool] = False
    """Whether it works on each value by itself and never turns their order round."""

    def __post_init__(self) -> None:
        for field in fields(self):
            what, value = f"{self.name}: {field.name}", getattr(self, field.name)
            kind = getattr(field.type, "__name__", field.type)
            if kind in WORDS:
                value = typed(what, value, kind)
                object.__setattr__(self, field.name, value)
            if kind == "int" and value < (lowest := 0 if field.name == "padding" else 1):
                raise NetworkError(f"{what} must be at least {lowest}, got {value}")
            if kind == "int" and value > checks.LARGEST_COUNT:
                raise NetworkError(f"{what} must be at most {checks.LARGEST_COUNT:,}")

    @property
    def name(self) -> str:
        return type(self).__name__

    def output(self, shape: Shape) -> Shape:
        """Shape of the output for an input of `shape`. Raises DoesNotFit or NetworkError."""
        return shape

    def tensors(self, shape: Shape) -> tuple[Tensor, ...]:
        """Its weights for an input of `shape`."""
        return ()

    def parameters(self, shape: Shape) -> int:
        """Number of trained values for an input of `shape`."""
        return sum(math.prod(t.shape) for t in self.tensors(shape) if t.is_trained)

    def macs(self, shape: Shape) -> int:
        """Multiply-accumulates of one picture's forward pass.

        Those of convolutions and fully connected layers; all others are small beside them.
        """
        return 0

    def needs(self, shape: Shape, batch: int, value: int, training: bool) -> Needs:
        """Memory of its passes for `batch` pictures with `value` bytes a number.

        As it is here: one value for each, and the input kept for the backward pass.
        """
        x, y = (value * batch * s.size for s in (shape, self.output(shape)))
        return Needs(y, x, keeps_input=True)

    def describe(self) -> str:
        """A few words for a table: "conv 11×11, stride 4, 96 channels"."""
        return self.words or self.name


def _check_same(layer: Conv | Pool) -> None:
    if layer.same and (layer.padding or layer.ceil):
        what = "padding" if layer.padding else "ceil"
        raise NetworkError(f"{layer.name}: same decides the padding; leave out {what}")


def _padding_words(layer: Conv | Pool) -> str:
    return ", pad same" if layer.same else f", pad {layer.padding}" if layer.padding else ""


@dataclass(frozen=True)
class Conv(Sliding, Layer):
    """Square convolution (cross-correlation) with `channels` outputs, zero padding.

    With `groups`, inputs and outputs are in as many equal groups, each of which sees only its own.
    With `same`, the padding is TensorFlow's "same": the output has size / stride pixels, rounded
    up, and where the zeros that this takes are an odd number, there is one more at the end.
    """

    kind: ClassVar[str] = "conv"
    takes: ClassVar[str] = "map"
    channels: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    bias: bool = True
    groups: int = 1
    same: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_same(self)

    def output(self, shape: Shape) -> Shape:
        if shape.channels % self.groups or self.channels % self.groups:
            raise NetworkError(
                f"groups must divide the input's channels ({shape.channels}) and the layer's "
                f"({self.channels}), got {self.groups}"
            )
        return Shape(self.channels, *self.counts(shape))

    def tensors(self, shape: Shape) -> tuple[Tensor, ...]:
        inputs = shape.channels // self.groups
        weight = Tensor("weight", (self.channels, inputs, self.kernel, self.kernel))
        return (weight, Tensor("bias", (self.channels,), 0.0)) if self.bias else (weight,)

    def macs(self, shape: Shape) -> int:
        return self.output(shape).size * math.prod(self.tensors(shape)[0].shape[1:])

    def needs(self, shape: Shape, batch: int, value: int, training: bool) -> Needs:
        kernel = value * math.prod(self.tensors(shape)[0].shape)
        base = super().needs(shape, batch, value, training)
        if training and value == FLOAT32_BYTES and self.is_by_tiles(shape):
            transformed = tiles.transformed(self.kernel, kernel)
            return base._replace(forward=kernel + transformed, backward=transformed)
        return base._replace(forward=kernel, backward=2 * kernel)

    @property
    def is_pointwise(self) -> bool:
        """Whether each pixel of its output is made of one of its input's, by all channels."""
        return self.kernel == self.stride == self.groups == 1 and not self.padding

    def is_by_tiles(self, shape: Shape) -> bool:
        """Whether a float32 training on a CPU saves multiplications (`tiles`, PyTorch)."""
        if self.stride > 1 or self.groups > 1 or self.padding >= self.kernel:
            return False
        out = self.output(shape)
        return tiles.save_time(self.kernel, (shape.channels, out.channels), (out.height, out.width))

    def describe(self) -> str:
        stride = f", stride {self.stride}" if self.stride != 1 else ""
        padding = _padding_words(self)
        size = f"{self.kernel}×{self.kernel}"
        groups = f" in {self.groups} groups" if self.groups != 1 else ""
        return f"conv {size}{stride}{padding}, {self.channels} channels{groups}"


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation per channel (Ioffe and Szegedy 2015).

    `momentum` is the weight of the newest batch in the running statistics. Their variance is the
    unbiased one (divided by n - 1), as in PyTorch.
    """

    kind: ClassVar[str] = "norm"
    words: ClassVar[str] = "batch norm"
    takes: ClassVar[str] = "map"
    epsilon: float = 1e-5
    momentum: float = 0.1
    """Of 0, the statistics stay as they are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.epsilon < math.inf:
            raise NetworkError(f"BatchNorm: epsilon must be at least 0, got {self.epsilon}")
        if not 0 <= self.momentum <= 1:
            raise NetworkError(f"BatchNorm: momentum must be in [0, 1], got {self.momentum}")

    def tensors(self, shape: Shape) -> tuple[Tensor, ...]:
        size = (shape.channels,)
        return (
            Tensor("weight", size, 1.0),
            Tensor("bias", size, 0.0),
            Tensor("running_mean", size, 0.0, is_trained=False),
            Tensor("running_var", size, 1.0, is_trained=False),
        )

    def needs(self, shape: Shape, batch: int, value: int, training: bool) -> Needs:
        base = super().needs(shape, batch, value, training)
        statistics = 2 * value * shape.channels if training else 0
        return base._replace(keeps_more=statistics)


@dataclass(frozen=True)
class ReLU(Layer):
    """max(x, 0)."""

    kind: ClassVar[str] = "relu"
    is_monotone: ClassVar[bool] = True

    def needs(self, shape: Shape, batch: int, value: int, training: bool) -> Needs:
        return Needs(0, value * batch * shape.size, keeps_output=True)


@dataclass(frozen=True)
class LeakyReLU(Layer):
    """max(x, slope · x): what is below 0 keeps a little of its gradient."""

    kind: ClassVar[str] = "relu"
    is_monotone: ClassVar[bool] = True
    slope: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.slope < 1:
            raise NetworkError(f"LeakyReLU: slope must be in [0, 1), got {self.slope}")

    def describe(self) -> str:
        return f"leaky ReLU {self.slope:g}"


@dataclass(frozen=True)
class GELU(Layer):
    """x · Φ(x), Φ by tanh: .5 x (1 + tanh(√(2/π) (x + .044715 x³))) (Hendrycks and Gimpel 2016).

    That is x · sigmoid(x (slope + cubic · x²)) as well, which takes fewer operations.
    """

    kind: ClassVar[str] = "gelu"
    slope: ClassVar[float] = 2 * math.sqrt(2 / math.pi)
    cubic: ClassVar[float] = 0.044715 * slope


@dataclass(frozen=True)
class Sigmoid(Layer):
    """1 / (1 + exp(-x)); LeNet's activation in the book."""

    kind: ClassVar[str] = "sigmoid"
    words: ClassVar[str] = "sigmoid"
    is_monotone: ClassVar[bool] = True

    def needs(self, shape: Shape, batch: int, value: int, training: bool) -> Needs:
        size = value * batch * shape.size
        return Needs(size, size, keeps_output=True)


@dataclass(frozen=True)
class Pool(Sliding, Layer):
    """What the two pools share: a square window that slides.

    With `ceil`, sizes are rounded up, as Caffe does it: the last window may reach beyond the
    picture and its padding, but must start before the padding behind the picture. With `same`, the
    padding is TensorFlow's: see `Conv`.
    """

    kind: ClassVar[str] = "pool"
    takes: ClassVar[str] = "map"
    kernel: int
    stride: int
    padding: int = 0
    ceil: bool = False
    same: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_same(self)
        if 2 * self.padding > self.kernel:
            raise NetworkError(
                f"{self.name}: padding must be at most half the kernel "
                f"({self.kernel // 2}), got {self.padding}"
            )

    def output(self, shape: Shape) -> Shape:
        return Shape(shape.channels, *self.counts(shape))

    def describe(self) -> str:
        padding = _padding_words(self)
        word = "max" if isinstance(self, MaxPool) else "average"
        ceil = ", rounded up" if self.ceil else ""
        return f"{word} pool {self.kernel}×{self.kernel}, stride {self.stride}{padding}{ceil}"


class MaxPool(Pool):
    """Maximum over a square window. Padding never wins: it counts as minus infinity."""

    def needs(self, shape: Shape, batch: int, value: int, training: bool) -> Needs:
        base = super().needs(shape, batch, value, training)
        positions = _POSITION_BYTES * batch * self.output(shape).size
        if training:
            return base._replace(keeps_more=positions)
        return base._replace(keeps_input=False, forward=positions)


class AvgPool(Pool):
    """Mean over a square window.

    Padding counts as zeros, what is beyond it not at all; with `same`, nor does the padding.
    """


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """Mean over all positions: one number a channel (Lin, Chen, Yan 2013, section 3.2)."""

    kind: ClassVar[str] = "gap"
    words: ClassVar[str] = "global average pool"
    takes: ClassVar[str] = "map"

    def output(self, shape: Shape) -> Shape:
        return Shape(shape.channels, 1, 1)

    def needs(self, shape: Shape, batch: int, value: int, training: bool) -> Needs:
        return super().needs(shape, batch, value, training)._replace(keeps_input=False)


@dataclass(frozen=True)
class Dropout(Layer):
    """Inverted dropout in training, nothing in prediction."""

    kind: ClassVar[str] = "dropout"
    rate: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.rate < 1:
            raise NetworkError(f"Dropout: rate must be in [0, 1), got {self.rate}")

    def needs(self, shape: Shape, batch: int, value: int, training: bool) -> Needs:
        size = value * batch * shape.size
        return Needs(size, size, keeps_more=size) if training and self.rate else Needs(0, 0)

    def describe(self) -> str:
        return f"dropout {self.rate:g}"


@dataclass(frozen=True)
class Flatten(Layer):
    """All features in one vector, in the order channel, row, column."""

    kind: ClassVar[str] = "flatten"
    words: ClassVar[str] = "flatten"

    def output(self, shape: Shape) -> Shape:
        return Shape(shape.size, 1, 1)

    def needs(self, shape: Shape, batch: int, value: int, training: bool) -> Needs:
        # Channels are last in memory and the flat order wants them first: that is a copy.
        is_view = 1 in (shape.channels, shape.height * shape.width)
        return Needs(0 if is_view else value * batch * shape.size, 0)


@dataclass(frozen=True)
class Linear(Layer):
    """Fully connected layer with `features` outputs; its input must be flat."""

    kind: ClassVar[str] = "linear"
    takes: ClassVar[str] = "flat"
    features: int
    bias: bool = True

    def output(self, shape: Shape) -> Shape:
        if shape.height != 1 or shape.width != 1:
            raise NetworkError(f"Linear needs a flat input, got {shape}: put a Flatten before it")
        return Shape(self.features, 1, 1)

    def tensors(self, shape: Shape) -> tuple[Tensor, ...]:
        weight = Tensor("weight", (self.features, shape.size))
        return (weight, Tensor("bias", (self.features,), 0.0)) if self.bias else (weight,)

    def macs(self, shape: Shape) -> int:
        return self.features * shape.size

    def describe(self) -> str:
        return f"linear, {self.features} features"


LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (
        *(Conv, BatchNorm, ReLU, LeakyReLU, GELU, Sigmoid),
        *(MaxPool, AvgPool, GlobalAvgPool, Dropout, Flatten, Linear),
    )
}
"""Every layer class by its name in JSON."""

Made = TypeVar("Made")


def maker(table: Mapping[type[Layer], Made], layer: Layer, where: str) -> Made:
    """The entry for a layer in a back end's table. Raises FrameworkError where it has none.

    By exact class: a layer that is like another one still needs a line of its own.
    """
    if type(layer) not in table:
        raise FrameworkError(f"{where} has no {layer.name} layer")
    return table[type(layer)]


_POSITION_BYTES = 8
