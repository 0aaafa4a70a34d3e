"""A model as the data that JavaScript computes it from (`browser/engine.js`, `browser/network.js`).

The layers' places, windows and paddings are worked out here, from the description: JavaScript only
computes. Weights are float16 or float32 in base64, in the order of `tensors`.
"""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np

from netinnet.calibration import HALF
from netinnet.errors import ModelError, check_name
from netinnet.inference import class_maps, explanation
from netinnet.networks import features, layers
from netinnet.networks.network import Network, PlacedLayer
from netinnet.networks.windows import Sliding
from netinnet.weights import Array, Model, Weights, check, shapes

TYPES = {"float16": "<f2", "float32": "<f4"}
PRECISIONS = tuple(TYPES)
ARRAYS = ("means", "whitening")
"""Of a calibration."""
FIELDS = ("stride", "kernel", "groups", "epsilon", "slope")
"""Of a layer, what its arithmetic depends on beside its windows."""


def data(model: Model, kernel: bytes, precision: str = "float16") -> dict[str, Any]:
    """Everything that the page's engine needs, as plain data for JSON: `about` and the weights.

    Args:
        model: Any model.
        kernel: The bytes of kernel.wasm.
        precision: Of the weights, one of PRECISIONS; everything is computed in float32.

    Raises:
        ModelError: Where a weight is missing, or too large for float16.
        NetinnetError: For another precision.
    """
    check_name("precision", precision, PRECISIONS)
    return {
        **about(model, precision),
        "tensors": [[name, math.prod(shape)] for name, shape in shapes(model.network).items()],
        "weights": _base64(_packed(model, precision)),
        "kernel": _base64(kernel),
    }


def about(model: Model, precision: str = "float16") -> dict[str, Any]:
    """What the page knows of a model whose answers it asks for, as plain data for JSON."""
    network = model.network
    maps, found = class_maps.of(network), features.of(network)
    preprocessing = network.preprocessing
    return {
        "name": network.name,
        "classes": list(network.classes),
        "input": list(network.input),
        "preprocessing": {
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "fit": preprocessing.fit,
        },
        "layers": [_layer(placed) for placed in network.placed_layers()],
        "maps": maps and {**_maps(maps), "cells": explanation.cells(network)},
        "features": found and {"layer": found.layer},
        "calibration": _calibration(model, precision),
        "precision": precision,
    }


def _layer(placed: PlacedLayer) -> dict[str, Any]:
    layer = placed.layer
    result: dict[str, Any] = {"layer": layer.name, "name": placed.name, "output": [*placed.output]}
    result |= {name: getattr(layer, name) for name in FIELDS if hasattr(layer, name)}
    if isinstance(layer, Sliding):
        result["pads"] = layer.pads(placed.input)
    if isinstance(layer, layers.AvgPool):
        rows, columns = placed.output[1:]
        factors = layer.correction(placed.input) or ((1.0,) * columns,) * rows
        result["factors"] = [[factor / layer.kernel**2 for factor in row] for row in factors]
    result |= {end: True for end in ("opens", "closes") if getattr(placed, end)}
    return result


def _maps(maps: class_maps.ClassMaps) -> dict[str, Any]:
    return {"pool": maps.pool, "linear": maps.linear, "size": list(maps.input[1:])}


def _calibration(model: Model, precision: str) -> dict[str, Any] | None:
    """Only what an answer needs: what it was found on is in the model's card."""
    if (found := model.calibration) is None:
        return None
    numbers = {name: getattr(found, name) for name in ("temperature", "energy", "threshold")}
    arrays = {name: _base64(_numbers(getattr(found, name), precision, name)) for name in ARRAYS}
    return {**numbers, **arrays, "shape": list(found.means.shape)}


def _packed(model: Model, precision: str) -> bytes:
    """All weights in layer order. Raises ModelError where one is too large for float16."""
    weights = check(model.network, model.weights, model.network.name)
    parts = (_numbers(array, precision, name) for name, array in weights.items())
    return b"".join(parts)


def weights_in(data: dict[str, Any], network: Network) -> Weights:
    """The weights that JavaScript reads from the page's data."""
    numbers = np.frombuffer(base64.b64decode(data["weights"]), TYPES[data["precision"]])
    result, at = {}, 0
    for name, shape in shapes(network).items():
        size = math.prod(shape)
        result[name] = numbers[at : at + size].astype(np.float32).reshape(shape)
        at += size
    return result


def _numbers(array: Array, precision: str, name: str) -> bytes:
    if precision == "float16" and np.abs(array).max(initial=0) > HALF:
        raise ModelError(
            f"{name} has values above {HALF:g}, float16's largest; use --precision float32"
        )
    return array.astype(TYPES[precision]).tobytes()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
