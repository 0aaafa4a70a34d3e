"""Keras's `.weights.h5` and `.keras` files. They are read with h5py alone; Keras writes them."""

from __future__ import annotations

import io
import lzma
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from netinnet import frameworks
from netinnet.errors import FrameworkError, ModelError
from netinnet.files import write_bytes
from netinnet.formats.matching import Layers, natural
from netinnet.weights import Model

_WEIGHTS = "model.weights.h5"
"""The member of a .keras archive that holds the weights."""
_TENSORS = {
    1: ("kernel",),
    2: ("kernel", "bias"),
    4: ("gamma", "beta", "moving_mean", "moving_variance"),
}
"""Keras numbers a layer's arrays; what they are follows from how many there are."""


def read(path: Path) -> Layers:
    """The layers that have weights, in the model's order. Raises ModelError, FrameworkError."""
    try:
        import h5py
    except ImportError as error:
        raise FrameworkError("reading Keras's files needs h5py: pip install h5py") from error
    try:
        data = _weights(path)
        with h5py.File(io.BytesIO(data), "r") as file:
            return _layers(file)
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise ModelError(f"{path}: cannot be read as Keras weights ({reason})") from error
    except _DAMAGES as error:
        raise ModelError(f"{path}: not a Keras file, or damaged ({error})") from error


_DAMAGES = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, MemoryError),
    *(KeyError, ValueError, TypeError, RuntimeError, NotImplementedError),
)


def _weights(path: Path) -> bytes:
    if path.suffix != ".keras":
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        return archive.read(_WEIGHTS)


def _layers(file: Any) -> Layers:
    """Groups called `vars` by the path of their layer; Keras counts layers of a class from none.

    Within a model Keras sorts by class, not by place, which is all that matching needs.
    """
    layers: Layers = {}

    def visit(node: Any, path: str) -> None:
        for name in sorted(node, key=natural):
            child = node[name]
            if not hasattr(child, "keys"):  # a dataset
                continue
            if name == "vars" and len(child):
                arrays = [np.asarray(child[key]) for key in sorted(child, key=natural)]
                # Random generators keep whole numbers; they are no weights.
                if all(array.dtype.kind == "f" for array in arrays):
                    layers[path] = _named(arrays)
            elif name not in ("optimizer", "seed_generator"):
                visit(child, f"{path}/{name}".strip("/").replace("layers/", ""))

    visit(file, "")
    return layers


def _named(arrays: list[Any]) -> dict[str, Any]:
    names = _TENSORS.get(len(arrays), tuple(str(i) for i in range(len(arrays))))
    return dict(zip(names, arrays, strict=True))


def write(path: Path, model: Model, framework: str) -> None:
    """Write with Keras itself, atomically: a whole model (.keras) or its weights (.weights.h5).

    Raises FrameworkError where TensorFlow is missing.
    """
    native = frameworks.adapter(framework).build(model.network, model.weights)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / ("model.keras" if path.suffix == ".keras" else _WEIGHTS)
        if path.suffix == ".keras":
            native.save(made)
        else:
            native.save_weights(made)
        write_bytes(path, made.read_bytes())
