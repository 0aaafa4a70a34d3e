"""Reading and writing a model in any format, told by the file's name or by its format's name.

What a file knows is read: netinnet's own description where it has one, else the description that
Keras, ONNX and Gluon keep of a model (`keras_config`, `onnx_files`, `gluon_symbol`). Of arrays
alone `--network` says what they belong to, and what is assumed with it is told (`assumptions`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from netinnet import weights
from netinnet.errors import ModelError, NetinnetError
from netinnet.formats import (
    agreement,
    assumptions,
    extras,
    gluon_symbol,
    keras_files,
    mxnet_params,
    onnx_files,
    tensor_file,
)
from netinnet.formats.assumptions import Assumption
from netinnet.formats.chain import Chain
from netinnet.formats.matching import Layers, from_canonical, grouped, matched, to_canonical
from netinnet.inference import model_files, onnx_graph
from netinnet.networks.network import Network, Preprocessing
from netinnet.weights import Model


@dataclass(frozen=True)
class Given:
    """What the user says beside the file."""

    network: Network | None = None
    """What the weights belong to."""
    size: tuple[int, int] | None = None
    """Height and width of the pictures, for a description that leaves them open."""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    classes: tuple[str, ...] = ()
    """Names for the classes of a description, which has none."""
    pairs: Mapping[str, str] = field(default_factory=dict)
    """The file's name of a layer, and the network's."""


@dataclass(frozen=True)
class Reading:
    """A model from a file, and what there is to say of it."""

    model: Model
    pairs: Mapping[str, str] = field(default_factory=dict)
    """Each layer with a foreign file's name for it."""
    said: Sequence[str] = ()
    """What was left out or adapted."""
    assumed: Sequence[Assumption] = ()
    """What the file does not say."""
    is_own: bool = False
    """Whether netinnet's own description came with it."""


@dataclass(frozen=True)
class Format:
    """A framework's own file: how it is called, how its layers are read and written."""

    title: str
    framework: str
    extensions: tuple[str, ...]
    read: Callable[[Path], tuple[Layers, Sequence[str]]]
    """Layers of arrays, and what there is to say of them."""
    write: Callable[[Path, Model, str], None]


OWN = "netinnet."
"""What our own metadata is called in another framework's safetensors file."""


def _read_safetensors(path: Path) -> tuple[Layers, Sequence[str]]:
    tensors, said = tensor_file.read(path)
    # Flax's own flattening separates by "/" or ".".
    return grouped({name.replace("/", "."): array for name, array in tensors.items()}), said


def _write_safetensors(path: Path, model: Model, framework: str) -> None:
    own = {OWN + name: text for name, text in weights.metadata_of(model).items()}
    weights.save_tensors(path, _flat(model, framework), {**own, "format": framework})


def _read_params(path: Path) -> tuple[Layers, Sequence[str]]:
    return grouped(mxnet_params.read(path)), ()


def _write_params(path: Path, model: Model, framework: str) -> None:
    mxnet_params.write(path, _flat(model, framework))


def _flat(model: Model, framework: str) -> dict[str, weights.Array]:
    layers = from_canonical(model.network, framework, model.weights)
    return {f"{layer}.{name}": a for layer, arrays in layers.items() for name, a in arrays.items()}


_SAFETENSORS = (".safetensors",), _read_safetensors, _write_safetensors
_KERAS = keras_files.read, keras_files.write
FORMATS: dict[str, Format] = {
    "pytorch": Format("PyTorch state dict as safetensors", "pytorch", *_SAFETENSORS),
    "flax": Format("Flax state as safetensors", "jax", *_SAFETENSORS),
    "keras": Format("Keras model or weights", "tensorflow", (".keras", ".h5"), *_KERAS),
    "mxnet": Format("MXNet parameters", "mxnet", (".params",), _read_params, _write_params),
}
"""The frameworks' own formats; the project's own (`netinnet`) is `weights.save` and `load`."""


PICKLES = (".pt", ".pth", ".pkl", ".bin", ".ckpt")


def read(path: Path, given: Given | None = None, name: str | None = None) -> Reading:
    """The model in a file of any format.

    Raises ModelError where the file is damaged, needs a network, has other layers than the given
    one, or computes what no network here can.
    """
    given, name = given or Given(), name or detect(path)
    if not path.exists():
        raise ModelError(f"{path}: no such file")
    try:
        return _read(path, given, name)
    except NetinnetError:
        raise
    except Exception as error:  # what is made of a damaged description can raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(f"{path}: damaged, or no file of its kind ({reason})") from error


def _read(path: Path, given: Given, name: str) -> Reading:
    if name == "netinnet" or (name == "onnx" and onnx_files.is_own(path)):
        return _own(Reading(model_files.find(path), is_own=True), given, path)
    if about := _own_metadata(path, name):
        network = weights.network_of(about, str(path))
        calibration = weights.calibration_of(network, about, str(path))
        found = _of_arrays(path, name, network, Given())
        model = dataclasses.replace(found.model, notes=about, calibration=calibration)
        return _own(Reading(model, is_own=True), given, path)
    if (described := _description(path, name, given)) is not None:
        if given.pairs:
            raise ModelError(f"{path}: says itself which layer is which; leave out --map")
        return _of_description(*described, given, str(path), path.stem)
    if given.network is None:
        raise ModelError(
            f"{path}: this kind of file ({FORMATS[name].title}) does not say which network it is; "
            f"give --network"
        )
    network = assumptions.adjusted(given.network, mean=given.mean, std=given.std)
    return _of_arrays(path, name, network, given)


def _of_arrays(path: Path, name: str, network: Network, given: Given) -> Reading:
    """The arrays in a file as the weights of a network."""
    framework, (every, said) = FORMATS[name].framework, FORMATS[name].read(path)
    is_scaling_given = given.mean is not None and given.std is not None
    layers, apart = extras.set_apart(every, str(path), is_scaling_given)
    pairs = matched(network, framework, layers, str(path), given.pairs)
    values = to_canonical(network, framework, layers, pairs, str(path))
    return Reading(Model(network, values), pairs, (*said, *apart), assumptions.assumed(network))


def _own(reading: Reading, given: Given, path: Path) -> Reading:
    """A model with our description, which leaves nothing to be said."""
    network = reading.model.network
    if given.network is not None and given.network != network:
        raise ModelError(f"{path}: has its own network, {network.name}; leave out --network")
    flags: dict[str, object] = {"--mean": given.mean, "--std": given.std, "--map": given.pairs}
    flags |= {"--image-size": given.size, "--dataset": given.classes}
    if given.network is None and (loose := [flag for flag, value in flags.items() if value]):
        raise ModelError(f"{path}: has its own network, {network.name}; leave out {loose[0]}")
    return reading


def _own_metadata(path: Path, name: str) -> dict[str, str] | None:
    """Our own description in another framework's file."""
    if name == "keras":
        return keras_files.own_metadata(path)
    if name not in ("pytorch", "flax"):
        return None
    _, metadata = tensor_file.header(path)
    own = {key.removeprefix(OWN): v for key, v in metadata.items() if key.startswith(OWN)}
    return own or None


def _description(path: Path, name: str, given: Given) -> tuple[Chain, str] | None:
    """The network that the file describes, and its name; None where it is arrays alone."""
    size = given.network.input[1:] if given.network else given.size
    if name == "onnx":
        return onnx_files.described(path, size)
    if name == "keras":
        return keras_files.described(path, size)
    symbol = gluon_symbol.beside(path) if name == "mxnet" else None
    return gluon_symbol.described(symbol, mxnet_params.read(path), size) if symbol else None


def _of_description(chain: Chain, name: str, given: Given, where: str, stem: str) -> Reading:
    model, pairs = chain.model(name if name.isprintable() and name else stem)
    network, own = given.network, chain.scaling.preprocessing(where, given.mean, given.std)
    if network is not None:
        model, pairs = agreement.adopted(model, pairs, network, where)
        theirs, fit = network.preprocessing, network.preprocessing.fit
        if not chain.scaling.is_said and given.mean is None and given.std is None:
            own = theirs
        elif theirs not in (
            Preprocessing(fit=theirs.fit),
            dataclasses.replace(own, fit=theirs.fit),
        ):
            raise ModelError(
                f"{where}: scales pictures to mean {own.mean} and std {own.std}, {network.name} to "
                f"{theirs.mean} and {theirs.std}; leave out --network to take it as it is"
            )
        own = dataclasses.replace(own, fit=fit)
    classes = given.classes or (network or model.network).classes
    if len(classes) != len(model.network.classes):
        raise ModelError(
            f"{where}: has {len(model.network.classes)} classes, {len(classes)} names are given"
        )
    made = dataclasses.replace(model.network, preprocessing=own, classes=classes)
    assumed = [] if chain.scaling.is_said else [assumptions.scaling(made)]
    if classes == tuple(map(str, range(len(classes)))):
        assumed.append(assumptions.classes(made))
    return Reading(Model(made, model.weights), pairs, chain.said, assumed)


def lost(name: str, path: Path, model: Model) -> str | None:
    """What a file of a format can't hold, and what brings it back; None where it holds all."""
    if name != "mxnet" and not path.name.endswith(".weights.h5"):
        return None
    kept = {"the recipe": "recipe", "the data set": "dataset"}
    notes = [what for what, key in kept.items() if key in model.notes]
    notes += ["the calibration"] * (model.calibration is not None)
    gone = f"; {' and '.join(notes)} can't come back" if notes else ""
    return (
        f"{path.name} holds arrays alone, not the network, its classes and its scaling: to convert "
        f"it back, give the model as --network{gone}"
    )


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
    tensors, metadata = tensor_file.header(path)
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
