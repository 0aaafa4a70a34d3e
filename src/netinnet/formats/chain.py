"""A foreign file's layers, one after the other, as a network with its weights.

A reader (`keras_config`, `onnx_files`, `gluon_symbol`) goes through its file's layers in order and
says of each what it is; `Chain` holds where the chain ends, checks that each layer stands there,
and refuses by name what the vocabulary (`networks/layers.py`) lacks. Arrays come in with canonical
axes.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from netinnet.errors import ModelError, NetworkError
from netinnet.formats.fitting import fitted
from netinnet.formats.scaling import Scaling
from netinnet.networks.layers import (
    LAYERS,
    AvgPool,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    LeakyReLU,
    Linear,
    MaxPool,
    Shape,
    Sigmoid,
)
from netinnet.networks.network import LARGEST_INPUT, MOST_LAYERS, Block, Network
from netinnet.networks.windows import DoesNotFit, Pads
from netinnet.weights import Model, check

Array = npt.NDArray[Any]
MOST_STEPS = 10_000
"""Most layers of a file, those that do nothing and those of the preprocessing among them."""


@dataclass
class _Placed:
    layer: Layer
    theirs: str
    tensors: dict[str, Array]


@dataclass
class Chain:
    """The chain of layers that a file describes, as far as it has been read."""

    where: str
    """The file, for messages."""
    end: Hashable
    """The file's name for the value at the end of the chain: the picture, to begin with."""
    shape: Shape
    """Of the value at the end."""
    channels_last: bool = False
    """Whether the file flattens maps in the order row, column, channel."""
    said: list[str] = field(default_factory=list)
    """What was left out or adapted, a line each."""
    scaling: Scaling = field(default_factory=Scaling)
    pending: Pads | None = None
    """Zeros around the end that a layer of their own puts there: the next convolution's padding."""

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or max(self.shape) > LARGEST_INPUT:
            limit = f"from 1 to {LARGEST_INPUT:,} each way"
            raise ModelError(f"{self.where}: its input is {self.shape}, not {limit}")
        self.input = self.shape
        self._placed: list[_Placed] = []
        self._values: dict[Hashable, tuple[int, Shape]] = {self.end: (0, self.shape)}
        self._spans: list[tuple[int, int]] = []
        self._steps = 0
        self._flattened: Shape | None = None
        self._softmax = ""

    # What a reader asks and says

    def error(self, name: str, what: str) -> ModelError:
        return ModelError(f"{self.where}: layer {name}: {what}")

    def unknown(self, name: str, what: str) -> ModelError:
        """The error for what the vocabulary lacks."""
        known = ", ".join(LAYERS)
        return self.error(name, f"{what} is not in the vocabulary ({known})")

    def at_end(self, name: str, *inputs: Hashable) -> None:
        """Check that a layer works on the end of the chain alone."""
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise self.error(name, f"more than {MOST_STEPS:,} layers")
        if inputs != (self.end,):
            taken = ", ".join(map(str, inputs)) or "nothing"
            raise self.error(
                name, f"takes {taken}, not {self.end}: this is not one chain of layers"
            )
        if self._softmax:
            raise self.unknown(name, f"a layer behind the softmax ({self._softmax})")

    def passes(self, output: Hashable) -> None:
        """The end has another name now: a layer that does nothing."""
        self.end = output
        self._values[output] = (len(self._placed), self.shape)

    @property
    def is_fresh(self) -> bool:
        """Whether no layer has been placed."""
        return not self._placed

    @property
    def is_flat(self) -> bool:
        return any(isinstance(p.layer, Flatten | Linear) for p in self._placed)

    def place(self, name: str, layer: Layer, tensors: dict[str, Array] | None = None) -> None:
        """Put a layer of the vocabulary at the end."""
        if self.pending:
            raise self.unknown(name, f"padding in front of {layer.describe()}")
        if len(self._placed) == MOST_LAYERS:
            raise self.error(name, f"a network has at most {MOST_LAYERS:,} layers")
        try:
            output = layer.output(self.shape)
        except DoesNotFit:
            raise self.error(name, f"{layer.describe()} does not fit {self.shape}") from None
        except NetworkError as error:
            raise self.error(name, str(error)) from None
        self._placed.append(_Placed(layer, name, tensors or {}))
        self.shape = output

    # Layers with more to them than their class

    def conv(
        self,
        name: str,
        weight: Array,
        bias: Array | None,
        strides: Sequence[int],
        pads: Pads,
        groups: int = 1,
        dilations: Sequence[int] = (1, 1),
    ) -> None:
        """A convolution; `weight` is (output, input, row, column)."""
        if weight.ndim != 4:
            raise self.unknown(name, f"a convolution with a kernel of {weight.ndim} axes")
        kernel, stride = self._square(name, weight.shape[2:], strides)
        if any(dilation != 1 for dilation in dilations):
            raise self.unknown(name, f"a convolution with dilation {_sizes(dilations)}")
        if weight.shape[1] * groups != self.shape.channels:
            inputs = weight.shape[1] * groups
            raise self.error(name, f"takes {inputs} channels, there are {self.shape.channels}")
        sizes = {"channels": weight.shape[0], "bias": bias is not None, "groups": groups}
        layer = fitted(Conv, kernel, stride, self.shape, pads, fields=sizes)
        if layer is None:
            raise self.unknown(name, f"a convolution padded by {_pads(pads)}")
        self.place(name, layer, {"weight": weight} | _given(bias=bias))

    def pool(
        self,
        name: str,
        kind: type[MaxPool | AvgPool],
        kernel: Sequence[int],
        strides: Sequence[int],
        pads: Pads,
        *,
        ceil: bool = False,
        counts_padding: bool = True,
    ) -> None:
        """A pool; `counts_padding` says whether a mean divides by its padding, too."""
        size, stride = self._square(name, kernel, strides)
        layer = fitted(kind, size, stride, self.shape, pads, ceil=ceil, counts=counts_padding)
        if layer is None:
            word = "a max pool" if kind is MaxPool else "an average pool"
            more = ", rounded up" if ceil else ""
            if kind is AvgPool:
                more += ", the padding " + ("counted" if counts_padding else "not counted")
            raise self.unknown(name, f"{word} {_sizes(kernel)} padded by {_pads(pads)}{more}")
        self.place(name, layer)

    def _square(self, name: str, kernel: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
        for what, sizes in (("window", kernel), ("stride", strides)):
            if len(sizes) != 2 or sizes[0] != sizes[1]:
                raise self.unknown(name, f"a {what} of {_sizes(sizes)}")
        return int(kernel[0]), int(strides[0])

    def batch_norm(
        self, name: str, tensors: dict[str, Array | None], epsilon: float, momentum: float = 0.1
    ) -> None:
        """Batch norm; of its four tensors scale (`weight`) and offset (`bias`) may be None."""
        size = self.shape.channels
        fills = {"weight": 1.0, "bias": 0.0}
        made = {}
        for tensor, given in tensors.items():
            array = np.full(size, fills.get(tensor, 0), np.float32) if given is None else given
            if given is None:
                self.said.append(f"{name} has no {tensor}: {fills[tensor]:g} in its place")
            made[tensor] = self._in_order(array) if array.shape == (size,) else array
        self.place(name, BatchNorm(short(epsilon), short(momentum)), made)

    def linear(self, name: str, weight: Array, bias: Array | None) -> None:
        """A fully connected layer; `weight` is (output, input), in the file's order of inputs."""
        if weight.ndim != 2 or weight.shape[1] != self.shape.size:
            found = _sizes(weight.shape)
            raise self.error(name, f"its matrix is {found}, for {self.shape.size} inputs")
        if self.shape.height * self.shape.width > 1:
            raise self.unknown(name, f"a fully connected layer at every place of {self.shape}")
        weight = self._in_order(weight)
        self.place(
            name, Linear(len(weight), bias is not None), {"weight": weight} | _given(bias=bias)
        )
        self._flattened = None

    def flatten(self, name: str) -> None:
        if self.is_flat:
            return
        if self.shape.height * self.shape.width > 1:
            self._flattened = self.shape
        self.place(name, Flatten())

    def leaky(self, name: str, slope: float) -> None:
        try:
            self.place(name, LeakyReLU(short(slope)))
        except NetworkError:
            raise self.unknown(name, f"a leaky ReLU of slope {slope:g}") from None

    def dropout(self, name: str, rate: float) -> None:
        try:
            self.place(name, Dropout(short(rate)))
        except NetworkError as error:
            raise self.error(name, str(error)) from None

    def bias(self, name: str, values: Array) -> None:
        """A vector that is added: the bias of the layer before it, which has none yet."""
        last = self._placed[-1] if self._placed else None
        can = last and isinstance(last.layer, Conv | Linear) and not last.layer.bias
        if not (can and last and values.size == self.shape.channels):
            raise self.unknown(name, "adding a constant")
        last.layer = dataclasses.replace(last.layer, bias=True)  # type: ignore[call-arg]
        last.tensors["bias"] = values.reshape(-1)

    def turn_input(self, name: str, shape: Shape) -> None:
        """Pictures that come as vectors: the first layer gives them their shape."""
        is_vector = self.input.height * self.input.width == 1
        if shape != self.input and (shape.size != self.input.size or not is_vector):
            raise self.error(name, f"makes {shape} of {self.input.size} values")
        self.input = self.shape = shape
        self._values = dict.fromkeys(self._values, (0, shape))

    def scaled(self, name: str, factor: Array, offset: Array) -> None:
        """x · factor + offset in front of the first layer: a part of the preprocessing."""
        if self._placed:
            raise self.unknown(name, "a multiplication behind the first layer")
        self.scaling = self.scaling.then(factor, offset, name)

    def added(self, name: str, inputs: Sequence[Hashable], output: Hashable) -> None:
        """The sum of the end and an earlier value: a residual block between them."""
        others = [value for value in inputs if value != self.end]
        if len(inputs) != 2 or len(others) != 1 or others[0] not in self._values:
            raise self.error(name, "adds what is not on one chain of layers: no residual block")
        start, shape = self._values[others[0]]
        if shape != self.shape or start == len(self._placed):
            raise self.unknown(name, f"adding {shape} to {self.shape}")
        if self._spans and start < self._spans[-1][1]:
            raise self.unknown(name, "a residual block within another")
        self._spans.append((start, len(self._placed)))
        self.passes(output)

    def softmax(self, name: str, what: str = "softmax") -> None:
        self._softmax = name
        self.said.append(f"the {what} at the end ({name}) is left out: logits come in front of it")

    def _in_order(self, array: Array) -> Array:
        """Features in the order channel, row, column: the last axis of a matrix or a vector."""
        if self._flattened is None or not self.channels_last:
            return array
        channels, height, width = self._flattened
        split = array.reshape(*array.shape[:-1], height, width, channels)
        return np.moveaxis(split, -1, -3).reshape(array.shape)

    # What has become of it

    def model(self, name: str) -> tuple[Model, dict[str, str]]:
        """The network and its weights, and each layer with the file's name for it."""
        if not self._placed or self.pending:
            raise ModelError(
                f"{self.where}: no layers" + (" behind a padding" * bool(self.pending))
            )
        blocks = self._blocks()
        classes = self.shape.channels
        if self.shape.height * self.shape.width > 1:
            raise ModelError(
                f"{self.where}: its output is {self.shape}, not a value for each class"
            )
        if isinstance(self._placed[-1].layer, Sigmoid):
            self.said.append(
                "it ends in a sigmoid, which stays: its outputs count as logits, and the "
                "probabilities of classes are their softmax"
            )
        try:
            network = Network(name, self.input, blocks, tuple(map(str, range(classes))))
        except NetworkError as error:
            raise ModelError(f"{self.where}: {error}") from None
        ours = [f"{b.name}.{layer}" for b in network.blocks for layer, _ in b.named_layers()]
        pairs = dict(zip(ours, (p.theirs for p in self._placed), strict=True))
        weights = {
            f"{layer}.{tensor}": array
            for layer, placed in zip(ours, self._placed, strict=True)
            for tensor, array in placed.tensors.items()
        }
        return Model(network, check(network, weights, self.where)), pairs

    def _blocks(self) -> tuple[Block, ...]:
        """The layers in blocks: a convolution begins one, 1×1 convolutions go on with it."""
        starts, count = dict(self._spans), Counter[str]()
        blocks: list[Block] = []
        stem, layers = "", list[Layer]()

        def close(residual: bool = False) -> None:
            nonlocal stem, layers
            if layers:
                count[stem] += 1
                number = "" if stem == "head" and count[stem] == 1 else str(count[stem])
                blocks.append(Block(f"{stem}{number}", tuple(layers), residual))
            stem, layers = "", []

        at = 0
        while at < len(self._placed):
            if at in starts:
                close()
                stem, layers = "block", [p.layer for p in self._placed[at : starts[at]]]
                at = starts[at]
                close(residual=True)
                continue
            layer = self._placed[at].layer
            begins = _STEMS.get(type(layer), "")
            goes_on = stem == "block" and isinstance(layer, Conv) and layer.kernel == 1
            if begins and not goes_on and stem != "head":
                close()
            stem = stem or begins or "block"
            layers.append(layer)
            at += 1
        close()
        return tuple(blocks)


_STEMS: dict[type[Layer], str] = {
    Conv: "block",
    MaxPool: "pool",
    AvgPool: "pool",
    Dropout: "dropout",
    GlobalAvgPool: "head",
    Flatten: "head",
    Linear: "head",
}
"""What the name of a block begins with, by its first layer."""


def short(value: float) -> float:
    """A float32 number as it was meant: 1e-05 for 9.999999747378752e-06."""
    return float(f"{value:.7g}") if math.isfinite(value) else value


def _given(**tensors: Array | None) -> dict[str, Array]:
    return {name: array for name, array in tensors.items() if array is not None}


def _sizes(values: Sequence[int]) -> str:
    return "×".join(map(str, values))


def _pads(pads: Pads) -> str:
    (top, bottom), (left, right) = pads
    return f"{top} above, {bottom} below, {left} left, {right} right"
