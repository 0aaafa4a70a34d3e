"""Shapes, parameters, multiply-accumulates and memory, computed from the description alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netinnet.networks.blocks import Block
from netinnet.networks.layers import FLOAT32_BYTES, Conv, Flatten, Linear, Shape
from netinnet.networks.network import Network

VALUE_BYTES = {"float32": FLOAT32_BYTES, "bfloat16": 2, "float16": 2}
"""Bytes of a value by precision. All tensors have it but a max pool's positions."""


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


def training_macs(network: Network) -> list[int]:
    """Multiply-accumulates of a training step for one image, one number a layer, in order.

    Each layer with weights computes its output, the gradient of its weights and that of its input:
    three times its forward pass. The first one's input needs no gradient, so there it is twice.
    """
    forward = [placed.layer.macs(placed.input) for placed in network.placed_layers()]
    first = next((i for i, count in enumerate(forward) if count), None)
    return [(2 if i == first else 3) * count for i, count in enumerate(forward)]


def layer_costs(network: Network) -> list[LayerCost]:
    """One row a layer, in order."""
    return [
        LayerCost(
            name=placed.name,
            description=placed.layer.describe() + ", block's input added" * placed.closes,
            output=placed.output,
            parameters=placed.layer.parameters(placed.input),
            macs=placed.layer.macs(placed.input),
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
        _sum(block.name, _describe_block(block), [next(layers) for _ in block.layers])
        for block in network.blocks
    ]


def _sum(name: str, description: str, rows: Sequence[LayerCost]) -> LayerCost:
    """Rows as one; its output is the last one's."""
    fields = ("parameters", "macs", "activation_bytes")
    sums = (sum(getattr(row, field) for row in rows) for field in fields)
    return LayerCost(name, description, rows[-1].output, *sums)


def _describe_block(block: Block) -> str:
    """ "conv 11×11, stride 4, 96 channels → 1×1 96, ReLU", or the single layers joined.

    What has weights comes first, then every other layer once; a Flatten goes without saying.
    """
    layers = block.layers
    added = ("its input added",) if block.residual else ()
    weighted = [layer for layer in layers if isinstance(layer, Conv | Linear)]
    if not weighted:
        return ", ".join((*(layer.describe() for layer in layers), *added))
    text = weighted[0].describe()
    for layer in weighted[1:]:
        words = layer.describe()
        if isinstance(layer, Conv):
            words = f"{layer.kernel}×{layer.kernel} {layer.channels}"
        text += f" → {words}"
    others = (v.describe() for v in layers if not isinstance(v, Conv | Linear | Flatten))
    return ", ".join(dict.fromkeys((text, *others, *added)))


def total_cost(network: Network) -> LayerCost:
    """The whole network as one row. Activation memory is the sum of all layers' outputs."""
    return _sum("total", network.name, layer_costs(network))
