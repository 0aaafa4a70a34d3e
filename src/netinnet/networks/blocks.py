"""Blocks: named runs of layers, and what makes those of a NiN."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from netinnet.errors import NetworkError, check_name
from netinnet.networks.checks import (
    Unknown,
    check_names,
    checked_value,
    expected,
    listed,
    typed,
)
from netinnet.networks.layers import LAYERS, BatchNorm, Conv, Layer, ReLU


@dataclass(frozen=True)
class Block:
    """A named run of layers; `block1`, `pool1`, `head`.

    Args:
        name: A word, unlike the other blocks' names.
        layers: At least one layer.
        residual: Whether the block's input is added to its output, which then has the same shape
            (He et al. 2016).

    Example: `Block("pool1", (MaxPool(3, 2),))`.
    """

    name: str
    layers: tuple[Layer, ...]
    residual: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", listed(f"layers of block {self.name!r}", self.layers))
        for layer in self.layers:
            if not isinstance(layer, Layer):
                raise NetworkError(
                    f"block {self.name!r} is made of layers, as ReLU(), got {layer!r}"
                )

    def named_layers(self) -> Iterator[tuple[str, Layer]]:
        """Each layer with its name in the block: `conv1`, `norm1`, `relu1`, `conv2`, …"""
        count: dict[str, int] = {}
        for layer in self.layers:
            count[layer.kind] = count.get(layer.kind, 0) + 1
            yield f"{layer.kind}{count[layer.kind]}", layer


def block_from_dict(data: dict[str, Any]) -> Block:
    """A block from what is in a network's JSON. Raises NetworkError."""
    check_names(data, ("name", "layers", "residual"), "a block")
    layers = tuple(map(layer_from_dict, data["layers"]))
    return Block(expected(str, data["name"]), layers, expected(bool, data.get("residual", False)))


def layer_from_dict(data: dict[str, Any]) -> Layer:
    """A layer from {"layer": its class, …}, its fields checked. Raises NetworkError."""
    fields = dict(data) if isinstance(data, dict) else {}
    name = fields.pop("layer", None)
    if not isinstance(name, str):
        raise NetworkError(
            f'a layer is a table such as {{"layer": "ReLU"}}, got {reprlib.repr(data)}'
        )
    check_name("layer", name, LAYERS, Unknown)
    known = {field.name: str(field.type) for field in dataclasses.fields(LAYERS[name])}
    check_names(fields, known, name)
    for field in dataclasses.fields(LAYERS[name]):
        if field.name not in fields and field.default is dataclasses.MISSING:
            raise NetworkError(f"{name} needs {field.name}, as in {field.name} = 3")
    return LAYERS[name](
        **{
            field: checked_value(f"{name}: {field}", value, known[field])
            for field, value in fields.items()
        }
    )


def conv_block(
    name: str,
    convs: Sequence[Conv],
    *,
    norm: bool = False,
    last_relu: bool = True,
    last_norm: bool = False,
) -> Block:
    """Convolutions, each followed by batch norm (if `norm`) and ReLU.

    With `last_relu` False, nothing follows the last convolution, as behind logits, or batch norm
    alone with `last_norm`, as in front of a residual block's sum.

    Example: `conv_block("block1", [Conv(64, 3, padding=1)] * 2)`.
    """
    if last_norm and last_relu:
        raise NetworkError(
            "last_norm is for the end of a block without its ReLU: give last_relu = false, too"
        )
    layers: list[Layer] = []
    for i, conv in enumerate(convs):
        layers.append(conv)
        if i < len(convs) - 1 or last_relu:
            layers.extend([BatchNorm(), ReLU()] if norm else [ReLU()])
        elif last_norm:
            layers.append(BatchNorm())
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
    last_norm: bool = False,
    inner: int = 1,
    groups: int = 1,
    residual: bool = False,
    same: bool = False,
) -> Block:
    """The NiN block: a convolution, then `pointwise` 1×1 convolutions, ReLU after each.

    The 1×1 convolutions are a small fully connected network at every pixel (Lin, Chen, Yan 2013,
    section 3.1).

    Args:
        channels: One number for all convolutions, or one for each.
        kernel: Height and width of the first convolution's window.
        stride: Its step in pixels.
        padding: Zeros around its input in pixels.
        pointwise: Number of 1×1 convolutions.
        name: The block's name in the network.
        norm: Batch norm behind every convolution.
        bias: Whether the convolutions have biases; batch norm makes them superfluous.
        last_relu: With False, nothing follows the last convolution: its outputs are logits.
        last_norm: Without that ReLU, whether batch norm follows, as in front of a residual sum.
        inner: The window of the convolutions behind the first, padded so that sizes stay.
        groups: Groups of the first convolution: as many as its input has channels is one window
            for each channel (a depthwise convolution).
        residual: Whether the block's input is added to its output.
        same: Whether the first convolution is padded as TensorFlow's "same" does it.

    Raises:
        NetworkError: As many channel numbers as convolutions are needed.

    Example: `nin_block((48, 32, 32), 3, padding=1, name="block1", norm=True, bias=False)`.
    """
    pointwise = typed("nin_block: pointwise", pointwise, "int")
    inner = typed("nin_block: inner", inner, "int")
    if pointwise < 0:
        raise NetworkError(f"nin_block: pointwise must be at least 0, got {pointwise}")
    if inner % 2 == 0:
        raise NetworkError(f"nin_block: inner must be odd, so that sizes stay, got {inner}")
    if isinstance(channels, Iterable) and not isinstance(channels, str):
        widths = list(channels)
    else:
        widths = [channels] * (1 + pointwise)
    if len(widths) != 1 + pointwise:
        raise NetworkError(
            f"nin_block: {1 + pointwise} convolutions need as many channel numbers, got {widths}"
        )
    convs = [Conv(widths[0], kernel, stride, padding, bias, groups, same=same)]
    convs += [Conv(width, inner, padding=inner // 2, bias=bias) for width in widths[1:]]
    made = conv_block(name, convs, norm=norm, last_relu=last_relu, last_norm=last_norm)
    return dataclasses.replace(made, residual=residual)
