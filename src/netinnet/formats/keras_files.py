"""Keras's `.keras`, `.h5` and `.weights.h5` files: read with h5py alone, written by Keras.

A `.keras` archive and a whole model in an `.h5` say what they compute (`keras_config`); a
`.weights.h5`, or an `.h5` that Keras 2 saved the weights in, is arrays alone.
"""

from __future__ import annotations

import io
import json
import lzma
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from netinnet import frameworks, weights
from netinnet.errors import FrameworkError, ModelError
from netinnet.files import write_bytes
from netinnet.formats import keras_config
from netinnet.formats.chain import Chain
from netinnet.formats.matching import Layers, natural
from netinnet.weights import Model

_WEIGHTS = "model.weights.h5"
"""The member of a .keras archive that holds the weights."""
_CONFIG = "config.json"
OWN = "netinnet.json"
"""The member of a .keras archive that holds our own description; Keras ignores it."""
_LAYERS = ("layers", "_layer_checkpoint_dependencies")
"""What Keras calls the group of a model's layers."""
_TENSORS = {
    1: ("kernel",),
    2: ("kernel", "bias"),
    4: ("gamma", "beta", "moving_mean", "moving_variance"),
}
"""Keras numbers a layer's arrays; what they are follows from how many there are."""
_LARGER, _ALWAYS = 8, 2**24
"""Nothing in a file unpacks to more than so many times its bytes, and so many bytes: weights hardly
shrink."""
_MOST_PARTS = 20_000
_LARGEST_TEXT = 2**27
T = TypeVar("T")


def read(path: Path) -> tuple[Layers, list[str]]:
    """The layers that have weights, in the model's order, and what is left out, a line each.

    Raises ModelError, FrameworkError.
    """

    def found(_: Any, file: Any) -> tuple[Layers, list[str]]:
        if "layer_names" in file.attrs:
            return _layers_of_keras_2(file), []
        optimizer = file.get("optimizer", {}).get("vars", ())
        said = "left out, since no output depends on it: what the optimizer keeps"
        return _layers(file), [said] * bool(len(optimizer))

    return _guarded(path, lambda: _opened(path, found))


def described(path: Path, size: tuple[int, int] | None) -> tuple[Chain, str] | None:
    """The network that the file describes, and its name; None for weights alone.

    `size` is height and width where the file leaves them open.
    """

    def found(config: Any, file: Any) -> tuple[Chain, str] | None:
        if config is None:
            return None
        if "model_weights" in file or "layer_names" in file.attrs:
            arrays = _of_names(file.get("model_weights", file))
        else:
            arrays = _of_paths(file)
        made = keras_config.chain(config, _checked(arrays, str(path)), str(path), size)
        return made, keras_config.name_of(config)

    return _guarded(path, lambda: _opened(path, found))


def own_metadata(path: Path) -> dict[str, str] | None:
    """What netinnet wrote beside Keras's own members of an archive; None where there is nothing."""

    def found() -> dict[str, str] | None:
        if path.suffix != ".keras":
            return None
        with zipfile.ZipFile(path) as archive:
            if OWN not in archive.namelist():
                return None
            data = json.loads(_member(archive, OWN))
        return {str(key): str(value) for key, value in dict(data).items()}

    return _guarded(path, found)


def _guarded(path: Path, act: Callable[[], T]) -> T:
    try:
        return act()
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise ModelError(f"{path}: cannot be read as Keras weights ({reason})") from error
    except _DAMAGES as error:
        raise ModelError(f"{path}: not a Keras file, or damaged ({error})") from error


def _opened(path: Path, act: Callable[[Any, Any], T]) -> T:
    """What `act` makes of the model's config (None for weights alone) and its HDF5 file."""
    try:
        import h5py
    except ImportError as error:
        raise FrameworkError("reading Keras's files needs h5py: pip install h5py") from error
    config, data = None, b""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            data = _member(archive, _WEIGHTS)
            if _CONFIG in archive.namelist():
                config = json.loads(_member(archive, _CONFIG))
    data = data or path.read_bytes()
    with h5py.File(io.BytesIO(data), "r") as file:
        left = _check_parts(h5py, file, _LARGER * len(data) + _ALWAYS, [_MOST_PARTS])
        if left < 0:
            raise ValueError("its arrays promise more values than it can hold")
        if "model_config" in file.attrs:
            config = json.loads(file.attrs["model_config"])
        return act(config, file)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """The content of a member. Raises ValueError where it is much more than the archive has."""
    packed = sum(info.compress_size for info in archive.infolist() if info.filename == name)
    limit = _LARGER * packed + _ALWAYS if name == _WEIGHTS else _LARGEST_TEXT
    with archive.open(name) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{name} unpacks to more than {limit:,} bytes")
    return content


def _check_parts(h5py: Any, group: Any, room: int, parts: list[int]) -> int:
    """What is left of `room` behind the arrays' bytes; below 0 where they are too many.

    `parts` holds how many more parts there may be: a group can be linked to from many places, and
    from within itself. Raises ValueError where a part of the file is another file.
    """
    for name in group:
        parts[0] -= 1
        if parts[0] < 0:
            raise ValueError(f"more than {_MOST_PARTS:,} parts")
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            raise ValueError(f"{name} is in another file")  # noqa: TRY004 - the file's fault
        child = group[name]
        if isinstance(child, h5py.Group):
            room = _check_parts(h5py, child, room, parts)
        elif isinstance(child, h5py.Dataset):
            if child.external or child.is_virtual:
                raise ValueError(f"{name} is in another file")
            room -= child.size * child.dtype.itemsize if child.size else 0
    return room


def _checked(arrays: keras_config.Arrays, where: str) -> keras_config.Arrays:
    def found(path: tuple[str, ...], names: Sequence[str]) -> dict[str, Any]:
        own = arrays(path, names)
        if len(own) != len(names):
            name = "/".join(path)
            raise ModelError(
                f"{where}: layer {name} should have {', '.join(names)}; it has {len(own)}"
            )
        return own

    return found


def _of_paths(file: Any) -> keras_config.Arrays:
    """Arrays of a file of Keras 3: groups called by class and number, with the layer's name."""

    def child(group: Any, name: str) -> Any:
        layers = next((group[key] for key in _LAYERS if key in group), group)
        for key in layers:
            if "vars" in layers[key] and layers[key]["vars"].attrs.get("name") == name:
                return layers[key]
        return layers[name]

    def arrays(path: tuple[str, ...], names: Sequence[str]) -> dict[str, Any]:
        group = file
        for name in path:
            group = child(group, name)
        own = [np.asarray(group["vars"][key]) for key in sorted(group["vars"], key=natural)]
        more = map(str, range(len(names), len(own)))  # refused by name
        return dict(zip((*names, *more), own, strict=False))

    return arrays


def _of_names(file: Any) -> keras_config.Arrays:
    """Arrays of a whole model in an .h5: a group for each outer layer, which names its arrays."""

    def arrays(path: tuple[str, ...], names: Sequence[str]) -> dict[str, Any]:
        group = file[path[0]]
        found = {}
        for full in map(_text, group.attrs["weight_names"]):
            parts = full.split("/")
            if len(path) == 1 or path[-1] in parts[:-1]:
                tensor = parts[-1].partition(":")[0]
                if tensor in found:
                    raise ValueError(f"two arrays are called {path[-1]}/{tensor}")
                found[tensor] = np.asarray(group[full])
        return {name: found[name] for name in names if name in found}

    return arrays


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


_DAMAGES = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, MemoryError),
    *(KeyError, ValueError, TypeError, RuntimeError, NotImplementedError),
)


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
                layers[path] = _named([np.asarray(child[k]) for k in sorted(child, key=natural)])
            elif path or name != "optimizer":
                visit(child, f"{path}/{name}".strip("/").replace("layers/", ""))

    visit(file, "")
    return layers


def _named(arrays: list[Any]) -> dict[str, Any]:
    """A layer's arrays by their names; by their numbers where it is none with weights of ours."""
    names = _TENSORS.get(len(arrays), ())
    if len(arrays) == 3 and arrays[2].dtype.kind in "iu":
        names = ("mean", "variance", "count")  # Normalization
    if not names or (names == ("kernel",) and arrays[0].ndim not in (2, 4)):
        names = tuple(map(str, range(len(arrays))))
    return dict(zip(names, arrays, strict=True))


def _layers_of_keras_2(file: Any) -> Layers:
    """Groups by the names of their layers, which the file lists in the model's order."""
    layers: Layers = {}
    for group in (*map(_text, file.attrs["layer_names"]), "top_level_model_weights"):
        for full in map(_text, file[group].attrs["weight_names"]) if group in file else ():
            layer, _, tensor = full.rpartition("/")
            layer = layer if group in layer.split("/") else f"{group}/{layer}".rstrip("/")
            layers.setdefault(layer, {})[tensor.partition(":")[0]] = np.asarray(file[group][full])
    return layers


def write(path: Path, model: Model, framework: str) -> None:
    """Write with Keras itself, atomically: a whole model (.keras) or its weights (.weights.h5).

    An archive also holds our own description (`OWN`), so that the way back is exact. Raises
    FrameworkError where TensorFlow is missing.
    """
    native = frameworks.adapter(framework).build(model.network, model.weights)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / ("model.keras" if path.suffix == ".keras" else _WEIGHTS)
        if path.suffix == ".keras":
            native.save(made)
            with zipfile.ZipFile(made, "a") as archive:
                archive.writestr(OWN, json.dumps(weights.metadata_of(model), ensure_ascii=False))
        else:
            native.save_weights(made)
        write_bytes(path, made.read_bytes())
