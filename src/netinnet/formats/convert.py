"""Reading and writing a model in any format, told by the file's name or by its format's name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from netinnet import weights
from netinnet.errors import ModelError
from netinnet.formats import keras_files, mxnet_params
from netinnet.formats.matching import Layers, from_canonical, grouped, matched, to_canonical
from netinnet.inference import model_files, onnx_graph
from netinnet.networks.network import Network
from netinnet.weights import Model


@dataclass(frozen=True)
class Format:
    """A framework's own file: how it is called, how its layers are read and written."""

    title: str
    framework: str
    extensions: tuple[str, ...]
    read: Callable[[Path], Layers]
    write: Callable[[Path, Model, str], None]


def _read_safetensors(path: Path) -> Layers:
    tensors, _ = weights.load_tensors(path)
    # Flax's own flattening separates by "/" or ".".
    return grouped({name.replace("/", "."): array for name, array in tensors.items()})


def _write_safetensors(path: Path, model: Model, framework: str) -> None:
    weights.save_tensors(path, _flat(model, framework), {"format": framework})


def _read_params(path: Path) -> Layers:
    return grouped(mxnet_params.read(path))


def _write_params(path: Path, model: Model, framework: str) -> None:
    mxnet_params.write(path, _flat(model, framework))


def _flat(model: Model, framework: str) -> dict[str, weights.Array]:
    layers = from_canonical(model.network, framework, model.weights)
    return {f"{layer}.{name}": a for layer, arrays in layers.items() for name, a in arrays.items()}


_SAFETENSORS = (".safetensors",), _read_safetensors, _write_safetensors
_KERAS = keras_files.read, keras_files.write
FORMATS: dict[str, Format] = {
    "pytorch": Format("PyTorch state dict as safetensors", "pytorch", *_SAFETENSORS),
    "flax": Format("Flax NNX state as safetensors", "jax", *_SAFETENSORS),
    "keras": Format("Keras model or weights", "tensorflow", (".keras", ".h5"), *_KERAS),
    "mxnet": Format("MXNet parameters", "mxnet", (".params",), _read_params, _write_params),
}
"""The frameworks' own formats; the project's own (`netinnet`) is `weights.save` and `load`."""


PICKLES = (".pt", ".pth", ".pkl", ".bin", ".ckpt")


def read(
    path: Path, network: Network | None, name: str | None = None
) -> tuple[Model, dict[str, str]]:
    """The model in a file of any format, and each layer with a foreign file's name for it.

    `network` says what a foreign file's weights belong to. Raises ModelError where the file is
    damaged, needs a network, or has other layers.
    """
    name = name or detect(path)
    if name in ("netinnet", "onnx"):
        return model_files.find(path), {}
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    if network is None:
        raise ModelError(
            f"{path}: this kind of file ({FORMATS[name].title}) does not say which network it is; "
            f"give --network"
        )
    framework, layers = FORMATS[name].framework, FORMATS[name].read(path)
    pairs = matched(network, framework, layers, str(path))
    values = to_canonical(network, framework, layers, pairs, str(path))
    return Model(network, values), pairs


def write(path: Path, model: Model, name: str | None = None) -> str:
    """Write a model; the file appears whole or not at all. Returns the format's name."""
    name = name or by_name(path)
    if name is None or path.is_dir():
        raise ModelError(f"{path}: unknown kind of file; {_endings()}")
    expected = {"netinnet": (".safetensors",), "onnx": (".onnx",)}.get(name)
    if not path.name.endswith(expected or FORMATS[name].extensions):
        raise ModelError(
            f"{path}: format {name} has files called *{(expected or FORMATS[name].extensions)[0]}"
        )
    if name == "keras" and path.suffix == ".h5" and not path.name.endswith(".weights.h5"):
        raise ModelError(f"{path}: Keras wants the name of a weights file to end in .weights.h5")
    if name == "netinnet":
        weights.save(path, model)
    elif name == "onnx":
        onnx_graph.write(path, model)
    else:
        FORMATS[name].write(path, model, FORMATS[name].framework)
    return name


def detect(path: Path) -> str:
    """The format of an existing file: by its name, safetensors files by what is in them."""
    if path.suffix in PICKLES:
        raise ModelError(
            f"{path}: this kind of file is a pickle, which can run any code; save the weights as "
            f"safetensors: safetensors.torch.save_file(net.state_dict(), 'net.safetensors')"
        )
    if path.is_dir():
        return "netinnet"
    name = by_name(path)
    if name is None:
        raise ModelError(f"{path}: unknown kind of file; {_endings()}")
    if name != "netinnet" or not path.is_file():
        return name
    tensors, metadata = weights.load_tensors(path)
    if metadata.get("format") == weights.FORMAT:
        return "netinnet"
    return "flax" if any(key.endswith("kernel") for key in tensors) else "pytorch"


def by_name(path: Path) -> str | None:
    """The format that a file's name says; safetensors is the project's own."""
    if path.suffix == ".safetensors":
        return "netinnet"
    if path.suffix == ".onnx":
        return "onnx"
    return next((name for name, f in FORMATS.items() if path.suffix in f.extensions), None)


def _endings() -> str:
    return "known are .safetensors, .keras, .weights.h5, .params, .onnx"
