"""A foreign ONNX file as a network: its graph is read as a description and never run.

Weights are its initialisers and constants; what lies in other files is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from netinnet.errors import ModelError
from netinnet.formats.chain import MOST_STEPS, Chain, channels_first
from netinnet.inference import onnx_digest
from netinnet.inference.onnx_graph import require
from netinnet.networks.layers import GELU, AvgPool, GlobalAvgPool, MaxPool, ReLU, Shape, Sigmoid
from netinnet.networks.windows import Pads

Array = npt.NDArray[Any]

_IMAGE = [0, 3, 1, 2]
"""The order of axes that makes channels first of channels last."""
_SCALING = ("Cast", "Identity", "Add", "Mul", "Sub", "Div")
"""What may be in front of it."""


@dataclass
class _Node:
    name: str
    op: str
    attributes: dict[str, Any]
    inputs: list[str]
    constants: list[Array | None]
    """The inputs' values; None for those that are computed."""
    output: str

    @property
    def computed(self) -> list[str]:
        """The inputs that are no constants."""
        pairs = zip(self.inputs, self.constants, strict=True)
        return [name for name, value in pairs if name and value is None]

    def constant(self, number: int) -> Array | None:
        return self.constants[number] if number < len(self.constants) else None

    def get(self, name: str, default: Any) -> Any:
        return self.attributes.get(name, default)


@dataclass
class _Graph:
    constants: dict[str, Array]
    made: Chain
    is_last: bool
    """Whether the end of the chain has its channels last."""
    shapes: set[str] = field(default_factory=set)
    """Values that are computed from a shape alone."""
    flat: set[str] = field(default_factory=set)
    """Those of them that are a batch's size and what is left."""


def described(path: Path, size: tuple[int, int] | None) -> tuple[Chain, str]:
    """The network that the graph describes, and its name.

    `size` is height and width where the file leaves them open. Raises ModelError.
    """
    onnx = require("onnx", "an ONNX file", "onnx>=1.21")
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    proto, _ = onnx_digest.read(path)
    try:
        if len(proto.graph.node) > MOST_STEPS:
            raise ModelError(f"{path}: more than {MOST_STEPS:,} nodes")
        constants = _constants(onnx, proto.graph, str(path))
        graph = _Graph(constants, *_input(onnx, proto.graph, constants, str(path), size))
        made = graph.made
        for number, node in enumerate(proto.graph.node):
            _add(graph, _node(onnx, graph, node, number))
        outputs = [value.name for value in proto.graph.output]
        if len(outputs) != 1:
            raise ModelError(
                f"{path}: {len(outputs)} outputs ({', '.join(outputs)}); one is needed"
            )
        if outputs[0] != made.end:
            raise ModelError(f"{path}: the output is {outputs[0]}, the layers end at {made.end}")
        return made, str(proto.graph.name)
    except ModelError:
        raise
    except Exception as error:  # a parser of foreign files can raise anything
        raise ModelError(f"{path}: not an ONNX file, or damaged ({error})") from error


def is_own(path: Path) -> bool:
    """Whether netinnet wrote it: then its metadata describes the network."""
    require("onnx", "an ONNX file", "onnx>=1.21")
    return "network" in onnx_digest.read(path)[1]


def _constants(onnx: Any, graph: Any, where: str) -> dict[str, Array]:
    found = {}
    if graph.sparse_initializer:
        raise ModelError(f"{where}: has sparse tensors")
    for tensor in graph.initializer:
        found[tensor.name] = _array(onnx, tensor, where)
    return found


def _array(onnx: Any, tensor: Any, where: str) -> Array:
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise ModelError(
            f"{where}: {tensor.name} is in another file; save the model as one file "
            f"(torch.onnx.export(…, external_data=False))"
        )
    array: Array = onnx.numpy_helper.to_array(tensor)
    return array


def _input(
    onnx: Any, graph: Any, constants: dict[str, Array], where: str, size: tuple[int, int] | None
) -> tuple[Chain, bool]:
    """The chain before its first layer, and whether its pictures have their channels last."""
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise ModelError(f"{where}: {len(inputs)} inputs; a network has one, the pictures")
    tensor = inputs[0].type.tensor_type
    dims = [dim.dim_value for dim in tensor.shape.dim]
    is_last = _is_last(graph, inputs[0].name)
    if len(dims) != 4:
        raise ModelError(f"{where}: its input has {len(dims)} axes, pictures have four")
    channels, height, width = (dims[3], *dims[1:3]) if is_last else dims[1:]
    if size and (height or size[0], width or size[1]) != size:
        raise ModelError(f"{where}: its input is {height}×{width}; leave out the image size")
    height, width = size or (height, width)
    if not channels:
        kernels = [a for name, a in constants.items() if a.ndim == 4]
        channels = kernels[0].shape[1] if kernels else 0
    if not (channels and height and width):
        raise ModelError(f"{where}: leaves the size of its pictures open; give --image-size")
    made = Chain(where, inputs[0].name, Shape(channels, height, width))
    if tensor.elem_type == onnx.TensorProto.UINT8:
        made.scaling = made.scaling.of_bytes()
    return made, is_last


def _is_last(graph: Any, end: str) -> bool:
    """Whether a Transpose, perhaps behind the scaling, puts the channels of the input first."""
    for node in graph.node:
        if end not in node.input or node.op_type == "Shape":
            continue
        if node.op_type not in _SCALING:
            orders = [list(attribute.ints) for attribute in node.attribute]
            return node.op_type == "Transpose" and _IMAGE in orders
        end = node.output[0]
    return False


def _node(onnx: Any, graph: _Graph, node: Any, number: int) -> _Node:
    name = node.name or f"{node.op_type}_{number}"
    if node.domain not in ("", "ai.onnx"):
        raise graph.made.unknown(name, f"{node.domain}.{node.op_type}")
    attributes = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        attributes[attribute.name] = value.decode() if isinstance(value, bytes) else value
    inputs = list(node.input)
    constants = [graph.constants.get(i) for i in inputs]
    if node.op_type == "Constant" and "value" in attributes:
        attributes["value"] = _array(onnx, attributes["value"], graph.made.where)
    return _Node(name, node.op_type, attributes, inputs, constants, node.output[0])


def _add(graph: _Graph, node: _Node) -> None:
    """Take in a node: arithmetic of constants and shapes, or the next layer."""
    made = graph.made
    if node.op == "Constant":
        values = [v for k, v in node.attributes.items() if k.startswith("value")]
        graph.constants[node.output] = np.asarray(values[0])
        return
    if node.op == "Identity" and not node.computed:
        graph.constants[node.output] = np.asarray(node.constants[0])
        return
    if _is_shape(graph, node):
        return
    if node.op == "Add" and len(node.computed) == 2:
        made.added(node.name, node.inputs, node.output)
        return
    if node.op == "Reshape" and node.inputs[1] in graph.flat:
        node.constants[1] = np.array([0, -1])
    made.at_end(node.name, *node.computed)
    if node.op == "Transpose":
        _transpose(graph, node)
    elif node.op not in _LAYERS:
        raise made.unknown(node.name, f"{node.op}")
    else:
        if graph.is_last:  # the scaling in front of the Transpose
            node.constants = [None if c is None else channels_first(c) for c in node.constants]
        _LAYERS[node.op](made, node)
    made.passes(node.output)


def _is_shape(graph: _Graph, node: _Node) -> bool:
    """Whether it only computes sizes, as exporters do in front of a Reshape."""
    if node.op == "Shape":
        graph.shapes.add(node.output)
        return True
    if not node.computed or not set(node.computed) <= graph.shapes:
        return False
    graph.shapes.add(node.output)
    if node.op == "Concat" and len(node.inputs) == 2 and node.computed == node.inputs[:1]:
        rest = node.constants[1]
        if rest is not None and rest.size == 1 and int(rest.reshape(-1)[0]) == -1:
            graph.flat.add(node.output)
    return True


def _transpose(graph: _Graph, node: _Node) -> None:
    made, order = graph.made, node.get("perm", [])
    if graph.is_last and order == _IMAGE:
        graph.is_last = False
        return
    raise made.unknown(node.name, f"Transpose({', '.join(map(str, order))})")


# The layers


def _conv(made: Chain, node: _Node) -> None:
    weight, bias = node.constant(1), node.constant(2)
    if weight is None:
        raise made.unknown(node.name, "a convolution whose kernel is computed")
    strides, dilations = node.get("strides", [1, 1]), node.get("dilations", [1, 1])
    pads = _pads(made, node, weight.shape[2:], strides)
    made.conv(node.name, weight, bias, strides, pads, node.get("group", 1), dilations)


def _pads(made: Chain, node: _Node, kernel: Sequence[int], strides: Sequence[int]) -> Pads:
    way = node.get("auto_pad", "NOTSET")
    if way == "NOTSET":
        top, left, bottom, right = node.get("pads", [0, 0, 0, 0])
        return (top, bottom), (left, right)
    if way not in ("VALID", "SAME_UPPER", "SAME_LOWER"):
        raise made.unknown(node.name, f"auto_pad {way}")
    sides = []
    for size, window, stride in zip(made.shape[1:], kernel, strides, strict=True):
        total = 0 if way == "VALID" else max((size - 1) // stride * stride + window - size, 0)
        less, more = total // 2, total - total // 2
        sides.append((less, more) if way == "SAME_UPPER" else (more, less))
    return sides[0], sides[1]


def _pool(made: Chain, node: _Node) -> None:
    kernel = node.get("kernel_shape", [])
    strides = node.get("strides", [1] * len(kernel))
    if any(dilation != 1 for dilation in node.get("dilations", [1])):
        raise made.unknown(node.name, "a pool with dilation")
    kind = MaxPool if node.op == "MaxPool" else AvgPool
    ceil, counts = bool(node.get("ceil_mode", 0)), bool(node.get("count_include_pad", 0))
    if len(kernel) != 2:
        raise made.unknown(node.name, f"a pool over {len(kernel)} axes")
    pads = _pads(made, node, kernel, strides)
    made.pool(node.name, kind, kernel, strides, pads, ceil=ceil, counts_padding=counts)


def _batch_norm(made: Chain, node: _Node) -> None:
    if node.get("training_mode", 0) or node.get("spatial", 1) != 1:
        raise made.unknown(node.name, "batch norm in training mode")
    names = ("weight", "bias", "running_mean", "running_var")
    tensors = {name: node.constant(i) for i, name in enumerate(names, start=1)}
    if any(value is None for value in tensors.values()):
        raise made.unknown(node.name, "a batch norm whose tensors are computed")
    momentum = 1 - node.get("momentum", 0.9)
    made.batch_norm(node.name, tensors, node.get("epsilon", 1e-5), momentum)


def _gelu(made: Chain, node: _Node) -> None:
    if node.get("approximate", "none") != "tanh":
        raise made.unknown(node.name, "the exact GELU (approximate none)")
    made.place(node.name, GELU())


def _mean(made: Chain, node: _Node) -> None:
    axes = node.get("axes", None)
    if axes is None and (given := node.constant(1)) is not None:
        axes = given.reshape(-1).tolist()
    if axes is None or sorted(axis % 4 for axis in axes) != [2, 3] or made.is_flat:
        raise made.unknown(node.name, f"ReduceMean over axes {axes}")
    made.place(node.name, GlobalAvgPool())
    if not node.get("keepdims", 1):
        made.flatten(node.name)


def _flatten(made: Chain, node: _Node) -> None:
    if node.get("axis", 1) not in ((1, -3) if not made.is_flat else (1, -1)):
        raise made.unknown(node.name, f"Flatten from axis {node.get('axis', 1)}")
    made.flatten(node.name)


def _squeeze(made: Chain, node: _Node) -> None:
    given = node.constant(1)
    axes = node.get("axes", None) if given is None else given.reshape(-1).tolist()
    is_one = made.shape.height * made.shape.width == 1
    if not is_one or axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise made.unknown(node.name, f"Squeeze of axes {axes}")
    made.flatten(node.name)


def _reshape(made: Chain, node: _Node) -> None:
    given = node.constant(1)
    target = None if given is None else [int(size) for size in given.reshape(-1)]
    size = made.shape.size
    if (
        target
        and len(target) == 2
        and (target[1] == size or (target[1] == -1 and target[0] in (0, 1)))
    ):
        made.flatten(node.name)
    elif target and len(target) == 4 and target[1:] == list(made.shape) and not made.is_flat:
        return
    else:
        raise made.unknown(node.name, f"Reshape to {target or 'a computed shape'}")


def _gemm(made: Chain, node: _Node) -> None:
    weight, bias = node.constant(1), node.constant(2)
    if weight is None or node.get("transA", 0) or not made.is_flat:
        raise made.unknown(node.name, "Gemm of anything but a vector and constants")
    weight = weight if node.get("transB", 0) else weight.T
    weight = weight * np.float32(node.get("alpha", 1.0))
    made.linear(node.name, weight, None)
    if bias is not None:
        made.bias(node.name, bias * np.float32(node.get("beta", 1.0)))


def _matmul(made: Chain, node: _Node) -> None:
    weight = node.constant(1)
    if weight is None or weight.ndim != 2 or not made.is_flat:
        raise made.unknown(node.name, "MatMul of anything but a vector and a constant")
    made.linear(node.name, weight.T, None)


def _arithmetic(made: Chain, node: _Node) -> None:
    """A constant added or multiplied: the pictures' scaling, or a bias."""
    constant = next((value for value in node.constants if value is not None), None)
    if constant is None or (node.constants[0] is not None and node.op in ("Sub", "Div")):
        raise made.unknown(node.name, node.op)
    if made.is_fresh:
        vector, one, zero = constant.astype(np.float64), np.ones(()), np.zeros(())
        factor = {"Mul": vector, "Div": 1 / vector}.get(node.op, one)
        offset = {"Add": vector, "Sub": -vector}.get(node.op, zero)
        made.scaled(node.name, factor, offset)
    elif node.op == "Add":
        made.bias(node.name, constant)
    else:
        raise made.unknown(node.name, f"{node.op} by a constant behind the first layer")


def _softmax(made: Chain, node: _Node) -> None:
    if node.get("axis", -1) not in (-1, 1) or not made.is_flat:
        raise made.unknown(node.name, f"{node.op} over axis {node.get('axis', -1)} of a map")
    made.softmax(node.name, "softmax" if node.op == "Softmax" else "log-softmax")


def _dropout(made: Chain, node: _Node) -> None:
    given = node.constant(1)
    rate = node.get("ratio", 0.5) if given is None else float(given.reshape(-1)[0])
    made.dropout(node.name, rate)


def _cast(made: Chain, node: _Node) -> None:
    if node.get("to", 1) != 1:
        raise made.unknown(node.name, "a cast to anything but float32")


_LAYERS: dict[str, Callable[[Chain, _Node], None]] = {
    "Conv": _conv,
    "BatchNormalization": _batch_norm,
    "Relu": lambda made, node: made.place(node.name, ReLU()),
    "LeakyRelu": lambda made, node: made.leaky(node.name, node.get("alpha", 0.01)),
    "Gelu": _gelu,
    "Sigmoid": lambda made, node: made.place(node.name, Sigmoid()),
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": lambda made, node: made.place(node.name, GlobalAvgPool()),
    "ReduceMean": _mean,
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Gemm": _gemm,
    "MatMul": _matmul,
    **dict.fromkeys(("Add", "Mul", "Sub", "Div"), _arithmetic),
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Identity": lambda made, node: None,
    "Cast": _cast,
}
"""What each operator of ONNX is here."""
