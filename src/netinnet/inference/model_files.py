"""Finding a model: in a run folder, in a file, or the one that ships with the package."""

from __future__ import annotations

import shlex
from importlib import resources
from pathlib import Path

from netinnet import weights
from netinnet.errors import ModelError

SHIPPED = "nin-small-fashion-mnist.safetensors"


def shipped() -> Path:
    """The model trained by `make shipped-model`: nin-small on Fashion-MNIST."""
    return Path(str(resources.files("netinnet"))) / "models" / SHIPPED


def find(path: Path | None) -> weights.Model:
    """The model at `path`: a run folder or a .safetensors file; the shipped one for None.

    Raises ModelError where there is none, saying what would be right.
    """
    if path is None:
        return weights.load(shipped())
    if not path.is_dir():
        return weights.load(path)
    if (path / "model.safetensors").is_file():
        return weights.load(path / "model.safetensors")
    if (path / "recipe.toml").is_file():
        raise ModelError(
            f"{path}: the run is not finished, it has no model.safetensors yet; "
            f"nin train --resume {shlex.quote(str(path))} goes on with it"
        )
    raise ModelError(f"{path}: no model in this folder; give a run folder or a .safetensors file")
