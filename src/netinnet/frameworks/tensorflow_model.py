"""TensorFlow's native model: a functional `keras.Model`. Arrays are n×height×width×channels."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from netinnet.errors import FrameworkError
from netinnet.frameworks.learner import check_setting
from netinnet.frameworks.tensorflow_layers import is_same, shape_of
from netinnet.layout import NativeTensor, native_tensors
from netinnet.networks import layers
from netinnet.networks.blocks import Block
from netinnet.networks.layers import Layer, maker
from netinnet.networks.network import Network
from netinnet.networks.ranks import END, turns
from netinnet.networks.windows import Pads
from netinnet.weights import Array, Weights

LAST = "channels_last"
"""Said to every Keras layer: a user's own default may be another."""


def build(network: Network, weights: Mapping[str, Array]) -> Any:
    """The network as a functional `keras.Model` of nested models, one a block; input N×H×W×C.

    A block takes pictures of any size, unless its Flatten or Linear fixes it. All layers are
    Keras's own, so a saved model is loaded without this package. Trained by Keras, batch norm keeps
    the biased variance of a batch (divided by n). Raises FrameworkError where Keras runs on another
    framework.
    """
    keras = _keras()
    channels, height, width = network.input
    x = inputs = keras.Input((height, width, channels), name="network.input")
    turned = turns(network)
    names: dict[str, str] = {}
    for block in network.blocks:
        other = names.setdefault(_valid(block.name), block.name)
        if other != block.name:
            raise FrameworkError(
                f"TensorFlow: blocks '{other}' and '{block.name}' have the same name there, "
                f"{_valid(other)}; rename one"
            )
    for block in network.blocks:
        x = _block_model(keras, block, x.shape[1:], turned)(x)
    if END in turned:
        x = keras.layers.Flatten(LAST, name="network.output")(x)
    model = keras.Model(inputs, x, name=_valid(network.name))
    for name, tensor in native_tensors(network, "tensorflow").items():
        _variable(model, tensor).assign(tensor.to_native(weights[name]))
    return model


def block(model: Any, name: str) -> Any:
    return model.get_layer(_valid(name))


def read(network: Network, model: Any) -> Weights:
    return {
        name: tensor.to_canonical(np.array(_variable(model, tensor).numpy(), np.float32))
        for name, tensor in native_tensors(network, "tensorflow").items()
    }


def _keras() -> Any:
    """Keras, which runs on one of several frameworks. Raises FrameworkError if not on this one."""
    remedy = "set the environment variable KERAS_BACKEND=tensorflow before Keras is imported"
    try:
        import keras
    except ImportError as error:  # the other framework is missing
        raise FrameworkError(f"Keras does not import ({error}); {remedy}") from error
    config = keras.config
    check_setting("Keras's floatx", config.floatx(), "float32", "see keras.json")
    policy = config.dtype_policy().name
    check_setting("Keras's dtype policy", policy, "float32", "keras.config.set_dtype_policy")
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise FrameworkError(f"Keras runs on {backend} here, not on TensorFlow; {remedy}")
    return keras


def _valid(name: str) -> str:
    """The name as TensorFlow's name scopes take it: ASCII, a letter or digit first."""
    plain = name.encode("ascii", "backslashreplace").decode()
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", plain)
    return plain if plain[:1].isalnum() else f"net{plain}"


def _variable(model: Any, tensor: NativeTensor) -> Any:
    block_name, layer_name = tensor.layer.split(".")
    return getattr(block(model, block_name).get_layer(layer_name), tensor.name)


def _block_model(
    keras: Any, block: Block, shape: tuple[int | None, ...], turned: Mapping[str, str]
) -> Any:
    """One block as a model of its own, for inputs of `shape` (h×w×c, or flat) or of any size."""
    if len(shape) == 3 and _takes_any_size(block):
        shape = (None, None, shape[2])
    x = inputs = keras.Input(shape, name="input")
    for name, layer in block.named_layers():
        if turn := turned.get(f"{block.name}.{name}"):
            size = x.shape[-1:] if turn == "flat" else (1, 1, x.shape[-1])
            x = keras.layers.Reshape(size, name=f"{name}_{turn}")(x)
        x = maker(LAYERS, layer, "TensorFlow")(keras, layer, name, x)
    if block.residual:
        same = len(inputs.shape) == len(x.shape)
        start = inputs if same else keras.layers.Reshape(x.shape[1:], name="input_turned")(inputs)
        x = keras.layers.Add(name="sum")([x, start])
    return keras.Model(inputs, x, name=_valid(block.name))


def _takes_any_size(block: Block) -> bool:
    """Whether nothing in the block counts positions before their mean.

    Flatten and Linear do, and a pool that rounds up needs to know where its windows end.
    """
    for layer in block.layers:
        if isinstance(layer, layers.GlobalAvgPool):
            return True
        if isinstance(layer, layers.Flatten | layers.Linear) or getattr(layer, "ceil", False):
            return False
    return True


def _conv(keras: Any, o: layers.Conv, name: str, x: Any) -> Any:
    padding = "same" if is_same(o) else "valid"
    sizes = (o.channels, o.kernel, o.stride, padding)
    made = keras.layers.Conv2D(
        *sizes, data_format=LAST, groups=o.groups, use_bias=o.bias, name=name
    )
    return made(x if is_same(o) else _padded(keras, o, name, x))


def _padded(keras: Any, o: layers.Conv | layers.Pool, name: str, x: Any) -> Any:
    """Zeros around a map: Keras's own padding is another, or none."""
    pads = o.pads(shape_of(x))
    if not any(map(any, pads)):
        return x
    return keras.layers.ZeroPadding2D(pads, LAST, name=f"{name}_pad")(x)


def _max_pool(keras: Any, o: layers.MaxPool, name: str, x: Any) -> Any:
    padding = "same" if is_same(o) else "valid"
    if padding == "valid":
        x = _repeated_border(keras, o.pads(shape_of(x)), x)
    return keras.layers.MaxPooling2D(o.kernel, o.stride, padding, data_format=LAST, name=name)(x)


def _repeated_border(keras: Any, pads: Pads, x: Any) -> Any:
    """A map with its border repeated around it, which changes no maximum.

    A window that reaches beyond the border has seen the border's own pixel. Minus infinity would do
    as well in floats, but it has no place among eight-bit numbers, and zeros only behind a ReLU:
    a block may be put behind anything.
    """
    while any(map(any, pads)):
        # A reflection of one pixel repeats it.
        ones = [(min(before, 1), min(behind, 1)) for before, behind in pads]
        x = keras.ops.pad(x, [(0, 0), *ones, (0, 0)], mode="symmetric")
        (a, b), (c, d) = pads
        pads = (max(a - 1, 0), max(b - 1, 0)), (max(c - 1, 0), max(d - 1, 0))
    return x


def _avg_pool(keras: Any, o: layers.AvgPool, name: str, x: Any) -> Any:
    padding = "same" if o.same else "valid"
    pool = keras.layers.AveragePooling2D(o.kernel, o.stride, padding, data_format=LAST, name=name)
    if o.same:
        return pool(x)
    y, correction = pool(_padded(keras, o, name, x)), o.correction(shape_of(x))
    return y if correction is None else y * np.asarray(correction, np.float32)[..., None]


LAYERS: dict[type[Layer], Callable[[Any, Any, str, Any], Any]] = {
    layers.Conv: _conv,
    layers.BatchNorm: lambda k, o, name, x: k.layers.BatchNormalization(
        momentum=1 - o.momentum, epsilon=o.epsilon, name=name
    )(x),
    layers.ReLU: lambda k, o, name, x: k.layers.ReLU(name=name)(x),
    layers.LeakyReLU: lambda k, o, name, x: k.layers.LeakyReLU(o.slope, name=name)(x),
    layers.GELU: lambda k, o, name, x: k.ops.gelu(x, approximate=True),
    layers.Sigmoid: lambda k, o, name, x: k.layers.Activation("sigmoid", name=name)(x),
    layers.MaxPool: _max_pool,
    layers.AvgPool: _avg_pool,
    layers.GlobalAvgPool: lambda k, o, name, x: k.layers.GlobalAveragePooling2D(
        data_format=LAST, keepdims=True, name=name
    )(x),
    layers.Dropout: lambda k, o, name, x: k.layers.Dropout(o.rate, name=name)(x),
    layers.Flatten: lambda k, o, name, x: k.layers.Flatten(LAST, name=name)(x),
    layers.Linear: lambda k, o, name, x: k.layers.Dense(o.features, use_bias=o.bias, name=name)(x),
}
"""What puts each layer, under a name, behind `x`; all are Keras's own."""
