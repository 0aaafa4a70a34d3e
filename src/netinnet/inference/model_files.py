"""Finding a model: in a run folder, in a file, or the one that ships with the package."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import numpy as np

from netinnet import weights
from netinnet.errors import ModelError, nin
from netinnet.inference import onnx_digest, onnx_graph
from netinnet.networks.network import Network

WHOLE = "float32"
"""What an ONNX file's metadata calls an export that holds all of the model."""
SHIPPED = "nin-small-fashion-mnist.safetensors"


def shipped() -> Path:
    """The model trained by `make shipped-model`: nin-small on Fashion-MNIST."""
    return Path(str(resources.files("netinnet"))) / "models" / SHIPPED


def find(path: Path | None) -> weights.Model:
    """The model at `path`: a run folder, or a .safetensors or .onnx file that `nin` wrote.

    The shipped one for None. Raises ModelError where there is none, saying what would be right.
    """
    if path is None:
        return weights.load(shipped())
    if not path.is_dir():
        return _read_onnx(path) if path.suffix == ".onnx" else weights.load(path)
    if (path / "model.safetensors").is_file():
        return weights.load(path / "model.safetensors")
    if (path / "recipe.toml").is_file() and (path / "metrics.json").is_file():
        raise ModelError(
            f"{path}: the run is finished, but its model.safetensors is missing: put it back, or "
            f"{to_train_again(path)}"
        )
    if (path / "recipe.toml").is_file():
        raise ModelError(
            f"{path}: the run is not finished, it has no model.safetensors yet; "
            f"{nin('train', '--resume', path)} continues it"
        )
    raise ModelError(f"{path}: no model in this folder; give a run folder or a .safetensors file")


def to_train_again(run: Path) -> str:
    """What helps where results of a finished run are lost."""
    above = run.absolute().parents
    if len(above) > 2 and (above[2] / "study.toml").is_file():  # it is STUDY/runs/ARM/seed-N
        return f"remove {run}: the study trains it again when it is continued"
    return f"remove metrics.json, and {nin('train', '--resume', run)} trains the run again"


def _read_onnx(path: Path) -> weights.Model:
    """The model in an ONNX file that `nin` wrote.

    The network is in the metadata, the weights are the initialisers of the same names; the graph's
    nodes are not looked at, and nothing is run.
    """
    onnx = onnx_graph.require("onnx", "an ONNX file", "onnx>=1.21")
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    proto, metadata = onnx_digest.read(path)
    if (kind := metadata.get("export", WHOLE)) != WHOLE:
        cure = "give the model that it was made of"
        raise ModelError(f"{path}: an export ({kind}), which is not read back: {cure}")
    try:
        network = Network.from_json(metadata.get("network", ""))
        if json.loads(metadata.get("classes", "0")) != list(network.classes):
            raise ModelError("its list of classes is not its network's")
        # Of tensors in another file there is no raw data here.
        tensors = {
            tensor.name: np.frombuffer(tensor.raw_data, "<f4").reshape(tensor.dims).copy()
            for tensor in proto.graph.initializer
            if tensor.data_type == onnx.TensorProto.FLOAT and tensor.name not in onnx_graph.SCALING
        }
    except Exception as error:  # a foreign file's values can be anything
        raise _damaged(path, error) from error
    checked = weights.check(network, tensors, str(path))
    calibration = weights.calibration_of(network, metadata, str(path))
    skipped = (*onnx_graph.NOT_NOTES, *onnx_graph.ABOUT_FILE)
    notes = {name: text for name, text in metadata.items() if name not in skipped}
    if notes.get("licence") == onnx_graph.NO_LICENCE:
        del notes["licence"]
    return weights.Model(network, checked, notes, calibration)


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(f"{path}: not an ONNX file that nin wrote, or damaged ({error})")
