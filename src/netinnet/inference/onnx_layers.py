"""The ONNX form of every layer, and the graph that grows of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from netinnet.networks import layers
from netinnet.networks.layers import Layer, Shape

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto


class Graph:
    """Nodes and constants of a graph that grows, and the value at its end.

    `end` is the name of the newest value of the main line; it begins as that of the graph's input.
    """

    def __init__(self, weights: Mapping[str, npt.NDArray[np.float32]], start: str) -> None:
        self.weights = weights
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.end = start

    def constant(self, name: str, value: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """Add a constant tensor and return its name."""
        from onnx import numpy_helper

        array = np.ascontiguousarray(np.asarray(value, dtype))
        # ascontiguousarray makes a vector of a scalar; a scalar must stay one (Range wants it).
        array = array.reshape(np.shape(value))
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node whose output has the node's name, and return that name."""
        from onnx import helper

        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def number(self, name: str, value: npt.ArrayLike) -> str:
        """A float constant that is no weight, as a node: a file's initialisers are its weights."""
        from onnx import numpy_helper

        array = numpy_helper.from_array(np.asarray(value, np.float32))
        return self.node("Constant", name, [], value=array)

    def then(self, op: str, name: str, others: Sequence[str] = (), **attributes: Any) -> None:
        """Add a node behind the end of the main line; its output is the new end."""
        self.end = self.node(op, name, [self.end, *others], **attributes)

    def tensors(self, layer: str, *names: str) -> list[str]:
        """Add those weights of a layer that it has, and return their names."""
        full = [f"{layer}.{name}" for name in names if f"{layer}.{name}" in self.weights]
        return [self.constant(name, self.weights[name], np.float32) for name in full]


def _window(layer: Any, shape: Shape) -> dict[str, Any]:
    size, stride = [layer.kernel] * 2, [layer.stride] * 2
    (top, bottom), (left, right) = layer.pads(shape)
    return {"kernel_shape": size, "strides": stride, "pads": [top, left, bottom, right]}


Maker = Callable[[Graph, str, Any, Shape], None]
"""Adds one layer to the graph; it gets the layer's name, the layer and its input's shape."""

AFFINE = ("weight", "bias")
STATISTICS = (*AFFINE, "running_mean", "running_var")


def _gelu(graph: Graph, name: str, layer: layers.GELU, _: Shape) -> None:
    """ONNX has it from opset 20 on."""
    x = graph.end
    slope = graph.number(f"{name}.slope", layer.slope)
    cubic = graph.number(f"{name}.cubic", layer.cubic)
    graph.then("Mul", f"{name}.square", [x])
    graph.then("Mul", f"{name}.scaled", [cubic])
    graph.then("Add", f"{name}.sum", [slope])
    graph.then("Mul", f"{name}.product", [x])
    graph.then("Sigmoid", f"{name}.sigmoid")
    graph.then("Mul", name, [x])


def _avg_pool(graph: Graph, name: str, layer: layers.AvgPool, shape: Shape) -> None:
    """Runtimes differ in what they divide by where they round up themselves."""
    graph.then("AveragePool", name, count_include_pad=1, **_window(layer, shape))
    if correction := layer.correction(shape):
        graph.then("Mul", f"{name}.cut", [graph.number(f"{name}.correction", correction)])


MAKERS: dict[type[Layer], Maker] = {
    layers.Conv: lambda g, n, layer, shape: g.then(
        "Conv", n, g.tensors(n, *AFFINE), group=layer.groups, **_window(layer, shape)
    ),
    layers.BatchNorm: lambda g, n, layer, _: g.then(
        "BatchNormalization", n, g.tensors(n, *STATISTICS), epsilon=layer.epsilon
    ),
    layers.ReLU: lambda g, n, *_: g.then("Relu", n),
    layers.LeakyReLU: lambda g, n, layer, _: g.then("LeakyRelu", n, alpha=layer.slope),
    layers.GELU: _gelu,
    layers.Sigmoid: lambda g, n, *_: g.then("Sigmoid", n),
    layers.MaxPool: lambda g, n, layer, shape: g.then("MaxPool", n, **_window(layer, shape)),
    layers.AvgPool: _avg_pool,
    layers.GlobalAvgPool: lambda g, n, *_: g.then("GlobalAveragePool", n),
    layers.Dropout: lambda *_: None,  # it does nothing in prediction
    layers.Flatten: lambda g, n, *_: g.then("Flatten", n, axis=1),
    layers.Linear: lambda g, n, *_: g.then("Gemm", n, g.tensors(n, *AFFINE), transB=1),
}
"""The ONNX form of every layer, by its exact type."""
