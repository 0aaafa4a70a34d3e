"""A model as one ONNX graph: from uint8 pictures to probabilities, preprocessing included.

The graph is derived from the description and needs opset 18 alone, no extension. Resizing is done
with the matrices of `preprocessing.resize_matrix`, computed inside the graph from the picture's
size: the `Resize` operator's antialiasing differs from that definition at the border (by up to 0.07
of the value range with its defaults), and runtimes differ in which of its options they honour.
"""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from netinnet.errors import FrameworkError, ModelError
from netinnet.files import replacing
from netinnet.inference import class_maps
from netinnet.inference.onnx_digest import sealed
from netinnet.inference.onnx_layers import MAKERS, Graph
from netinnet.networks import features
from netinnet.networks.features import Features
from netinnet.networks.network import Network
from netinnet.networks.ranks import END, turns
from netinnet.weights import DIGEST, Model, check, shapes

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
IR_VERSION = 8
"""The file format that belongs to opset 18; every onnxruntime since 1.14 reads it."""

LARGEST_FILE = 2**31 - 2**20
"""Bytes of weights that fit: a protobuf message holds 2 GiB, a little of it is not weights."""

INPUT = "pictures"
LOGITS = "logits"
PROBABILITIES = "probabilities"
CLASS_MAPS = "class_maps"
FEATURES = "features"
NOT_NOTES = ("format", "classes", "network", "calibration", DIGEST)
"""What a file's metadata says of the model itself."""
ABOUT_FILE = ("export", "preprocessing", "temperature", "threshold")
"""What an export's metadata says of the file, and of the model a second time."""
NO_LICENCE = "none given"
SCALING = ("input.scale", "input.offset")
"""The float constants that are no weights."""


def too_large(network: Network) -> str | None:
    """Why the network's weights don't fit in one ONNX file; None where they do."""
    size = 4 * sum(math.prod(shape) for shape in shapes(network).values())
    text = f"weights of {size / 2**30:.1f} GiB exceed ONNX's 2 GiB"
    return text if size > LARGEST_FILE else None


def to_onnx(model: Model, *, with_features: bool = False, prepared: bool = False) -> bytes:
    """The model as the bytes of an ONNX file.

    Input `pictures`: uint8, n×height×width×channels; n, height and width are free. Outputs `logits`
    and `probabilities`: float32, n×classes; where the network has them (`class_maps.of`) also
    `class_maps`: float32, n×classes×rows×columns. Where the model is calibrated, `probabilities`
    are so, and there are the `features` of its score (`features.of`): float32, n×features; also
    where they are asked for. With `prepared`, the input is what `preprocessing.prepare` makes:
    float32, n×height×width×channels of the network's size; there are no probabilities then, which
    are quicker made in NumPy. Nodes have the layer names of the description; the metadata holds
    `classes` (a JSON list), `network` and `calibration` (their JSON), the model's notes and a
    digest of the file. Equal models give equal bytes. Raises ModelError where a tensor is missing,
    a layer has no ONNX form or the weights are too large for one file, and FrameworkError where
    onnx is not installed.
    """
    onnx = require("onnx", "the ONNX graph", "onnx>=1.21")
    if reason := too_large(model.network):
        cure = "use a smaller input or a network without large dense layers"
        raise ModelError(f"{model.network.name}: {reason}; {cure}")
    weights = check(model.network, model.weights, model.network.name)
    graph = Graph(weights, INPUT)
    channels, height, width = model.network.input
    if prepared and channels == 1:  # the same values in the same order: nothing is moved
        shape = graph.constant("input.shape", [0, 1, height, width], np.int64)
        graph.then("Reshape", "input.channels_first", [shape])
    elif prepared:
        graph.then("Transpose", "input.channels_first", perm=[0, 3, 1, 2])
    else:
        _add_preprocessing(graph, model.network)
    found = features.of(model.network) if with_features or model.calibration else None
    maps = class_maps.of(model.network)
    add_layers(graph, model, found, maps, probabilities=not prepared)
    proto = _finish(graph, model, found, prepared)
    onnx.checker.check_model(proto)
    return sealed(proto.SerializeToString(deterministic=True))


def write(path: Path, model: Model) -> None:
    """Write `to_onnx(model)`; the file appears whole or not at all."""
    graph = to_onnx(model)
    with replacing(path) as file:
        file.write(graph)


def require(package: str, what: str, requirement: str) -> Any:
    """Import a package of prediction. Raises FrameworkError with the command that installs it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise FrameworkError(f"{what} needs {package}: pip install '{requirement}'") from error


def _add_preprocessing(graph: Graph, network: Network) -> None:
    """Pictures to the network's input: the arithmetic of `preprocessing.prepare`, as nodes."""
    from onnx import TensorProto

    mean = np.asarray(network.preprocessing.mean)
    std = np.asarray(network.preprocessing.std)
    scale = graph.constant(SCALING[0], (1.0 / (255.0 * std))[:, None, None], np.float32)
    offset = graph.constant(SCALING[1], (mean / std)[:, None, None], np.float32)
    # A large picture is gone over as seldom as may be: its bytes are moved before they are floats,
    # and its values are normalised when there are few, which is the same, as resizing is linear.
    graph.then("Transpose", "input.channels_first", perm=[0, 3, 1, 2])
    graph.then("Cast", "input.float", to=TensorProto.FLOAT)

    size = graph.node("Shape", "input.size", [INPUT], start=1, end=3)
    place = None
    if network.preprocessing.fit != "stretch":
        target = graph.constant("input.target", network.input[1:], np.int64)
        axes = graph.constant("input.axes", [2, 3], np.int64)
    if network.preprocessing.fit == "crop":
        start, length = _centred(graph, size, target)
        end = graph.node("Add", "input.part_end", [start, length])
        graph.then("Slice", "input.cropped", [start, end, axes])
        size = length
    elif network.preprocessing.fit == "pad":
        start, place = _centred(graph, target, size)
    rows = _resize_matrix(graph, "input.rows", size, 0, network.input.height, place)
    columns = _resize_matrix(graph, "input.columns", size, 1, network.input.width, place)
    columns = graph.node("Transpose", "input.columns_transposed", [columns], perm=[1, 0])
    graph.end = graph.node("MatMul", "input.resized_rows", [rows, graph.end])
    graph.then("MatMul", "input.resized", [columns])
    graph.then("Mul", "input.scaled", [scale])
    graph.then("Sub", "input.normalised", [offset])
    if place is not None:
        end = graph.node("Add", "input.part_end", [start, place])
        behind = graph.node("Sub", "input.behind", [target, end])
        pads = graph.node("Concat", "input.pads", [start, behind], axis=0)
        graph.then("Pad", "input.padded", [pads, "", axes])


def _centred(graph: Graph, frame: str, ratio: str) -> tuple[str, str]:
    """Nodes that compute `preprocessing.spans`: where a part starts, down and across, and its size.

    `frame` and `ratio` are (height, width).
    """

    def node(op: str, part: str, *inputs: str) -> str:
        return graph.node(op, f"input.part_{part}", inputs)

    one, two = (graph.constant(f"input.part_{n}", n, np.int64) for n in (1, 2))
    swap = graph.constant("input.part_swap", [1, 0], np.int64)
    other, across = node("Gather", "other", frame, swap), node("Gather", "across", ratio, swap)
    doubled = node("Mul", "doubled", node("Mul", "product", other, ratio), two)
    rounded = node(
        "Div",
        "rounded",
        node("Add", "half", doubled, across),
        node("Mul", "twice_across", across, two),
    )
    length = node("Min", "length", node("Max", "least", rounded, one), frame)
    return node("Div", "start", node("Sub", "left", frame, length), two), length


def _resize_matrix(
    graph: Graph, name: str, size: str, axis: int, target: int, place: str | None = None
) -> str:
    """Nodes that compute `preprocessing.resize_matrix(size[axis], target)`; returns its name.

    Where `place` is given, the target is place[axis], which depends on the picture.

    All weights of a row are multiplied by 2·max(source, target), which the division by the row's
    sum cancels: they are then whole numbers, and the result is exact to the last float32 digit:
    max(0, 2·max(s, t) - |(2i + 1)·s - t - 2t·j|) for target i, source j.
    """
    from onnx import TensorProto

    def constant(part: str, value: npt.ArrayLike) -> str:
        return graph.constant(f"{name}.{part}", value, np.int64)

    def node(op: str, part: str, *inputs: str, **attributes: Any) -> str:
        return graph.node(op, f"{name}.{part}", inputs, **attributes)

    zero, one, two = constant("zero", 0), constant("one", 1), constant("two", 2)
    if place is None:
        target_size = constant("target", target)
        odd = constant("odd", 2 * np.arange(target)[:, None] + 1)
        along, step = constant("axis", axis), constant("step", 2 * target)
    else:
        along = constant("axis", axis)
        target_size = node("Gather", "target", place, along, axis=0)
        step = node("Mul", "step", target_size, two)
        numbers = node("Range", "odd_numbers", one, step, two)
        odd = node("Reshape", "odd", numbers, constant("column", [-1, 1]))
    source = node("Gather", "source", size, along, axis=0)
    centres = node("Sub", "centres", node("Mul", "scaled", odd, source), target_size)
    positions = node("Mul", "positions", node("Range", "range", zero, source, one), step)
    distance = node("Abs", "distance", node("Sub", "difference", centres, positions))
    support = node("Mul", "support", node("Max", "larger", source, target_size), two)
    triangle = node("Max", "triangle", node("Sub", "inside", support, distance), zero)
    heights = node("Cast", "float", triangle, to=TensorProto.FLOAT)
    total = node("ReduceSum", "total", heights, constant("axes", [1]), keepdims=1)
    return graph.node("Div", name, [heights, total])


def add_layers(
    graph: Graph,
    model: Model,
    found: Features | None = None,
    maps: class_maps.ClassMaps | None = None,
    *,
    probabilities: bool = True,
) -> None:
    """All layers in order, ending in `logits` and, if asked for, `probabilities`; `found` and
    `maps` are made outputs on the way, if there are any."""
    network = model.network
    turned = turns(network)
    start = graph.end
    for name, block, layer, shape, _, opens, closes in network.placed_layers():
        start = graph.end if opens else start
        if type(layer) not in MAKERS:
            raise ModelError(f"{name}: no ONNX form of {type(layer).__name__}")
        if turn := turned.get(name):
            _turn(graph, name, turn)
        if maps is not None and name == maps.pool:
            if maps.linear is None:
                _name_end(graph, CLASS_MAPS)
            pooled = graph.end
        if found is not None and name == found.layer:
            value = graph.end
            if found.is_map:
                value = graph.node("GlobalAveragePool", f"{FEATURES}.pool", [value])
            graph.node("Flatten", FEATURES, [value], axis=1)
        MAKERS[type(layer)](graph, name, layer, shape)
        if closes:  # where the block makes a vector of a map, or the reverse, so must be the input
            # A block may be called anything, `input` too: so all that is not a layer of a block
            # goes on with `sum`, which nothing in front of the layers (`input.size`) does.
            total = f"{block}.sum"
            size = graph.node("Shape", f"{total}.size", [graph.end])
            added = graph.node("Reshape", f"{total}.input", [start, size])
            graph.then("Add", total, [added])
    if END in turned:
        _turn(graph, "output", turned[END])
    _name_end(graph, LOGITS)
    if probabilities:
        scaled = LOGITS
        if model.calibration is not None:
            temperature = graph.number("temperature", model.calibration.temperature)
            scaled = graph.node("Div", "scaled_logits", [LOGITS, temperature])
        graph.node("Softmax", PROBABILITIES, [scaled], axis=1)
    if maps is not None and maps.linear is not None:
        # The linear layer at every pixel is a 1×1 convolution with the same weights.
        bias = [f"{maps.linear}.bias"] if f"{maps.linear}.bias" in graph.weights else []
        axes = graph.constant(f"{CLASS_MAPS}.axes", [2, 3], np.int64)
        weight = graph.node("Unsqueeze", f"{CLASS_MAPS}.weight", [f"{maps.linear}.weight", axes])
        graph.node("Conv", CLASS_MAPS, [pooled, weight, *bias], kernel_shape=[1, 1])


def _name_end(graph: Graph, name: str) -> None:
    """Call the value at the end `name`, as an output of the graph; the node keeps its own name."""
    graph.nodes[-1].output[0] = graph.end = name


def _turn(graph: Graph, name: str, turn: str) -> None:
    """Make the value in front of a layer a vector or a map: see `networks/ranks.py`."""
    if turn == "flat":
        graph.then("Flatten", f"{name}.flat", axis=1)
    else:
        graph.then("Unsqueeze", f"{name}.map", [graph.constant(f"{name}.axes", [2, 3], np.int64)])


def _finish(graph: Graph, model: Model, found: Features | None, prepared: bool) -> ModelProto:
    """The graph with its inputs, outputs and metadata, as a model."""
    from onnx import TensorProto, helper

    network = model.network
    channels, classes = network.input.channels, len(network.classes)
    kind = TensorProto.FLOAT if prepared else TensorProto.UINT8
    size = list(network.input[1:]) if prepared else ["height", "width"]
    pictures = helper.make_tensor_value_info(INPUT, kind, ["n", *size, channels])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", classes])
        for name in ((LOGITS,) if prepared else (LOGITS, PROBABILITIES))
    ]
    if maps := class_maps.of(network):
        shape = ("n", classes, maps.input.height, maps.input.width)
        outputs.append(helper.make_tensor_value_info(CLASS_MAPS, TensorProto.FLOAT, shape))
    if found is not None:
        info = helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["n", found.size])
        outputs.append(info)
    proto = helper.make_model(
        helper.make_graph(graph.nodes, network.name, [pictures], outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="netinnet",
    )
    calibration = {"calibration": model.calibration.to_json()} if model.calibration else {}
    notes = {name: text for name, text in sorted(model.notes.items()) if name not in NOT_NOTES}
    helper.set_model_props(
        proto,
        {
            **notes,
            **calibration,
            "classes": json.dumps(list(network.classes), ensure_ascii=False),
            "network": json.dumps(network.to_dict(), ensure_ascii=False, separators=(",", ":")),
        },
    )
    return proto
