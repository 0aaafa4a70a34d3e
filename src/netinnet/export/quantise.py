"""Smaller numbers: weights in float16, or weights and computing in eight bits."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from netinnet.calibration import HALF
from netinnet.errors import ModelError
from netinnet.inference import onnx_graph
from netinnet.networks.network import Network
from netinnet.weights import shapes

if TYPE_CHECKING:
    from onnx import ModelProto

QUANTISED = ("Conv", "Gemm", "MaxPool", "AveragePool", "Add")
"""What is computed in eight bits. Global average pooling stays in float32, as all that is before
the first convolution: the mean of a class's map is its logit still."""


def halve(proto: ModelProto, network: Network) -> None:
    """Store the network's kernels and matrices in float16; they are computed with in float32.

    A `Cast` behind each weight makes it float32 again, once, when a runtime loads the graph. So
    every runtime reads it, none computes more slowly, and only the weights are rounded. Vectors
    (biases, batch norm) are few and stay, and so does the preprocessing. Raises ModelError for a
    weight that is too large.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts, kernels = [], {name for name, shape in shapes(network).items() if len(shape) > 1}
    for tensor in proto.graph.initializer:
        if tensor.name not in kernels:
            continue
        array = numpy_helper.to_array(tensor)
        if np.abs(array).max(initial=0) > HALF:
            raise ModelError(
                f"{tensor.name}: a weight of {np.abs(array).max():.3g} is beyond float16's "
                f"{HALF:,.0f}; export it as float32"
            )
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16), f"{name}.float16"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], name, to=TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


class _Reader:
    """Hands the calibration pictures to onnxruntime, one array at a time."""

    def __init__(self, name: str, batches: Sequence[npt.NDArray[Any]]) -> None:
        self.name, self.batches = name, batches
        self.rest: Iterator[npt.NDArray[Any]] = iter(batches)

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        batch = next(self.rest, None)
        return None if batch is None else {self.name: batch}

    def rewind(self) -> None:
        self.rest = iter(self.batches)


def in_eight_bits(
    proto: ModelProto, network: Network, batches: Sequence[npt.NDArray[Any]]
) -> ModelProto:
    """The graph with weights in int8 (a scale a channel) and values in uint8 (a range each).

    The ranges are the smallest and largest values on `batches`, arrays as the graph's one input
    takes them. What is no layer of the network (preprocessing, class maps, features) stays in
    float32.
    """
    onnx = onnx_graph.require("onnx", "the ONNX graph", "onnx>=1.21")
    quantization = onnx_graph.require(
        "onnxruntime.quantization", "int8 quantisation", "onnxruntime>=1.19"
    )
    layers = [placed.name for placed in network.placed_layers()]
    sums = [f"{block.name}.sum" for block in network.blocks if block.residual]
    # It logs advice (a preprocessing step that the folded graph does not need) to the root logger.
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory(prefix="netinnet-") as folder:
            # Given by its path: older versions fail with a graph in memory.
            given, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
            given.write_bytes(proto.SerializeToString())
            quantization.quantize_static(
                str(given),
                str(target),
                _Reader(proto.graph.input[0].name, batches),
                quant_format=quantization.QuantFormat.QDQ,
                # Of the softmax older versions want the range; it is no layer and stays as it is.
                op_types_to_quantize=[*QUANTISED, "Softmax"],
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                nodes_to_quantize=[*layers, *sums],
            )
            result: ModelProto = onnx.load_model_from_string(target.read_bytes())
    finally:
        logging.disable(before)
    return result
