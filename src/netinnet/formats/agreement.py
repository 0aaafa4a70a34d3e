"""Whether a network that a file describes computes what a given one does."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from netinnet.errors import ModelError
from netinnet.networks.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    Shape,
)
from netinnet.networks.network import Network, PlacedLayer
from netinnet.networks.windows import Sliding
from netinnet.weights import Model, check


def adopted(
    model: Model, pairs: Mapping[str, str], network: Network, where: str
) -> tuple[Model, dict[str, str]]:
    """The weights of a described model in `network`, which computes the same.

    `pairs` has the file's name for each of the model's layers; they come back for the network's.
    Raises ModelError naming the first layer that computes something else.
    """
    theirs, ours = _computing(model.network), _computing(network)
    if model.network.input != network.input:
        raise ModelError(
            f"{where}: takes {model.network.input}, {network.name} takes {network.input}"
        )
    names: dict[str, str] = {}
    weights = {}
    for number in range(max(len(theirs), len(ours))):
        a, b = (x[number] if number < len(x) else None for x in (theirs, ours))
        if a is None or b is None or _essence(a) != _essence(b):
            here = f"layer {pairs[a.name]} is {_words(a.layer)}" if a else "the file ends"
            there = f"has {_words(b.layer)} there ({b.name})" if b else "has nothing there"
            raise ModelError(
                f"{where}: {here}, {network.name} {there}; leave out --network to take it as it is"
            )
        names[b.name] = pairs[a.name]
        for tensor in b.layer.tensors(b.input):
            weights[f"{b.name}.{tensor.name}"] = model.weights[f"{a.name}.{tensor.name}"]
    return Model(network, check(network, weights, where)), names


def _computing(network: Network) -> list[PlacedLayer]:
    """The layers that change a value in prediction."""
    return [p for p in network.placed_layers() if not isinstance(p.layer, Dropout | Flatten)]


def _essence(placed: PlacedLayer) -> Any:
    """What the layer computes at its place: equal for layers that do the same."""
    layer, shape = placed.layer, placed.input
    ends = (placed.opens, placed.closes)
    if isinstance(layer, AvgPool) and _is_whole(layer, shape):
        return GlobalAvgPool, ends
    if isinstance(layer, BatchNorm):
        return BatchNorm, layer.epsilon, ends
    if isinstance(layer, Sliding):
        more: Any = None
        if isinstance(layer, Conv):
            more = (layer.channels, layer.groups, layer.bias)
        elif isinstance(layer, AvgPool):
            ones = ((1.0,) * placed.output.width,) * placed.output.height
            more = layer.correction(shape) or ones
        starts = tuple(before for before, _ in layer.pads(shape))
        return type(layer), layer.kernel, layer.stride, starts, placed.output, more, ends
    return type(layer), dataclasses.astuple(layer), ends


def _is_whole(layer: AvgPool, shape: Shape) -> bool:
    return not layer.padding and shape[1:] == (layer.kernel, layer.kernel)


def _words(layer: Layer) -> str:
    more = f" of epsilon {layer.epsilon:g}" if isinstance(layer, BatchNorm) else ""
    bias = " without bias" if not getattr(layer, "bias", True) else ""
    return layer.describe() + more + bias
