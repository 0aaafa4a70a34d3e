"""A network is data: the vocabulary every other module speaks.

A `Network` is an input shape, named blocks of layers, class names and the preprocessing that turns
a picture into its input. It is validated when it is made, so whoever holds one can rely on it, and
it goes to JSON and back. Shapes are (channels, height, width).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from netinnet.errors import NetworkError
from netinnet.networks.layers import LAYERS, BatchNorm, Conv, Layer, ReLU, Shape
from netinnet.networks.windows import DoesNotFit


@dataclass(frozen=True)
class Block:
    """A named run of layers; `block1`, `pool1`, `head`.

    With `residual`, its input is added to its output, which has the same shape (He et al. 2016).
    """

    name: str
    layers: tuple[Layer, ...]
    residual: bool = False

    def named_layers(self) -> Iterator[tuple[str, Layer]]:
        """Each layer with its name in the block: `conv1`, `norm1`, `relu1`, `conv2`, …"""
        count: dict[str, int] = {}
        for layer in self.layers:
            count[layer.kind] = count.get(layer.kind, 0) + 1
            yield f"{layer.kind}{count[layer.kind]}", layer


@dataclass(frozen=True)
class Preprocessing:
    """How a picture with values 0…255 becomes the network's input.

    It is converted to the input's channels (grey or colour), resized bilinearly to the input's
    height and width, divided by 255, and normalised: (x - mean) / std, one pair a channel.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        finite = all(math.isfinite(value) for value in (*self.mean, *self.std))
        if len(self.mean) != len(self.std) or not self.mean or not finite or min(self.std) <= 0:
            raise NetworkError(
                f"Preprocessing: mean and std need one value a channel and std above 0, "
                f"got mean {self.mean} and std {self.std}"
            )


LARGEST_INPUT = 4096
"""Largest height, width and channels of an input: a file can't ask for more memory than that."""


class PlacedLayer(NamedTuple):
    """A layer at its place: full name (`block1.conv2`), block, input and output shape."""

    name: str
    block: str
    layer: Layer
    input: Shape
    output: Shape
    opens: bool = False
    """Whether it is the first layer of a residual block: its input is added later."""
    closes: bool = False
    """Whether it is the last one: the block's input is added to its output."""


@dataclass(frozen=True)
class Network:
    """A complete network: what it takes, what it is made of, what its outputs mean."""

    name: str
    input: Shape
    blocks: tuple[Block, ...]
    classes: tuple[str, ...]
    preprocessing: Preprocessing = Preprocessing()

    def __post_init__(self) -> None:
        if min(self.input) < 1 or max(self.input) > LARGEST_INPUT:
            raise NetworkError(
                f"{self.name}: the input must be from 1×1×1 to {LARGEST_INPUT} each way, "
                f"got {self.input}"
            )
        names = [block.name for block in self.blocks]
        for name in names:
            if not name.isidentifier():
                raise NetworkError(f"{self.name}: a block's name must be a word, got {name!r}")
        if len(set(names)) != len(names):
            raise NetworkError(f"{self.name}: two blocks have the same name: {names}")
        if len(self.preprocessing.mean) not in (1, self.input.channels):
            raise NetworkError(
                f"{self.name}: preprocessing has {len(self.preprocessing.mean)} means "
                f"for {self.input.channels} input channels"
            )
        outputs = self.output
        if outputs != Shape(len(self.classes), 1, 1):
            raise NetworkError(
                f"{self.name}: its output is {outputs}, but it has {len(self.classes)} class names"
            )

    def placed_layers(self) -> Iterator[PlacedLayer]:
        """Every layer in order, with its full name and its shapes."""
        shape = self.input
        for block in self.blocks:
            start, last = shape, len(block.layers) - 1
            for number, (name, layer) in enumerate(block.named_layers()):
                try:
                    output = layer.output(shape)
                except DoesNotFit:
                    raise NetworkError(_too_small(self, block, name)) from None
                except NetworkError as error:
                    raise NetworkError(f"{self.name}, {block.name}.{name}: {error}") from None
                if block.residual and number == last and output != start:
                    raise NetworkError(
                        f"{self.name}: {block.name} is residual, but makes {output} of {start}; "
                        f"choose channels, strides and padding that keep the shape"
                    )
                ends = (block.residual and number == 0, block.residual and number == last)
                yield PlacedLayer(f"{block.name}.{name}", block.name, layer, shape, output, *ends)
                shape = output

    @property
    def output(self) -> Shape:
        shape = self.input
        for placed in self.placed_layers():
            shape = placed.output
        return shape

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `from_dict` is its inverse."""
        return {
            "name": self.name,
            "input": list(self.input),
            "blocks": [
                {
                    "name": block.name,
                    "layers": [
                        {"layer": type(layer).__name__, **dataclasses.asdict(layer)}
                        for layer in block.layers
                    ],
                    **({"residual": True} if block.residual else {}),
                }
                for block in self.blocks
            ],
            "classes": list(self.classes),
            "preprocessing": {
                "mean": list(self.preprocessing.mean),
                "std": list(self.preprocessing.std),
            },
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False)

    @classmethod
    def from_dict(cls, data: Any) -> Network:
        """Build a network from `to_dict`'s data. Raises NetworkError where it is malformed."""
        try:
            return cls(
                name=_expect(str, data["name"]),
                input=Shape(*(_expect(int, n) for n in data["input"])),
                blocks=tuple(
                    Block(
                        _expect(str, block["name"]),
                        tuple(_layer_from_dict(layer) for layer in block["layers"]),
                        _expect(bool, block.get("residual", False)),
                    )
                    for block in data["blocks"]
                ),
                classes=tuple(_expect(str, name) for name in data["classes"]),
                preprocessing=Preprocessing(
                    tuple(float(x) for x in data["preprocessing"]["mean"]),
                    tuple(float(x) for x in data["preprocessing"]["std"]),
                ),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise NetworkError(f"not a network description: {error!r}") from error

    @classmethod
    def from_json(cls, text: str) -> Network:
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise NetworkError(f"not a network description: {error}") from error
        return cls.from_dict(data)


T = TypeVar("T")


def _expect(kind: type[T], value: object) -> T:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {value!r}")
    return value


def _layer_from_dict(data: dict[str, Any]) -> Layer:
    fields = dict(data)
    name = fields.pop("layer")
    if name not in LAYERS:
        raise NetworkError(f"unknown layer '{name}'; known are {', '.join(LAYERS)}")
    layer = LAYERS[name](**fields)
    for field in dataclasses.fields(layer):
        value = getattr(layer, field.name)
        wanted = {"int": int, "float": float, "bool": bool}[str(field.type)]
        if type(value) is not wanted:
            raise NetworkError(f"{name}: {field.name} must be a {field.type}, got {value!r}")
    return layer


def _place(block: Block, layer_name: str) -> str:
    """ "the pool of block 3" for pool3.pool1, else "block2.conv1"."""
    number = block.name.removeprefix("pool")
    if block.name.startswith("pool") and number.isdigit():
        return f"the pool of block {number}"
    return f"{block.name}.{layer_name}"


def _too_small(network: Network, block: Block, layer_name: str) -> str:
    got = f"{network.input.height}×{network.input.width}"
    message = f"got {got}: nothing is left for {_place(block, layer_name)}"
    smallest = smallest_input(network.blocks, network.input.channels)
    if smallest is None:
        return f"{network.name} fits no input; {message}"
    return f"{network.name} needs at least {smallest}×{smallest}; {message}"


def smallest_input(blocks: Sequence[Block], channels: int, limit: int = 2048) -> int | None:
    """Smallest height and width for which every window fits, None if there is none to `limit`."""
    for size in range(1, limit + 1):
        shape = Shape(channels, size, size)
        try:
            for block in blocks:
                for layer in block.layers:
                    # Whether a Linear layer's input is flat does not depend on the size.
                    shape = layer.output(shape)
        except DoesNotFit:
            continue
        return size
    return None


def conv_block(
    name: str, convs: Sequence[Conv], *, norm: bool = False, last_relu: bool = True
) -> Block:
    """Convolutions, each followed by batch norm (if `norm`) and ReLU.

    With `last_relu` False, nothing follows the last convolution: its outputs are logits.
    """
    layers: list[Layer] = []
    for i, conv in enumerate(convs):
        layers.append(conv)
        if i < len(convs) - 1 or last_relu:
            layers.extend([BatchNorm(), ReLU()] if norm else [ReLU()])
    return Block(name, tuple(layers))


def nin_block(
    channels: int | Sequence[int],
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    pointwise: int = 2,
    *,
    name: str = "block",
    norm: bool = False,
    bias: bool = True,
    last_relu: bool = True,
    inner: int = 1,
    residual: bool = False,
) -> Block:
    """The NiN block: a convolution, then `pointwise` 1×1 convolutions, ReLU after each.

    The 1×1 convolutions are a small fully connected network at every pixel (Lin, Chen, Yan 2013,
    section 3.1). `channels` is one number for all convolutions, or one number for each. `inner` is
    the window of those that follow the first, padded so that sizes stay. With `residual`, the
    block's input is added to its output.
    """
    if inner % 2 == 0:
        raise NetworkError(f"nin_block: inner must be odd, so that sizes stay, got {inner}")
    widths = [channels] * (1 + pointwise) if isinstance(channels, int) else list(channels)
    if len(widths) != 1 + pointwise:
        raise NetworkError(
            f"nin_block: {1 + pointwise} convolutions need as many channel numbers, got {widths}"
        )
    convs = [Conv(widths[0], kernel, stride, padding, bias)]
    convs += [Conv(width, inner, padding=inner // 2, bias=bias) for width in widths[1:]]
    made = conv_block(name, convs, norm=norm, last_relu=last_relu)
    return dataclasses.replace(made, residual=residual)
