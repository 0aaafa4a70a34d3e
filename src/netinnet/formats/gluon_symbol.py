"""Gluon's NAME-symbol.json as a network.

`HybridBlock.export` writes it beside NAME-0000.params, which has the weights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from netinnet.errors import ModelError
from netinnet.formats.chain import Chain
from netinnet.networks.layers import AvgPool, GlobalAvgPool, MaxPool, ReLU, Shape, Sigmoid

Array = npt.NDArray[Any]
LARGEST_FILE = 2**24
"""Bytes."""


@dataclass(frozen=True)
class _Node:
    name: str
    op: str
    attributes: Mapping[str, str]
    inputs: tuple[int, ...]
    """Numbers of the nodes whose outputs it takes, without variables that are arrays."""
    arrays: tuple[Array, ...]
    """The arrays that it takes, in order."""
    output: int

    def get(self, name: str, default: Any) -> Any:
        """An attribute: they are texts of Python's numbers, tuples and words."""
        text = self.attributes.get(name)
        if text is None:
            return default
        return _value(text)


def _value(text: str) -> Any:
    """A number, a word or a tuple of them, as Python writes it; never evaluated."""
    words: dict[str, Any] = {"True": True, "False": False, "None": None}
    text = text.strip()
    if text in words:
        return words[text]
    if text[:1] + text[-1:] in ("()", "[]"):
        return tuple(_value(part) for part in text[1:-1].split(",") if part.strip())
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def beside(params: Path) -> Path | None:
    """The symbol file of a .params file, if it has one."""
    match = re.fullmatch(r"(.+)-\d{4,}\.params", params.name)
    symbol = params.with_name(f"{match[1]}-symbol.json") if match else None
    return symbol if symbol and symbol.is_file() else None


def described(
    path: Path, tensors: Mapping[str, Array], size: tuple[int, int] | None
) -> tuple[Chain, str]:
    """The network that a symbol file describes with the arrays of its .params, and its name.

    `tensors` are called LAYER.TENSOR. A symbol does not keep the pictures' size. Raises ModelError.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ModelError(f"{path}: too large for the description of a network")
        data = json.loads(path.read_text("utf-8"))
        flat = {name.replace(".", "_"): array for name, array in tensors.items()}
        return _chain(path, data, flat, size), path.name.removesuffix("-symbol.json")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path}: not an MXNet symbol, or damaged ({error!r})") from error


def _chain(
    path: Path, data: Any, tensors: Mapping[str, Array], size: tuple[int, int] | None
) -> Chain:
    nodes = data["nodes"]
    variables = {i: node["name"] for i, node in enumerate(nodes) if node["op"] == "null"}
    inputs = [i for i, name in variables.items() if name.replace(".", "_") not in tensors]
    if len(inputs) != 1:
        names = ", ".join(variables[i] for i in inputs) or "nothing"
        raise ModelError(f"{path}: only the network's input may have no array, here: {names}")
    kernels = [
        tensors[variables[node["inputs"][1][0]].replace(".", "_")]
        for node in nodes
        if node["op"] == "Convolution"
    ]
    if not kernels:
        raise ModelError(f"{path}: has no convolution")
    if size is None:
        raise ModelError(f"{path}: does not keep the size of its pictures; give --image-size")
    groups = next(n for n in nodes if n["op"] == "Convolution").get("attrs", {}).get("num_group", 1)
    channels = kernels[0].shape[1] * int(groups)
    made = Chain(str(path), inputs[0], Shape(channels, *size))
    for number, raw in enumerate(nodes):
        if raw["op"] == "null":
            continue
        taken = [entry[0] for entry in raw["inputs"]]
        if any(entry[1] for entry in raw["inputs"] if entry[0] not in variables):
            raise made.unknown(raw["name"], "a layer that takes another's second output")
        arrays = [
            tensors[variables[i].replace(".", "_")]
            for i in taken
            if i in variables and i != inputs[0]
        ]
        rest = tuple(i for i in taken if i == inputs[0] or i not in variables)
        attributes = raw.get("attrs") or raw.get("attr") or raw.get("param") or {}
        _add(made, _Node(raw["name"], raw["op"], attributes, rest, tuple(arrays), number))
    heads = data["heads"]
    if len(heads) != 1 or heads[0][0] != made.end:
        raise ModelError(f"{path}: its output is not the end of one chain of layers")
    return made


def _add(made: Chain, node: _Node) -> None:
    if node.op in _SUMS:
        made.added(node.name, node.inputs, node.output)
        return
    made.at_end(node.name, *node.inputs)
    if node.op not in _LAYERS:
        raise made.unknown(node.name, node.op)
    if node.get("layout", "NCHW") not in ("NCHW", "None", None):
        raise made.unknown(node.name, f"{node.op} with layout {node.get('layout', '')}")
    _LAYERS[node.op](made, node)
    made.passes(node.output)


def _conv(made: Chain, node: _Node) -> None:
    weight, bias = (*node.arrays, None)[:2]
    assert weight is not None
    ones, zeros = (1,) * (weight.ndim - 2), (0,) * (weight.ndim - 2)
    strides, pad = node.get("stride", ones) or ones, node.get("pad", zeros) or zeros
    dilate = node.get("dilate", ones) or ones
    if len(pad) != 2:
        raise made.unknown(node.name, f"a convolution over {len(pad)} axes")
    pads = ((pad[0], pad[0]), (pad[1], pad[1]))
    made.conv(node.name, weight, bias, strides, pads, node.get("num_group", 1), dilate)


def _pool(made: Chain, node: _Node) -> None:
    kind = node.get("pool_type", "max")
    if kind not in ("max", "avg"):
        raise made.unknown(node.name, f"a pool of the kind {kind}")
    if node.get("global_pool", False):
        if kind != "avg":
            raise made.unknown(node.name, "a global max pool")
        made.place(node.name, GlobalAvgPool())
        return
    kernel = node.get("kernel", ())
    strides, pad = node.get("stride", ()) or (1, 1), node.get("pad", ()) or (0, 0)
    convention = node.get("pooling_convention", "valid")
    if convention not in ("valid", "full") or len(kernel) != 2:
        raise made.unknown(node.name, f"a pool of the convention {convention}, {len(kernel)} axes")
    made.pool(
        node.name,
        MaxPool if kind == "max" else AvgPool,
        kernel,
        strides,
        ((pad[0], pad[0]), (pad[1], pad[1])),
        ceil=convention == "full",
        counts_padding=node.get("count_include_pad", True),
    )


def _batch_norm(made: Chain, node: _Node) -> None:
    if node.get("axis", 1) != 1:
        raise made.unknown(node.name, f"batch norm over axis {node.get('axis', 1)}")
    gamma, beta, mean, variance = node.arrays
    if node.get("fix_gamma", True):
        made.said.append(f"{node.name} has fix_gamma: its scale is 1, whatever the array says")
        gamma = np.ones_like(gamma)
    tensors: dict[str, Array | None] = {"weight": gamma, "bias": beta}
    tensors |= {"running_mean": mean, "running_var": variance}
    momentum = 1 - node.get("momentum", 0.9)
    made.batch_norm(node.name, tensors, float(node.get("eps", 1e-3)), momentum)


def _activation(made: Chain, node: _Node) -> None:
    kind = node.get("act_type", "relu")
    layers = {"relu": ReLU, "sigmoid": Sigmoid}
    if kind not in layers:
        raise made.unknown(node.name, f"the activation {kind}")
    made.place(node.name, layers[kind]())


def _leaky(made: Chain, node: _Node) -> None:
    kind = node.get("act_type", "leaky")
    if kind != "leaky":  # its gelu is the exact one
        raise made.unknown(node.name, f"the activation {kind}{' (exact)' * (kind == 'gelu')}")
    made.leaky(node.name, float(node.get("slope", 0.25)))


def _linear(made: Chain, node: _Node) -> None:
    weight, bias = (*node.arrays, None)[:2]
    assert weight is not None
    if node.get("flatten", True):
        made.flatten(node.name)
    elif not made.is_flat:
        raise made.unknown(node.name, "a fully connected layer at every place")
    made.linear(node.name, weight, bias)


def _softmax(made: Chain, node: _Node) -> None:
    if node.get("axis", -1) not in (-1, 1) or not made.is_flat:
        raise made.unknown(node.name, "a softmax over another axis than the classes'")
    made.softmax(node.name, "log-softmax" if "log" in node.op else "softmax")


def _flatten(made: Chain, node: _Node) -> None:
    made.flatten(node.name)


_SUMS = ("elemwise_add", "_plus", "_Plus", "broadcast_add", "_npi_add", "_np_add")
_SOFTMAXES = ("softmax", "log_softmax", "SoftmaxActivation", "_npx_softmax", "_npx_log_softmax")
_LAYERS: dict[str, Callable[[Chain, _Node], None]] = {
    "Convolution": _conv,
    "Pooling": _pool,
    "BatchNorm": _batch_norm,
    "Activation": _activation,
    "LeakyReLU": _leaky,
    "Dropout": lambda made, node: made.dropout(node.name, float(node.get("p", 0.5))),
    "Flatten": _flatten,
    "flatten": _flatten,
    "_npx_batch_flatten": _flatten,
    "FullyConnected": _linear,
    "relu": lambda made, node: made.place(node.name, ReLU()),
    "sigmoid": lambda made, node: made.place(node.name, Sigmoid()),
    "_npx_relu": lambda made, node: made.place(node.name, ReLU()),
    "_npx_sigmoid": lambda made, node: made.place(node.name, Sigmoid()),
    "identity": lambda made, node: None,
    "_copy": lambda made, node: None,
    **dict.fromkeys(_SOFTMAXES, _softmax),
}
"""What each operator of MXNet is here."""
