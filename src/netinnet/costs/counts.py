"""Shapes, parameters, multiply-accumulates and memory, computed from the description alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netinnet.networks.layers import BatchNorm, Conv, Flatten, Layer, Linear, Shape
from netinnet.networks.network import Network


@dataclass(frozen=True)
class LayerCost:
    """What one layer (or one block, or the network) costs for one image in one forward pass.

    `macs` are the multiply-accumulates of convolutions and fully connected layers; everything else
    is small beside them and not counted. `activation_bytes` is the size of the output in float32.
    """

    name: str
    description: str
    output: Shape
    parameters: int
    macs: int
    activation_bytes: int


def parameters(layer: Layer, shape: Shape) -> int:
    """Number of trainable values of a layer whose input is `shape`."""
    match layer:
        case Conv():
            window = shape.channels * layer.kernel**2
            return layer.channels * (window + layer.bias)
        case Linear():
            return layer.features * (shape.size + layer.bias)
        case BatchNorm():
            return 2 * shape.channels
        case _:
            return 0


def macs(layer: Layer, shape: Shape) -> int:
    """Multiply-accumulates of one forward pass of one image."""
    match layer:
        case Conv():
            return layer.output(shape).size * shape.channels * layer.kernel**2
        case Linear():
            return layer.features * shape.size
        case _:
            return 0


def training_macs(network: Network) -> list[int]:
    """Multiply-accumulates of a training step for one image, one number a layer, in order.

    Each layer with weights computes its output, the gradient of its weights and that of its input:
    three times `macs`. The first one's input needs no gradient, so there it is twice.
    """
    forward = [macs(placed.layer, placed.input) for placed in network.placed_layers()]
    first = next((i for i, count in enumerate(forward) if count), None)
    return [(2 if i == first else 3) * count for i, count in enumerate(forward)]


def describe(layer: Layer) -> str:
    """A few words: "conv 11×11, stride 4, 96"."""
    kind = type(layer).__name__
    match layer:
        case Conv():
            extra = f", stride {layer.stride}" if layer.stride != 1 else ""
            extra += f", pad {layer.padding}" if layer.padding else ""
            return f"conv {layer.kernel}×{layer.kernel}{extra}, {layer.channels} channels"
        case Linear():
            return f"linear, {layer.features} features"
        case _:
            known = {
                "BatchNorm": "batch norm",
                "ReLU": "ReLU",
                "Sigmoid": "sigmoid",
                "GlobalAvgPool": "global average pool",
                "Flatten": "flatten",
            }
            if kind in known:
                return known[kind]
    if kind in ("MaxPool", "AvgPool"):
        fields = vars(layer)
        extra = f", pad {fields['padding']}" if fields["padding"] else ""
        word = "max" if kind == "MaxPool" else "average"
        return (
            f"{word} pool {fields['kernel']}×{fields['kernel']}, stride {fields['stride']}{extra}"
        )
    return f"dropout {vars(layer)['rate']:g}"


def layer_costs(network: Network) -> list[LayerCost]:
    """One row a layer, in order."""
    return [
        LayerCost(
            name=placed.name,
            description=describe(placed.layer),
            output=placed.output,
            parameters=parameters(placed.layer, placed.input),
            macs=macs(placed.layer, placed.input),
            activation_bytes=4 * placed.output.size,
        )
        for placed in network.placed_layers()
    ]


def block_costs(network: Network) -> list[LayerCost]:
    """One row a block, in order; the table of the chapter.

    A block's activation memory is that of all its layers' outputs.
    """
    layers = iter(layer_costs(network))
    return [
        _sum(block.name, _describe_block(block.layers), [next(layers) for _ in block.layers])
        for block in network.blocks
    ]


def _sum(name: str, description: str, rows: Sequence[LayerCost]) -> LayerCost:
    """Rows as one; its output is the last one's."""
    fields = ("parameters", "macs", "activation_bytes")
    sums = (sum(getattr(row, field) for row in rows) for field in fields)
    return LayerCost(name, description, rows[-1].output, *sums)


def _describe_block(layers: tuple[Layer, ...]) -> str:
    """ "conv 11×11, stride 4, 96 channels → 1×1 96, ReLU", or the single layers joined.

    What has weights comes first, then every other layer once; a Flatten goes without saying.
    """
    weighted = [layer for layer in layers if isinstance(layer, Conv | Linear)]
    if not weighted:
        return ", ".join(describe(layer) for layer in layers)
    text = describe(weighted[0])
    for layer in weighted[1:]:
        match layer:
            case Conv():
                text += f" → {layer.kernel}×{layer.kernel} {layer.channels}"
            case _:
                text += f" → {describe(layer)}"
    others = (describe(v) for v in layers if not isinstance(v, Conv | Linear | Flatten))
    return ", ".join(dict.fromkeys((text, *others)))


def total_cost(network: Network) -> LayerCost:
    """The whole network as one row. Activation memory is the sum of all layers' outputs."""
    return _sum("total", network.name, layer_costs(network))
