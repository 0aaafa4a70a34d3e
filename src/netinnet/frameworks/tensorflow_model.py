"""TensorFlow's native model: a functional `keras.Model`. Arrays are n×height×width×channels."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from netinnet.errors import FrameworkError
from netinnet.frameworks.tensorflow_layers import is_same
from netinnet.layout import NativeTensor, native_tensors
from netinnet.networks import network as description
from netinnet.networks.layers import Layer
from netinnet.networks.network import Block, Network
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
    for block in network.blocks:
        x = _block_model(keras, block, x.shape[1:])(x)
    if len(x.shape) > 2:
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


def _block_model(keras: Any, block: Block, shape: tuple[int | None, ...]) -> Any:
    """One block as a model of its own, for inputs of `shape` (h×w×c, or flat) or of any size."""
    if len(shape) == 3 and _takes_any_size(block):
        shape = (None, None, shape[2])
    x = inputs = keras.Input(shape, name="input")
    numbers = itertools.count(1)
    for name, layer in block.named_layers():
        padding = getattr(layer, "padding", 0)
        if padding and not is_same(layer):
            if isinstance(layer, description.MaxPool):
                border = [(0, 0), (padding, padding), (padding, padding), (0, 0)]
                x = keras.ops.pad(x, border, constant_values=-np.inf)
            else:
                name_of_pad = f"pad{next(numbers)}"
                x = keras.layers.ZeroPadding2D(padding, LAST, name=name_of_pad)(x)
        x = _layer(keras.layers, layer, name)(x)
    return keras.Model(inputs, x, name=_valid(block.name))


def _takes_any_size(block: Block) -> bool:
    """Whether nothing in the block counts positions: no Flatten or Linear before their mean."""
    for layer in block.layers:
        if isinstance(layer, description.GlobalAvgPool):
            return True
        if isinstance(layer, description.Flatten | description.Linear):
            return False
    return True


def _layer(layers: Any, layer: Layer, name: str) -> Any:
    """The Keras layer for one layer, without the padding that Keras's own does not match."""
    padding = "same" if is_same(layer) else "valid"
    match layer:
        case description.Conv(channels, kernel, stride, _, bias):
            return layers.Conv2D(
                channels, kernel, stride, padding, data_format=LAST, use_bias=bias, name=name
            )
        case description.BatchNorm(epsilon, momentum):
            return layers.BatchNormalization(momentum=1 - momentum, epsilon=epsilon, name=name)
        case description.ReLU():
            return layers.ReLU(name=name)
        case description.Sigmoid():
            return layers.Activation("sigmoid", name=name)
        case description.MaxPool(kernel, stride):
            return layers.MaxPooling2D(kernel, stride, padding, data_format=LAST, name=name)
        case description.AvgPool(kernel, stride):
            return layers.AveragePooling2D(kernel, stride, data_format=LAST, name=name)
        case description.GlobalAvgPool():
            return layers.GlobalAveragePooling2D(data_format=LAST, keepdims=True, name=name)
        case description.Dropout(rate):
            return layers.Dropout(rate, name=name)
        case description.Flatten():
            return layers.Flatten(LAST, name=name)
        case description.Linear(features, bias):
            return layers.Dense(features, use_bias=bias, name=name)
    raise FrameworkError(f"TensorFlow: no layer for {type(layer).__name__}")
