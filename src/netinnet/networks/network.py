"""A network is data: the vocabulary every other module speaks.

A `Network` is an input shape, named blocks of layers, class names and the preprocessing that turns
a picture into its input. It is validated when it is made, so whoever holds one can rely on it, and
it goes to JSON and back. Shapes are (channels, height, width).
"""

from __future__ import annotations

import bisect
import dataclasses
import json
import math
import re
import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from netinnet.errors import NetworkError, check_name
from netinnet.networks.blocks import Block, block_from_dict
from netinnet.networks.checks import (
    Unknown,
    check_classes,
    check_names,
    expected,
    listed,
    several,
)
from netinnet.networks.layers import BatchNorm, Layer, Linear, Shape
from netinnet.networks.windows import DoesNotFit

FITS = {"stretch": "", "crop": "pictures cropped", "pad": "pictures padded"}
"""How pictures of another aspect ratio come to the input's, and the words for it in tables: none
for what is taken if nothing is said."""


@dataclass(frozen=True)
class Preprocessing:
    """How a picture with values 0…255 becomes the network's input.

    It is converted to the input's channels (grey or colour), resized bilinearly to the input's
    height and width, divided by 255, and normalised: (x - mean) / std, one pair a channel.

    `fit` says what is done where the aspect ratios differ: "stretch" (height and width are resized
    apart), "crop" (only the largest centred part of the input's aspect ratio is taken) or "pad"
    (all of the picture lies in the middle, with zeros of the normalised input around it).
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    fit: str = "stretch"

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            object.__setattr__(
                self, name, several(f"Preprocessing: {name}", vars(self)[name], "float")
            )
        finite = all(math.isfinite(value) for value in (*self.mean, *self.std))
        if len(self.mean) != len(self.std) or not self.mean or not finite or min(self.std) <= 0:
            raise NetworkError(
                f"Preprocessing: mean and std need one value a channel and std above 0, "
                f"got mean {self.mean} and std {self.std}"
            )
        check_name("fit", self.fit, FITS, NetworkError)


LARGEST_INPUT = 4096
"""Largest height, width and channels of an input: a file can't ask for more memory than that."""
MOST_LAYERS = 1000
LARGEST_TEXT = 2**24
"""Characters of a description; JSON takes a dozen times as many bytes in memory."""
FORMAT = 1
"""Of a network's JSON: written into it; a larger one was made by a newer netinnet."""


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
    """A complete network: what it takes, what it is made of, what its outputs mean.

    It is checked when it is made.

    Args:
        name: Names the network in tables, reports and folders.
        input: Channels, height and width.
        blocks: Named runs of layers; the last one's output has a value for each class.
        classes: The classes' names.
        preprocessing: What turns a picture into the input.

    Raises:
        NetworkError: The layers do not fit the input, each other, or the classes.

    Example:
        blocks = (nin_block((32, 16), 3, pointwise=1), Block("head", (GlobalAvgPool(), Flatten())))
        Network("tiny", Shape(1, 28, 28), blocks, tuple("abcdefghijklmnop"))
    """

    name: str
    input: Shape
    blocks: tuple[Block, ...]
    classes: tuple[str, ...]
    preprocessing: Preprocessing = Preprocessing()

    def __post_init__(self) -> None:
        if len(sizes := several("input", self.input, "int")) != 3:
            raise NetworkError(f"input must be channels, height and width, got {sizes}")
        object.__setattr__(self, "input", Shape(*sizes))
        object.__setattr__(self, "blocks", listed("blocks", self.blocks))
        if not all(isinstance(block, Block) for block in self.blocks):
            raise NetworkError(f"blocks must be of Blocks, got {reprlib.repr(self.blocks)}")
        object.__setattr__(self, "classes", several("classes", self.classes, "str"))
        check_classes(self.name, self.classes)
        if min(self.input) < 1 or max(self.input) > LARGEST_INPUT:
            raise NetworkError(
                f"{self.name}: the input must be from 1×1×1 to {LARGEST_INPUT} each way, "
                f"got {self.input}"
            )
        names = [block.name for block in self.blocks]
        for name in names:
            if not isinstance(name, str) or not name.isidentifier():
                raise NetworkError(f"{self.name}: a block's name must be a word, got {name!r}")
        if len(set(names)) != len(names):
            raise NetworkError(f"{self.name}: two blocks have the same name: {names}")
        counts = [len(block.layers) for block in self.blocks]
        if not all(counts) or not 1 <= sum(counts) <= MOST_LAYERS:
            raise NetworkError(
                f"{self.name}: a block has at least one layer, a network at most {MOST_LAYERS:,}"
            )
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

    @property
    def takes(self) -> str:
        """Its input in words: "3×32×32", or "3×32×32, pictures cropped"."""
        return ", ".join(filter(None, (str(self.input), FITS[self.preprocessing.fit])))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without what equals its default; `from_dict` is its inverse."""
        preprocessing = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in _given(self.preprocessing).items()
        }
        return {
            "format": FORMAT,
            "name": self.name,
            "input": list(self.input),
            "blocks": [
                {
                    "name": block.name,
                    "layers": [{"layer": type(x).__name__, **_given(x)} for x in block.layers],
                    **({"residual": True} if block.residual else {}),
                }
                for block in self.blocks
            ],
            "classes": list(self.classes),
            **({"preprocessing": preprocessing} if preprocessing else {}),
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False)

    @classmethod
    def from_dict(cls, data: Any) -> Network:
        """Build a network from `to_dict`'s data, that of netinnet 0.1.0 (no format) included.

        Raises NetworkError where it is malformed, or made by a newer netinnet.
        """
        try:
            if (made := expected(int, data.get("format", FORMAT))) > FORMAT:
                raise Unknown(f"its format is {made}, this netinnet reads up to {FORMAT}")
            check_names(data, ("format", *(f.name for f in dataclasses.fields(cls))), "it")
            scaling = dict(data.get("preprocessing", {}))
            check_names(scaling, ("mean", "std", "fit"), "preprocessing")
            fit = expected(str, scaling.pop("fit", "stretch"))
            return cls(
                name=expected(str, data["name"]),
                input=Shape(*(expected(int, n) for n in data["input"])),
                blocks=_blocks_from(data["blocks"]),
                classes=tuple(expected(str, name) for name in expected(list, data["classes"])),
                preprocessing=Preprocessing(**scaling, fit=fit),
            )
        except Unknown as error:
            raise NetworkError(f"made by a newer netinnet, or misspelt: {error}") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NetworkError(f"not a network description: {error!r}") from error

    @classmethod
    def from_json(cls, text: str) -> Network:
        if len(text) > LARGEST_TEXT:
            raise NetworkError("too large for the description of a network")
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise NetworkError(f"not a network description: {error}") from error
        return cls.from_dict(data)


def _given(thing: Any) -> dict[str, Any]:
    """The fields of a dataclass that do not equal their defaults."""
    fields = dataclasses.fields(thing)
    return {f.name: value for f in fields if (value := getattr(thing, f.name)) != f.default}


def _blocks_from(data: Any) -> tuple[Block, ...]:
    """Counted before anything is made of them."""
    if max(len(expected(list, data)), sum(len(block["layers"]) for block in data)) > MOST_LAYERS:
        raise NetworkError(f"a network has at most {MOST_LAYERS:,} blocks and layers")
    return tuple(map(block_from_dict, data))


def least_normalised(network: Network) -> PlacedLayer | None:
    """The batch norm that gets the fewest values of each channel of a picture; None without one.

    In training it needs two at least, of all pictures of a batch together.
    """
    norms = (placed for placed in network.placed_layers() if isinstance(placed.layer, BatchNorm))
    return min(norms, key=lambda placed: placed.input.height * placed.input.width, default=None)


def _too_small(network: Network, block: Block, layer_name: str) -> str:
    pool = re.fullmatch(r"pool(\d+)", block.name)
    place = f"the pool of block {pool[1]}" if pool else f"{block.name}.{layer_name}"
    message = f"got {network.input.height}×{network.input.width}: nothing is left for {place}"
    try:
        smallest = smallest_input(network.blocks, network.input.channels)
    except NetworkError:  # a layer further on fits no size: first things first
        return f"{network.name}: {message}"
    if smallest is None:
        return f"{network.name} fits no input; {message}"
    return f"{network.name} needs at least {smallest}×{smallest}; {message}"


def smallest_input(blocks: Sequence[Block], channels: int, limit: int = 2048) -> int | None:
    """Smallest height and width for which every window fits, None if there is none to `limit`.

    Whether what comes to a Linear layer is flat then, as it must be, is not asked.
    """

    def fits(size: int) -> bool:
        shape = Shape(channels, size, size)
        try:
            for block in blocks:
                for layer in block.layers:
                    # With a Linear layer behind windows, a larger picture fits none of them better.
                    shape = shape._replace(height=1, width=1) if type(layer) is Linear else shape
                    shape = layer.output(shape)
        except DoesNotFit:
            return False
        return True

    # No layer's output shrinks where its input grows, so what fits one size fits the larger ones.
    size = bisect.bisect_left(range(limit + 1), True, lo=1, key=fits)
    return size if size <= limit else None
