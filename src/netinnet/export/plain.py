"""The plain graph: fixed sizes, float32 in, simple operators, no preprocessing.

OpenCV's dnn, TensorRT and tools for microcontrollers read it: every shape is a number, nothing is
computed from a shape, and batch norms are folded into the convolutions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netinnet.errors import ModelError
from netinnet.export.folding import folded
from netinnet.inference import onnx_graph
from netinnet.inference.onnx_graph import LOGITS, PROBABILITIES
from netinnet.inference.onnx_layers import Graph
from netinnet.weights import Model, check

if TYPE_CHECKING:
    from onnx import ModelProto

INPUT = "input"


def graph(model: Model, batch: int) -> ModelProto:
    """The plain graph of a model, without metadata.

    Input `input`: float32, batch×channels×height×width, preprocessed as the model's preprocessing
    says. Outputs `logits` and `probabilities`: float32, batch×classes; the latter are calibrated
    where the model is. Raises ModelError where the weights are too large for one file.

    Example:
        >>> [node.op_type for node in graph(netinnet.load(), 1).graph.node][:3]
        ['Conv', 'Relu', 'Conv']
    """
    onnx = onnx_graph.require("onnx", "the ONNX graph", "onnx>=1.21")
    from onnx import TensorProto, helper

    if reason := onnx_graph.too_large(model.network):
        raise ModelError(f"{model.network.name}: {reason}")
    model = folded(model)
    network = model.network
    made = Graph(check(network, model.weights, network.name), INPUT)
    onnx_graph.add_layers(made, model)
    size, classes = (batch, *network.input), (batch, len(network.classes))
    proto: ModelProto = helper.make_model(
        helper.make_graph(
            made.nodes,
            network.name,
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, size)],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, classes)
                for name in (LOGITS, PROBABILITIES)
            ],
            made.constants,
        ),
        opset_imports=[helper.make_opsetid("", onnx_graph.OPSET)],
        ir_version=onnx_graph.IR_VERSION,
        producer_name="netinnet",
    )
    _without_shapes(proto)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _without_shapes(proto: ModelProto) -> None:
    """Put numbers in the place of shapes that are computed: all of them are known here."""
    from onnx import numpy_helper, shape_inference

    inferred = shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True).graph
    known = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    for node in nodes:
        if node.op_type == "Shape":
            shape = np.array(known[node.input[0]], np.int64)
            proto.graph.initializer.append(numpy_helper.from_array(shape, node.output[0]))
        else:
            proto.graph.node.append(node)
