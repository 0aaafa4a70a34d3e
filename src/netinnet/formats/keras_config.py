"""Keras's description of a model (config.json of a .keras, model_config of an .h5) as a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from netinnet.errors import ModelError
from netinnet.formats.chain import Chain, channels_first
from netinnet.networks.layers import GELU, AvgPool, GlobalAvgPool, MaxPool, ReLU, Shape, Sigmoid
from netinnet.networks.windows import Pads

Array = npt.NDArray[Any]
Arrays = Callable[[tuple[str, ...], Sequence[str]], dict[str, Array]]
"""The arrays of the layer with a path of names, called by the given names, in Keras's order."""

CONTAINERS = ("Sequential", "Functional", "Model")
TRAINING_ONLY = (
    *("SpatialDropout2D", "GaussianNoise", "GaussianDropout", "AlphaDropout"),
    *("ActivityRegularization", "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom"),
    *("RandomContrast", "RandomBrightness", "RandomErasing"),
)
"""Layers that do nothing in prediction."""


@dataclass(frozen=True)
class Node:
    """One layer of the model, of whichever model within it."""

    path: tuple[str, ...]
    kind: str
    config: Mapping[str, Any]
    inputs: tuple[str, ...]
    output: str

    @property
    def name(self) -> str:
        return "/".join(self.path)


def chain(config: Any, arrays: Arrays, where: str, size: tuple[int, int] | None) -> Chain:
    """The network that Keras's config describes, with its weights.

    `size` is height and width where the config leaves them open. Raises ModelError for what is no
    such config, or no chain of layers of the vocabulary.
    """
    try:
        nodes, start, end = _model(config, (), None, where)
        made = Chain(where, start, _input(nodes, config, size, where), channels_last=True)
        for node in nodes:
            _add(made, node, arrays)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ModelError(f"{where}: its config is damaged ({error!r})") from error
    if made.end != end:
        raise ModelError(f"{where}: the output is {end}, the chain of layers ends at {made.end}")
    return made


def name_of(config: Any) -> str:
    name = config.get("config", {}).get("name") if isinstance(config, dict) else None
    return name if isinstance(name, str) and name else "keras"


# The graph


def _model(
    config: Any, path: tuple[str, ...], start: str | None, where: str
) -> tuple[list[Node], str, str]:
    """The layers of a model in order, and the names of its input and output."""
    kind, inner = config["class_name"], config["config"]
    if kind not in CONTAINERS:
        raise ModelError(
            f"{where}: a model of the class {kind}, whose code is not in the file; only "
            f"Sequential and functional models describe their layers"
        )
    layers = inner["layers"] if isinstance(inner, dict) else inner
    if kind == "Sequential":
        return _sequential(layers, path, start, where)
    ends = [_history(inner[key]) for key in ("input_layers", "output_layers")]
    for what, names in zip(("inputs", "outputs"), ends, strict=True):
        if len(names) != 1:
            raise ModelError(f"{where}: a model of {len(names)} {what}; a network has one")
    (first,), (last,) = ends
    nodes: list[Node] = []
    values: dict[str, str] = {}
    for layer in layers:
        name = layer.get("name") or layer["config"]["name"]
        here = (*path, name)
        if layer["class_name"] == "InputLayer":
            values[name] = start if start is not None and name == first else "/".join(here)
            if start is None or name != first:
                nodes.append(Node(here, "InputLayer", layer["config"], (), values[name]))
            continue
        calls = layer.get("inbound_nodes", [])
        if len(calls) != 1:
            raise ModelError(f"{where}: layer {'/'.join(here)} is used {len(calls)} times")
        inputs = tuple(values[source] for source in _history(calls[0]))
        made, values[name] = _nodes(layer, here, inputs, where)
        nodes += made
    return nodes, values[first], values[last]


def _sequential(
    layers: list[Any], path: tuple[str, ...], start: str | None, where: str
) -> tuple[list[Node], str, str]:
    nodes: list[Node] = []
    first = end = start if start is not None else "/".join((*path, "input"))
    for layer in layers:
        here = (*path, layer["config"]["name"])
        if layer["class_name"] == "InputLayer":
            if start is None:
                nodes.append(Node(here, "InputLayer", layer["config"], (), end))
            continue
        made, end = _nodes(layer, here, (end,), where)
        nodes += made
    return nodes, first, end


def _nodes(
    layer: Any, path: tuple[str, ...], inputs: tuple[str, ...], where: str
) -> tuple[list[Node], str]:
    if layer["class_name"] in CONTAINERS and len(inputs) == 1:
        nodes, _, end = _model(layer, path, inputs[0], where)
        return nodes, end
    kind, module = layer["class_name"], layer.get("module") or "keras"
    if not module.startswith(("keras", "tensorflow.python.keras", "tf_keras")):
        kind = f"{module}.{kind}"
    return [Node(path, kind, layer["config"], inputs, "/".join(path))], "/".join(path)


def _history(data: Any) -> list[str]:
    """Names of the layers whose outputs are meant: Keras 3's tensors, or [name, node, tensor]."""
    if isinstance(data, dict):
        if data.get("class_name") == "__keras_tensor__":
            return [data["config"]["keras_history"][0]]
        return [name for value in data.values() for name in _history(value)]
    if isinstance(data, list | tuple):
        numbers = [value for value in data[1:3] if isinstance(value, int)]
        if len(data) >= 3 and isinstance(data[0], str) and len(numbers) == 2:
            return [data[0]]
        return [name for value in data for name in _history(value)]
    return []


def _input(nodes: list[Node], config: Any, size: tuple[int, int] | None, where: str) -> Shape:
    """Channels, height and width of the pictures."""
    shapes = [
        node.config.get("batch_shape") or node.config.get("batch_input_shape") for node in nodes
    ]
    built = config.get("build_config") or {}
    shapes += [config["config"].get("build_input_shape"), built.get("input_shape")]
    found = next((shape for shape in shapes if shape), None)
    if found is None:
        raise ModelError(
            f"{where}: does not say the shape of its input; call the model once, then save it"
        )
    if len(found) == 2 and any(node.kind == "Reshape" for node in nodes[:3]):
        return Shape(int(found[1]), 1, 1)  # pictures as vectors, turned by its first layer
    if len(found) == 3:
        found = [*found, 1]
    if len(found) != 4 or not found[3]:
        raise ModelError(f"{where}: its input is {found}, no pictures height×width×channels")
    height, width = (given or 0 for given in found[1:3])
    if size and (height or size[0], width or size[1]) != tuple(size):
        raise ModelError(f"{where}: its input is {height}×{width}; leave out the image size")
    height, width = size or (height, width)
    if not height or not width:
        raise ModelError(f"{where}: leaves the size of its pictures open; give --image-size")
    return Shape(int(found[3]), int(height), int(width))


# The layers


def _add(made: Chain, node: Node, arrays: Arrays) -> None:
    """Put a layer at the end of the chain. Raises ModelError where that can't be."""
    if node.kind == "InputLayer":
        return
    if node.kind == "Add":
        made.added(node.name, node.inputs, node.output)
        return
    made.at_end(node.name, *node.inputs)
    for key in ("data_format",):
        if node.config.get(key, "channels_last") not in (None, "channels_last"):
            raise made.unknown(node.name, f"{node.kind} with {key} {node.config[key]!r}")
    policy = node.config.get("dtype", "float32")
    policy = policy["config"].get("name") if isinstance(policy, dict) else policy
    if policy not in ("float32", None):
        made.said.append(f"{node.name} computes in {policy} where it was made, here in float32")
    if node.kind in TRAINING_ONLY:
        made.said.append(f"{node.name} ({node.kind}) does nothing in prediction: left out")
    elif node.kind in _LAYERS:
        _LAYERS[node.kind](made, node, arrays)
    else:
        raise made.unknown(node.name, f"{node.kind}{_words(node)}")
    made.passes(node.output)


def _words(node: Node) -> str:
    """What tells one such layer from another, for a message."""
    shown = ("dims", "target_shape", "pool_size", "kernel_size", "size", "cropping", "max_value")
    return "".join(f"({node.config[key]})" for key in shown if key in node.config)


def _conv(made: Chain, node: Node, arrays: Arrays) -> None:
    config = node.config
    own = arrays(node.path, ("kernel", *(("bias",) if config.get("use_bias", True) else ())))
    kernel, strides = own["kernel"].transpose(3, 2, 0, 1), config["strides"]
    pads = _padding(made, node, kernel.shape[2:], strides)
    groups, dilation = config.get("groups", 1), config.get("dilation_rate", (1, 1))
    made.conv(node.name, kernel, own.get("bias"), strides, pads, groups, dilation)
    _activation(made, node)


def _padding(made: Chain, node: Node, kernel: Sequence[int], strides: Sequence[int]) -> Pads:
    """Of "valid" or "same", and of a ZeroPadding2D in front."""
    padding = node.config.get("padding", "valid")
    if made.pending and padding == "valid" and "Conv" in node.kind:
        pads, made.pending = made.pending, None
        return pads
    if padding not in ("valid", "same"):
        raise made.unknown(node.name, f"padding {padding!r}")
    sides = []
    for size, window, stride in zip(made.shape[1:], kernel, strides, strict=True):
        total = max((size - 1) // stride * stride + window - size, 0) if padding == "same" else 0
        sides.append((total // 2, total - total // 2))
    return sides[0], sides[1]


def _dense(made: Chain, node: Node, arrays: Arrays) -> None:
    bias = ("bias",) if node.config.get("use_bias", True) else ()
    own = arrays(node.path, ("kernel", *bias))
    if not made.is_flat and made.shape.height * made.shape.width > 1:
        raise made.unknown(node.name, f"Dense at every place of {made.shape}")
    if not made.is_flat:
        made.flatten(node.name)
    made.linear(node.name, own["kernel"].T, own.get("bias"))
    _activation(made, node)


def _batch_norm(made: Chain, node: Node, arrays: Arrays) -> None:
    config = node.config
    axis = config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if axis not in (-1, 1 if made.is_flat else 3):
        raise made.unknown(node.name, f"batch norm over axis {axis}")
    if config.get("renorm"):
        raise made.unknown(node.name, "batch norm with renorm")
    names = [
        name for name, key in (("gamma", "scale"), ("beta", "center")) if config.get(key, True)
    ]
    own = arrays(node.path, (*names, "moving_mean", "moving_variance"))
    made.batch_norm(
        node.name,
        {
            "weight": own.get("gamma"),
            "bias": own.get("beta"),
            "running_mean": own["moving_mean"],
            "running_var": own["moving_variance"],
        },
        config["epsilon"],
        1 - config.get("momentum", 0.99),
    )


def _activation(made: Chain, node: Node, _: Arrays | None = None) -> None:
    """The function in a layer's `activation`."""
    given = node.config.get("activation") or "linear"
    if isinstance(given, dict):
        inner = given.get("config")
        if isinstance(inner, dict):
            _add_function(made, Node(node.path, given["class_name"], inner, (), node.output))
            return
        given = inner
    kinds = {"linear": "", "leaky_relu": "LeakyReLU", "softmax": "Softmax", "relu": "ReLU"}
    kinds |= {"sigmoid": "Sigmoid", "log_softmax": "LogSoftmax", "gelu": "Gelu"}
    if not isinstance(given, str) or given not in kinds:
        raise made.unknown(node.name, f"the activation {given!r}")
    if kinds[given]:
        # Keras's function leaky_relu has another slope than its layer.
        config = {"negative_slope": 0.2} if given == "leaky_relu" else {}
        _add_function(made, Node(node.path, kinds[given], config, (), node.output))


def _add_function(made: Chain, node: Node) -> None:
    if node.kind not in _FUNCTIONS:
        raise made.unknown(node.name, f"the activation {node.kind}")
    _FUNCTIONS[node.kind](made, node)


def _relu(made: Chain, node: Node) -> None:
    config = node.config
    limit, threshold = config.get("max_value"), config.get("threshold") or 0
    if limit is not None or threshold:
        raise made.unknown(node.name, f"a ReLU from {threshold} to {limit}")
    slope = config.get("negative_slope") or 0.0
    slope = slope[0] if isinstance(slope, list) else slope
    made.leaky(node.name, float(slope)) if slope else made.place(node.name, ReLU())


def _leaky(made: Chain, node: Node) -> None:
    slope = node.config.get("negative_slope", node.config.get("alpha", 0.3))
    made.leaky(node.name, float(slope))


def _gelu(made: Chain, node: Node) -> None:
    if node.config.get("approximate") is not True:
        raise made.unknown(node.name, "the exact GELU (approximate=False)")
    made.place(node.name, GELU())


def _softmax(made: Chain, node: Node) -> None:
    axis = node.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if axis not in (-1, 1) or (axis == 1 and not made.is_flat):
        raise made.unknown(node.name, f"a softmax over axis {axis}")
    made.softmax(node.name, "log-softmax" if node.kind == "LogSoftmax" else "softmax")


_FUNCTIONS: dict[str, Callable[[Chain, Node], None]] = {
    "ReLU": _relu,
    "Relu": _relu,
    "LeakyReLU": _leaky,
    "Gelu": _gelu,
    "GELU": _gelu,
    "Sigmoid": lambda made, node: made.place(node.name, Sigmoid()),
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
}


def _pool(made: Chain, node: Node, _: Arrays) -> None:
    kernel = _pair(node.config["pool_size"])
    strides = _pair(node.config.get("strides") or kernel)
    kind = MaxPool if node.kind.startswith("Max") else AvgPool
    pads = _padding(made, node, kernel, strides)
    made.pool(node.name, kind, kernel, strides, pads, counts_padding=False)


def _pair(value: Any) -> Sequence[int]:
    return (value, value) if isinstance(value, int) else value


def _global_mean(made: Chain, node: Node, _: Arrays) -> None:
    made.place(node.name, GlobalAvgPool())
    if not node.config.get("keepdims", False):
        made.flatten(node.name)


def _reshape(made: Chain, node: Node, _: Arrays) -> None:
    target = [int(size) for size in node.config["target_shape"]]
    if made.is_fresh and len(target) == 3 and -1 not in target:
        made.turn_input(node.name, Shape(target[2], target[0], target[1]))
    elif made.shape.height * made.shape.width == 1 and set(target) <= {1, -1, made.shape.channels}:
        return  # the same values
    elif len(target) == 1:
        made.flatten(node.name)
    else:
        raise made.unknown(node.name, f"Reshape{_words(node)}")


def _zero_padding(made: Chain, node: Node, _: Arrays) -> None:
    if made.pending:
        raise made.unknown(node.name, "a padding behind a padding")
    (top, bottom), (left, right) = node.config["padding"]
    made.pending = ((int(top), int(bottom)), (int(left), int(right)))


def _flatten(made: Chain, node: Node, _: Arrays) -> None:
    made.flatten(node.name)


def _rescaling(made: Chain, node: Node, _: Arrays) -> None:
    scale, offset = (
        np.asarray(node.config.get(key, default), np.float64)
        for key, default in (("scale", 1.0), ("offset", 0.0))
    )
    made.scaled(node.name, channels_first(scale), channels_first(offset))


def _normalization(made: Chain, node: Node, arrays: Arrays) -> None:
    mean, variance = node.config.get("mean"), node.config.get("variance")
    if mean is None:
        own = arrays(node.path, ("mean", "variance", "count"))
        mean, variance = own["mean"], own["variance"]
    axis = node.config.get("axis", -1)
    if axis not in (None, -1, 3, [-1], [3]) or node.config.get("invert"):
        raise made.unknown(node.name, f"Normalization over axis {axis}")
    # Whatever shape they have, they go along the axis; the divisor is at least Keras's smallest.
    std = np.maximum(np.sqrt(np.asarray(variance, np.float64)), 1e-7).reshape(-1)
    mean = np.asarray(mean, np.float64).reshape(-1)
    made.scaled(node.name, channels_first(1 / std), channels_first(-mean / std))


def _dropout(made: Chain, node: Node, _: Arrays) -> None:
    made.dropout(node.name, float(node.config["rate"]))


def _function(made: Chain, node: Node, _: Arrays) -> None:
    _add_function(made, node)


_LAYERS: dict[str, Callable[[Chain, Node, Arrays], None]] = {
    "Conv2D": _conv,
    "Convolution2D": _conv,
    "Dense": _dense,
    "BatchNormalization": _batch_norm,
    "Activation": _activation,
    "MaxPooling2D": _pool,
    "AveragePooling2D": _pool,
    "GlobalAveragePooling2D": _global_mean,
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "ZeroPadding2D": _zero_padding,
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    **dict.fromkeys(_FUNCTIONS, _function),
}
"""What each class of Keras's is here."""
