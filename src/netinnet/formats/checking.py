"""Whether a converted model computes what the original did, on inputs and outputs from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from netinnet.errors import ModelError
from netinnet.inference import oracle
from netinnet.metrics import softmax
from netinnet.networks.layers import Shape
from netinnet.preprocessing import prepare
from netinnet.weights import Model

TOLERANCE = 1e-5
"""Largest difference, as a share of the largest logit."""
_AT_ONCE = 8
"""Examples computed at a time: the oracle writes out what every window sees."""


class Checked(NamedTuple):
    """What a check found."""

    examples: int
    difference: float
    """The largest one, as a share of the largest expected value."""
    what: str
    """What was compared: logits or probabilities."""
    scaling: bool
    """Whether the scaling of pictures was checked, too."""

    @property
    def found(self) -> str:
        return (
            f"{self.what} of {self.examples} examples differ by at most {self.difference:.1e} "
            f"of the largest"
        )

    def __str__(self) -> str:
        if self.scaling:
            return self.found
        return (
            f"{self.found}; the scaling of pictures was not checked: the inputs are not uint8 "
            f"pictures; give these to check it, too"
        )


def check(model: Model, inputs: Path, outputs: Path, tolerance: float = TOLERANCE) -> Checked:
    """Compare a model's outputs with those that another program computed, by the NumPy oracle.

    Args:
        model: The converted model.
        inputs: .npy of floats n×channels×height×width or n×height×width×channels, as the network
            takes them, or of uint8 pictures n×height×width×channels of any size, which the model
            prepares itself.
        outputs: .npy of the original's logits n×classes for them. Rows that are probabilities are
            compared with the softmax of the logits.
        tolerance: Largest difference, as a share of the largest expected value.

    Raises:
        ModelError: A file is none of these, or the difference is larger.
    """
    x, expected = _load(inputs), _load(outputs).astype(np.float64)
    network = model.network
    is_pictures = x.dtype == np.uint8
    ready = _prepared(x, model, inputs) if is_pictures else _first(x, network.input, inputs)
    if expected.shape != (len(ready), len(network.classes)) or not np.isfinite(expected).all():
        raise ModelError(
            f"{outputs}: should be {len(ready)}×{len(network.classes)} finite logits, "
            f"is {expected.shape}"
        )
    parts = range(0, len(ready), _AT_ONCE)
    found = np.concatenate(
        [oracle.logits(network, model.weights, ready[i : i + _AT_ONCE]) for i in parts]
    )
    sums = expected.sum(1)
    is_probable = expected.min() >= 0 and np.allclose(sums, 1, atol=1e-4)
    if is_probable:
        found = softmax(found)
    largest = np.abs(expected).max() or 1.0
    difference = float(np.abs(found - expected).max() / largest)
    what = "probabilities" if is_probable else "logits"
    checked = Checked(len(ready), difference, what, is_pictures)
    if not difference <= tolerance:
        behind = "" if is_pictures else "; inputs that are not uint8 count as scaled already"
        raise ModelError(
            f"not the same function: {checked.found}, more than the {tolerance:g} allowed for "
            f"rounding (--tolerance){behind}; nothing is written"
        )
    return checked


def _load(path: Path) -> npt.NDArray[Any]:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(f"{path}: cannot be read as .npy ({error})") from error
    if not isinstance(array, np.ndarray) or not array.size or array.dtype.kind not in "fiu":
        raise ModelError(f"{path}: not a .npy file of numbers")
    return array


def _first(x: npt.NDArray[Any], shape: Shape, path: Path) -> npt.NDArray[np.float64]:
    """Inputs n×channels×height×width."""
    channels, height, width = shape
    if x.shape[1:] == shape:
        return x.astype(np.float64)
    if x.shape[1:] == (height, width, channels):
        return x.transpose(0, 3, 1, 2).astype(np.float64)
    raise ModelError(f"{path}: inputs should be n×{shape} (or channels last), are {x.shape}")


def _prepared(x: npt.NDArray[Any], model: Model, path: Path) -> npt.NDArray[np.float64]:
    network = model.network
    if x.ndim != 4 or x.shape[3] != network.input.channels:
        channels = network.input.channels
        raise ModelError(f"{path}: uint8 pictures should be n×h×w×{channels}, are {x.shape}")
    ready = prepare(x, network.input, network.preprocessing)
    return ready.transpose(0, 3, 1, 2).astype(np.float64)
