"""Weights of any origin to canonical ones: layers matched by name, or else by order and shape.

A file that plain code made (the chapter's, say) calls its layers `0.2` or `sequential_1/conv2d`.
The n-th convolution in it is the network's n-th, and so for linear layers and batch norms; every
shape is checked in the framework's own axis order. The order is that of the names, numbers counting
as numbers: most files keep no other. Names that say nothing of the order (`stem`, `body`) may so be
taken wrongly where shapes are equal, which is why `nin convert` shows the pairs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from netinnet.errors import ModelError, check_name
from netinnet.layout import NativeTensor, native_tensors
from netinnet.networks.network import Network
from netinnet.units import times
from netinnet.weights import Weights

Tensors = dict[str, npt.NDArray[Any]]
Layers = dict[str, Tensors]
"""The arrays of each layer, by the names that the file has for both."""

WORDS = {"conv": "convolution", "linear": "linear layer", "norm": "batch norm"}


def matched(
    network: Network,
    framework: str,
    layers: Layers,
    where: str,
    corrections: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Each layer of `network` with the name that the file has for it.

    `corrections` decide for some layers, by their names; the others are taken in order. Raises
    ModelError where a layer is missing or too many, or a correction names one that is not there.
    """
    tensors = native_tensors(network, framework)
    names = list(dict.fromkeys(tensor.layer for tensor in tensors.values()))
    known = dict(corrections or {})
    for theirs, ours in known.items():
        check_name(f"layer of {where}", theirs, layers, ModelError)
        check_name(f"layer of {network.name}", ours, names, ModelError)
    twice = [name for name, count in Counter(known.values()).items() if count > 1]
    if twice:
        raise ModelError(f"{where}: --map gives {twice[0]} twice")
    if not known and set(names) == set(layers):
        return {name: name for name in names}
    taken = set(known.values())
    rest = {name: tensor for name, tensor in tensors.items() if tensor.layer not in taken}
    left = {name: arrays for name, arrays in layers.items() if name not in known}
    pairs = _by_order(network, rest, left, where) | {ours: theirs for theirs, ours in known.items()}
    return {name: pairs[name] for name in names}


def to_canonical(
    network: Network, framework: str, layers: Layers, pairs: Mapping[str, str], where: str
) -> Weights:
    """Canonical weights of `network` from a framework's layers, paired by `matched`.

    Raises ModelError where one has another shape: the message names the layer, what was expected
    and what was found.
    """
    tensors = native_tensors(network, framework)
    result: Weights = {}
    for name, tensor in tensors.items():
        theirs = pairs[tensor.layer]
        if tensor.name not in layers[theirs]:
            raise ModelError(
                f"{where}: layer {theirs} should be {tensor.layer} of {network.name}, "
                f"but has no {tensor.name}; it has {', '.join(layers[theirs])}"
            )
        array = layers[theirs][tensor.name]
        if array.shape != tensor.shape:
            raise ModelError(
                f"{where}: layer {theirs} should be {tensor.layer} of {network.name}, with "
                f"{tensor.name} {times(tensor.shape)}; it has {times(array.shape)}"
            )
        if not np.issubdtype(array.dtype, np.floating):
            raise ModelError(f"{where}: {tensor.name} of layer {theirs} is {array.dtype}, no float")
        with np.errstate(over="ignore"):  # said below
            canonical = tensor.to_canonical(array.astype(np.float32))
        if not np.isfinite(canonical).all():
            raise ModelError(
                f"{where}: {tensor.name} of layer {theirs} has values that are not float32 numbers"
            )
        result[name] = np.ascontiguousarray(canonical)
    _nothing_left(tensors, pairs, layers, where)
    return result


def from_canonical(network: Network, framework: str, weights: Weights) -> Layers:
    """Canonical weights as a framework's layers, under the description's layer names."""
    layers: Layers = {}
    for name, tensor in native_tensors(network, framework).items():
        layers.setdefault(tensor.layer, {})[tensor.name] = tensor.to_native(weights[name])
    return layers


def grouped(tensors: Mapping[str, npt.NDArray[Any]]) -> Layers:
    """Tensors called LAYER.TENSOR as layers; numbers in names count as numbers.

    Flax's collections of parameters and running statistics are one.
    """
    names = [name.partition(".")[0] for name in tensors]
    if set(names) <= COLLECTIONS:
        tensors = {name.partition(".")[2]: array for name, array in tensors.items()}
    layers: Layers = {}
    for name in sorted(tensors, key=natural):
        layer, _, tensor = name.rpartition(".")
        layers.setdefault(layer, {})[tensor] = tensors[name]
    return layers


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts `conv2d`, `conv2d_2`, `conv2d_10` in this order."""
    parts = [part for part in re.split(r"([0-9]+)", name) if part]
    # A number by its length, then its digits: it may have more of them than `int` takes.
    digits = [part.lstrip("0") if part[0] in "0123456789" else None for part in parts]
    return [
        (1, 0, part) if number is None else (0, len(number), number)
        for part, number in zip(parts, digits, strict=True)
    ]


def called(layer: str, tensor: str) -> str:
    """An array's name in a file; a module's own arrays have no layer."""
    return f"{layer}.{tensor}" if layer else tensor


def _kind(tensors: Tensors) -> str | None:
    """What a layer is, by the number of axes of its arrays."""
    axes = sorted((array.ndim for array in tensors.values()), reverse=True)
    if axes[0] == 4:
        return "conv"
    if axes[0] == 2:
        return "linear"
    return "norm" if axes.count(1) >= 2 else None


def _by_order(
    network: Network, tensors: Mapping[str, NativeTensor], layers: Layers, where: str
) -> dict[str, str]:
    """The n-th layer of each kind as the n-th."""
    ours = {tensor.layer: tensor.kind for tensor in tensors.values()}
    theirs = {name: _kind(arrays) for name, arrays in layers.items()}
    if unknown := [name for name, kind in theirs.items() if kind is None]:
        tensor, array = next(iter(layers[unknown[0]].items()))
        raise ModelError(
            f"{where}: {called(unknown[0], tensor)} ({times(array.shape)}) belongs to "
            f"no layer of {network.name}: slopes of a PReLU, for example, are not in the "
            f"vocabulary; what computes nothing may be left out of the file"
        )
    pairs: dict[str, str] = {}
    for kind, word in WORDS.items():
        expected = [name for name, k in ours.items() if k == kind]
        present = [name for name, k in theirs.items() if k == kind]
        pairs |= dict(zip(expected, present, strict=False))
        if len(expected) == len(present):
            continue
        many = f"{network.name} has {len(expected)} {word}s, the file {len(present)}"
        if len(present) < len(expected):
            raise ModelError(f"{where}: {many}; {expected[len(present)]} has no counterpart")
        extra = present[len(expected)] or "of " + ", ".join(layers[""])
        raise ModelError(f"{where}: {many}; layer {extra} has no counterpart")
    return pairs


def _nothing_left(
    tensors: Mapping[str, NativeTensor], pairs: Mapping[str, str], layers: Layers, where: str
) -> None:
    """Raises ModelError for an array of a layer that the network's does not have."""
    for layer, theirs in pairs.items():
        known = {tensor.name for tensor in tensors.values() if tensor.layer == layer}
        for extra in layers[theirs].keys() - known:
            raise ModelError(
                f"{where}: layer {theirs} has a {extra}, but {layer} has none in this network"
            )


COLLECTIONS = {"params", "batch_stats"}
"""Where Flax's linen keeps a module's arrays."""
