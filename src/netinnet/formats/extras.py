"""What a file of arrays alone holds beside the weights of layers; nothing of it goes in silence."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import numpy.typing as npt

from netinnet.errors import ModelError
from netinnet.formats.matching import Layers, Tensors, called

COUNTERS = {"num_batches_tracked"}
"""PyTorch's batch norms count batches."""
GENERATORS = {"rngs", "seed_generator", "generator"}
"""Where Flax and Keras keep the whole numbers of a random generator."""
_MEANS = {"mean", "pixel_mean", "image_mean"}
_STDS = {"std", "pixel_std", "image_std"}
_KERAS = {"mean", "variance", "count"}
"""The arrays of Keras's Normalization."""


def set_apart(layers: Layers, where: str, is_scaling_given: bool) -> tuple[Layers, list[str]]:
    """The layers without what is no layer's weight, and what there is to say of that.

    Args:
        layers: All arrays of the file.
        where: The file, for messages.
        is_scaling_given: Whether the user says what is done to pictures.

    Raises:
        ModelError: The file has a scaling of pictures, and the user does not say it.
    """
    kept: Layers = {}
    gone, scalings = Counter[str](), list[str]()
    for layer, tensors in layers.items():
        idle = {
            name: word for name, array in tensors.items() if (word := _idle(layer, name, array))
        }
        gone.update(idle.values())
        rest = {name: array for name, array in tensors.items() if name not in idle}
        if scaling := _scaling(rest):
            names = [called(layer, name) for name in scaling]
            if not is_scaling_given:
                raise ModelError(
                    f"{where}: {', '.join(names)} scale pictures ({_values(scaling)}), which is "
                    f"no layer's work here; give --mean and --std, for values from 0 to 1"
                )
            scalings += names
        if rest := {name: array for name, array in rest.items() if name not in scaling}:
            kept[layer] = rest
    said = []
    if gone:
        counts = ", ".join(f"{name} ({count})" for name, count in gone.items())
        said.append(f"left out, since no output depends on it: {counts}")
    if scalings:
        said.append(f"left out, since --mean and --std are given: {', '.join(scalings)}")
    return kept, said


def _idle(layer: str, name: str, array: npt.NDArray[np.generic]) -> str:
    """The word that says that no output depends on an array; nothing where one may."""
    if name in COUNTERS:
        return name
    parts = re.split(r"[./]", layer) if array.dtype.kind in "iu" else []
    return next((part for part in parts if part in GENERATORS), "")


def _scaling(tensors: Tensors) -> Tensors:
    """Those of a layer's arrays that are a mean and a standard deviation of pictures."""
    names = set(tensors)
    if names == _KERAS:
        return tensors
    if not (names & _MEANS and names & _STDS):  # Flax's batch norms have a mean, too
        return {}
    return {name: array for name, array in tensors.items() if name in _MEANS | _STDS}


def _values(scaling: Tensors) -> str:
    """The numbers, where they are few."""
    words = {"variance": "standard deviation"} | dict.fromkeys(_STDS, "standard deviation")
    shown = []
    for name, array in scaling.items():
        if name == "count":
            continue
        values = np.sqrt(array) if name == "variance" else array
        numbers = ", ".join(f"{value:g}" for value in values.reshape(-1)[:4].tolist())
        more = ", …" * (array.size > 4)
        shown.append(f"{words.get(name, 'mean')} {numbers}{more}")
    return "; ".join(shown)
