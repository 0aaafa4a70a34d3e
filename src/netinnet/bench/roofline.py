"""What bounds each layer of a training step: arithmetic or memory, and how near it comes.

The roofline model (Williams, Waterman, Patterson 2009): a layer can't take less time than its
FLOPs at the machine's peak, nor less than its bytes at the memory's. Here the peaks are those of a
matrix product and of a copy in the same process.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netinnet.bench import kept as results
from netinnet.frameworks import FRAMEWORKS
from netinnet.fresh_process import ask
from netinnet.training import recipe as recipes

MEASURED = (("pytorch", "book"), ("pytorch", "fashion"), ("tensorflow", "book"), ("jax", "book"))
"""In which framework, and by which recipe: a large network, a small one with batch norm."""
PACKAGES = {"pytorch": "torch", "tensorflow": "tensorflow", "jax": "flax"}


@dataclass(frozen=True)
class LayerTime:
    """A layer in training, forward and backward."""

    name: str
    what: str
    flops: float
    """Of the plain sum: those that a computation saves are counted all the same."""
    bytes: float
    """Each array read or written once each way: what can't be less."""
    seconds: float


@dataclass(frozen=True)
class Roofline:
    """The layers of a network, and the machine's peaks in FLOP/s and bytes/s."""

    network: str
    pictures: int
    peak: float
    bandwidth: float
    layers: tuple[LayerTime, ...]
    framework: str = "PyTorch"

    def least_seconds(self, layer: LayerTime) -> float:
        return max(layer.flops / self.peak, layer.bytes / self.bandwidth)

    def bound(self, layer: LayerTime) -> str:
        """What a layer waits for at best."""
        is_memory = layer.bytes / self.bandwidth > layer.flops / self.peak
        return "memory" if is_memory else "arithmetic"

    @property
    def share(self) -> float:
        """The least time of all layers, of the time they take."""
        least = sum(self.least_seconds(layer) for layer in self.layers)
        return least / sum(layer.seconds for layer in self.layers)


def kept(file: Path, here: dict[str, Any]) -> list[Roofline]:
    """What was measured before on the machine `here`. Raises NetinnetError, as `results.read`."""
    return results.read(file, _made, here)


def _made(layers: list[dict[str, Any]], **others: Any) -> Roofline:
    return Roofline(layers=tuple(LayerTime(**layer) for layer in layers), **others)


def run(file: Path, listener: Callable[[str], object], here: dict[str, Any]) -> None:
    """Measure what the file lacks, in the order of MEASURED; each is written at once.

    A framework that is not installed is left out, and said to be.
    """
    done = kept(file, here)
    have = {(roof.framework, roof.network) for roof in done}
    for framework, recipe in MEASURED:
        if (FRAMEWORKS[framework].title, recipes.load(recipe).network) in have:
            continue
        package = PACKAGES[framework]
        if importlib.util.find_spec(package) is None:
            listener(f"left out, {package} is not installed: {recipe} in {framework}")
            continue
        listener(f"the layers of {recipe} in {framework} …")
        done.append(_made(**ask(peer(framework), {"recipe": recipe, "framework": framework})))
        results.write(file, done, here)


def peer(framework: str) -> str:
    """The module that measures the layers."""
    return f"netinnet.bench.peers.layers_{framework}"
