"""A foreign file's layers, one after the other, as a network with its weights.

A reader (`keras_config`, `onnx_files`, `gluon_symbol`) goes through its file's layers in order and
says of each what it is; `Chain` holds where the chain ends, checks that each layer stands there,
and refuses by name what the vocabulary (`networks/layers.py`) lacks. Arrays come in with canonical
axes, and so do constants that are broadcast over a value: (channel, row, column) are its last ones.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from netinnet.errors import ModelError, NetworkError
from netinnet.formats.blocks import in_blocks
from netinnet.formats.fitting import fitted
from netinnet.formats.scaling import Scaling
from netinnet.networks.layers import (
    LAYERS,
    AvgPool,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    Layer,
    LeakyReLU,
    Linear,
    MaxPool,
    Shape,
    Sigmoid,
)
from netinnet.networks.network import LARGEST_INPUT, MOST_LAYERS, Network
from netinnet.networks.windows import DoesNotFit, Pads
from netinnet.weights import Model, check

Array = npt.NDArray[Any]
MOST_STEPS = 10_000
"""Most layers of a file, those that do nothing and those of the preprocessing among them."""


_Form = tuple[Shape, bool, Shape | None]
"""A value's shape, whether it is a vector, and the map that it was where its order is not ours."""


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
        self._spans: list[tuple[int, int]] = []
        self._steps = 0
        self._flattened: Shape | None = None
        """What a vector at the end was, where the file has it in another order than we."""
        self._softmax = ""
        self._values: dict[Hashable, tuple[int, _Form]] = {self.end: (0, self._form)}
        """Each value that can be added later: how many layers make it, and its form."""
        self._changed: dict[Hashable, str] = {}
        """Values that are here no longer, and the layer that changed the ones before it."""

    # What a reader asks and says

    def error(self, name: str, what: str) -> ModelError:
        return ModelError(f"{self.where}: layer {name}: {what}")

    def unknown(self, name: str, what: str) -> ModelError:
        """The error for what the vocabulary lacks."""
        known = ", ".join(LAYERS)
        return self.error(name, f"{what} is not in the vocabulary ({known})")

    def at_end(self, name: str, *inputs: Hashable) -> None:
        """Check that a layer works on the end of the chain alone."""
        self._goes_on(name)
        if inputs != (self.end,):
            taken = ", ".join(map(str, inputs)) or "nothing"
            raise self.error(
                name, f"takes {taken}, not {self.end}: this is not one chain of layers"
            )

    def _goes_on(self, name: str) -> None:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise self.error(name, f"more than {MOST_STEPS:,} layers")
        if self._softmax:
            raise self.unknown(name, f"a layer behind the softmax ({self._softmax})")

    def passes(self, output: Hashable) -> None:
        """The end has another name now: a layer that does nothing."""
        self.end = output
        self._values[output] = (len(self._placed), self._form)

    @property
    def _form(self) -> _Form:
        return self.shape, self.is_flat, self._flattened

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
        if self.channels_last and self.shape.height * self.shape.width > 1:
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
        """A constant that is added: the bias of the layer before it, which has none yet."""
        last = self._placed[-1] if self._placed else None
        if not (last and isinstance(last.layer, Conv | Linear) and not last.layer.bias):
            raise self.unknown(name, "adding a constant")
        vector = self._per_channel(name, values)
        last.layer = dataclasses.replace(last.layer, bias=True)
        last.tensors["bias"] = np.broadcast_to(vector, (self.shape.channels,))
        self._forget(name, len(self._placed))

    def turn_input(self, name: str, shape: Shape) -> None:
        """Pictures that come as vectors: the first layer gives them their shape."""
        is_vector = self.input.height * self.input.width == 1
        if shape != self.input and (shape.size != self.input.size or not is_vector):
            raise self.error(name, f"makes {shape} of {self.input.size} values")
        if shape != self.input and len(self.scaling.factor) > 1:
            raise self.unknown(name, "a scaling of each pixel")
        self.input = self.shape = shape
        self._values = dict.fromkeys(self._values, (0, self._form))

    def scaled(self, name: str, factor: Array, offset: Array) -> None:
        """x · factor + offset in front of the first layer: a part of the preprocessing."""
        if self._placed:
            raise self.unknown(name, "a multiplication behind the first layer")
        if self.pending and np.any(offset):  # the zeros, too, would be moved
            raise self.unknown(name, "an addition to pictures with padding around them")
        a, b = self._per_channel(name, factor), self._per_channel(name, offset)
        self.scaling = self.scaling.then(a, b, name)
        self._forget(name, 0)

    def _per_channel(self, name: str, values: Array) -> Array:
        """A constant's one value, or its values for each channel; it may go along no other axis."""
        channel, axes = (-1, 2) if self.is_flat else (-3, 4)
        count = self.shape.channels
        is_vector = values.size == count == (1, 1, *values.shape)[channel] if values.ndim else False
        if values.ndim > axes or not (is_vector or values.size == 1):
            what = f"a constant of shape {values.shape} that is not along the {count} channels"
            raise self.unknown(name, what)
        return values.reshape(-1)

    def _forget(self, name: str, number: int) -> None:
        """The values that `number` layers make are others now: none of them can be added later."""
        gone = [value for value, (start, _) in self._values.items() if start == number]
        self._changed |= dict.fromkeys(gone, name)
        for value in gone:
            del self._values[value]

    def added(self, name: str, inputs: Sequence[Hashable], output: Hashable) -> None:
        """The sum of the end and an earlier value: a residual block between them."""
        self._goes_on(name)
        others = [value for value in inputs if value != self.end]
        if changed := [value for value in others if value in self._changed]:
            before = self._changed[changed[0]]
            raise self.unknown(name, f"adding {changed[0]}, as it is in front of {before},")
        if len(inputs) != 2 or len(others) != 1 or others[0] not in self._values:
            raise self.error(name, "adds what is not on one chain of layers: no residual block")
        start, form = self._values[others[0]]
        if self.pending or form[0] != self.shape or start == len(self._placed):
            padded = ", padded" * bool(self.pending)
            raise self.unknown(name, f"adding {form[0]} to {self.shape}{padded}")
        if form != self._form:
            raise self.unknown(name, "adding a map, or a flattened one, to a vector")
        if self._spans and start < self._spans[-1][1]:
            raise self.unknown(name, "a residual block within another")
        self._spans.append((start, len(self._placed)))
        self._forget(name, len(self._placed))
        self.passes(output)

    def softmax(self, name: str, what: str = "softmax") -> None:
        self._softmax = name
        self.said.append(f"the {what} at the end ({name}) is left out: logits come in front of it")

    def _in_order(self, array: Array) -> Array:
        """Features in the order channel, row, column: the last axis of a matrix or a vector."""
        if self._flattened is None:
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
        blocks = in_blocks([p.layer for p in self._placed], self._spans)
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


def short(value: float) -> float:
    """A float32 number as it was meant: 1e-05 for 9.999999747378752e-06."""
    return float(f"{value:.7g}") if math.isfinite(value) else value


def channels_first(values: Array) -> Array:
    """A constant that is broadcast over pictures with channels last, as it is over others."""
    if values.ndim > 4:
        return values
    return values.reshape((1,) * (4 - values.ndim) + values.shape).transpose(0, 3, 1, 2)


def _given(**tensors: Array | None) -> dict[str, Array]:
    return {name: array for name, array in tensors.items() if array is not None}


def _sizes(values: Sequence[int]) -> str:
    return "×".join(map(str, values))


def _pads(pads: Pads) -> str:
    (top, bottom), (left, right) = pads
    return f"{top} above, {bottom} below, {left} left, {right} right"
