"""Canonical weights: names, shapes, initialisation, and the file that holds a whole model.

Names are block, layer and tensor (`block2.conv1.weight`); axis orders are those of PyTorch
(convolution: output, input, row, column; linear: output, input, over features in the order channel,
row, column). Everything is NumPy float32, drawn from a seed, the same for every framework.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from netinnet.calibration import Calibration
from netinnet.errors import ModelError, NetworkError, check_name
from netinnet.files import write_bytes
from netinnet.networks import features
from netinnet.networks.layers import Tensor
from netinnet.networks.network import Network

Array = npt.NDArray[np.float32]
Weights = dict[str, Array]

FORMAT = "netinnet-1"
"""Value of the metadata key `format` in a model file."""

DIGEST = "netinnet-sha256"
"""Metadata key of the digest of all that a file of tensors holds; files before 0.2.0 have none."""

INITIALISATIONS = ("he", "xavier")


def tensors(network: Network) -> dict[str, Tensor]:
    """Every tensor of the network by its full name, in layer order."""
    return {
        f"{placed.name}.{tensor.name}": tensor
        for placed in network.placed_layers()
        for tensor in placed.layer.tensors(placed.input)
    }


def shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the network, in layer order."""
    return {name: tensor.shape for name, tensor in tensors(network).items()}


def initial(network: Network, seed: int, initialisation: str = "he") -> Weights:
    """Weights to start from: `he` (He et al. 2015) or `xavier` (Glorot and Bengio 2010).

    He draws from a normal, Xavier from a uniform distribution.

    Biases and running means are 0, batch norm's scale and running variances 1. Each tensor is drawn
    from its own stream (seed and name), so changing one layer leaves the others' weights alone.
    """
    check_name("initialisation", initialisation, INITIALISATIONS, NetworkError)
    weights: Weights = {}
    for name, tensor in tensors(network).items():
        shape = tensor.shape
        if tensor.fill is not None:
            weights[name] = np.full(shape, tensor.fill, np.float32)
            continue
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        field = int(np.prod(shape[2:]))
        fan_out, fan_in = shape[0] * field, shape[1] * field
        if initialisation == "xavier":
            bound = np.sqrt(6 / (fan_in + fan_out))
            drawn = rng.uniform(-bound, bound, shape)
        else:
            drawn = rng.standard_normal(shape) * np.sqrt(2 / fan_in)
        weights[name] = drawn.astype(np.float32)
    return weights


def check(network: Network, weights: Mapping[str, Array], where: str) -> Weights:
    """Return `weights` in layer order. Raises ModelError naming the first tensor that is wrong."""
    expected = shapes(network)
    for name, shape in expected.items():
        if name not in weights:
            raise ModelError(f"{where}: tensor {name} is missing (expected shape {shape})")
        if weights[name].shape != shape:
            raise ModelError(
                f"{where}: tensor {name} should have shape {shape}, has {weights[name].shape}"
            )
        if not np.issubdtype(weights[name].dtype, np.floating):
            raise ModelError(f"{where}: tensor {name} is {weights[name].dtype}, no float")
    for name in weights:
        if name not in expected:
            raise ModelError(f"{where}: tensor {name} is not part of network {network.name}")
    with np.errstate(over="ignore"):  # said below
        checked = {name: np.ascontiguousarray(weights[name], np.float32) for name in expected}
    for name, array in checked.items():
        if not np.isfinite(array).all():
            raise ModelError(f"{where}: tensor {name} has values that are not float32 numbers")
    return checked


@dataclass(frozen=True)
class Model:
    """A network with its weights: everything needed to predict."""

    network: Network
    weights: Weights
    notes: Mapping[str, str] = field(default_factory=dict, compare=False)
    """What else its file says: the recipe and the data set that made the weights."""
    calibration: Calibration | None = field(default=None, compare=False)
    """What its probabilities are worth and which pictures it refuses, if that was found."""


def save(path: Path, model: Model, notes: Mapping[str, str] | None = None) -> None:
    """Write a self-describing safetensors file: weights; network and calibration as metadata.

    The model's notes and `notes` go into the metadata beside it. The file appears whole or not at
    all.
    """
    checked = check(model.network, model.weights, str(path))
    save_tensors(path, checked, {**metadata_of(model), **(notes or {})})


def metadata_of(model: Model) -> dict[str, str]:
    """What a file says beside the weights: format, network, calibration, notes."""
    kept = {name: text for name, text in model.notes.items() if name != "calibration"}
    calibration = {"calibration": model.calibration.to_json()} if model.calibration else {}
    return {
        **kept,
        **calibration,
        "format": FORMAT,
        "network": json.dumps(model.network.to_dict(), ensure_ascii=False, separators=(",", ":")),
    }


def load(path: Path) -> Model:
    """Read a file written by `save`. Raises ModelError where it is missing or damaged."""
    tensors, about = load_tensors(path)
    return described(tensors, about, str(path))


def network_of(about: Mapping[str, str], where: str) -> Network:
    """The network in a file's metadata. Raises ModelError where there is none."""
    if about.get("format") != FORMAT or "network" not in about:
        raise ModelError(f"{where}: no network in its metadata; this is not a netinnet model file")
    try:
        return Network.from_json(about["network"])
    except NetworkError as error:
        raise ModelError(f"{where}: {error}") from error


def described(tensors: Mapping[str, Array], about: Mapping[str, str], where: str) -> Model:
    """The model of canonical tensors and a file's metadata. Raises ModelError."""
    network = network_of(about, where)
    checked = check(network, tensors, where)
    return Model(network, checked, dict(about), calibration_of(network, about, where))


def calibration_of(network: Network, metadata: Mapping[str, str], where: str) -> Calibration | None:
    """The calibration in a model file's metadata; None where there is none.

    Raises ModelError where it is damaged or another network's.
    """
    if "calibration" not in metadata:
        return None
    found = Calibration.from_json(metadata["calibration"], where)
    own = features.of(network)
    size = own.size if own else len(network.classes)
    if found.means.shape[1] != size:
        raise ModelError(
            f"{where}: its calibration is for {found.means.shape[1]} features, "
            f"{network.name} has {size}"
        )
    return found


def save_tensors(
    path: Path, tensors: Mapping[str, npt.NDArray[Any]], metadata: dict[str, str]
) -> None:
    """Write named arrays and a digest of all to a safetensors file, atomically.

    The bytes depend on the content alone: equal weights give equal files.
    """
    from safetensors.numpy import save as to_bytes

    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    about = {**metadata, DIGEST: _digest(contiguous, metadata)}
    write_bytes(path, _sorted_header(to_bytes(contiguous, metadata=about)))


def _digest(tensors: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str]) -> str:
    """The SHA-256 of all that a file holds: one bit more or less is noticed."""
    digest = hashlib.sha256()
    for name in sorted(metadata):
        digest.update(f"{name}={metadata[name]}\n".encode())
    for name, array in sorted(tensors.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def check_digest(
    tensors: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str], where: str
) -> dict[str, str]:
    """The metadata without the digest. Raises ModelError where that is not of what was read."""
    about = {name: text for name, text in metadata.items() if name != DIGEST}
    if metadata.get(DIGEST) not in (None, _digest(tensors, about)):
        raise ModelError(
            f"{where}: damaged, its content is not what was written; take a copy of it "
            f"(if it was changed on purpose, leave {DIGEST} out of its metadata)"
        )
    return about


def _sorted_header(data: bytes) -> bytes:
    """The same safetensors bytes with a header in a fixed order.

    The library keeps metadata in a hash map, whose order changes from process to process.
    """
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__", {})
    ordered = {"__metadata__": dict(sorted(metadata.items())), **header}
    text = json.dumps(ordered, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def load_tensors(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Read arrays and metadata from a safetensors file, and compare their digest where it has one.

    Raises ModelError where it can't be read or is not what was written.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    if not os.access(path, os.R_OK):
        raise ModelError(f"{path}: not readable; check its permissions")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path}: not a safetensors file, or damaged ({error}); "
            f"give a run folder or its model.safetensors"
        ) from error
    return tensors, check_digest(tensors, metadata, str(path))
