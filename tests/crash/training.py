"""A training that takes a blink: two dozen pictures of 8×8, a network of a hundred parameters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from netinnet import data

NETWORK = """\
channels = 1
size = 8
classes = 2
blocks = [
    { nin = [4, 4], kernel = 3, padding = 1, norm = true },
    { dropout = 0.5 },
    { nin = [4, "classes"], kernel = 1, norm = true, last_relu = false },
    { head = "gap" },
]
"""

UNSTABLE = """\
channels = 1
size = 8
classes = 2
blocks = [
    { layers = [{ layer = "Conv", channels = 4, kernel = 3 }] },
    { layers = [{ layer = "Conv", channels = 4, kernel = 3 }] },
    { layers = [{ layer = "Flatten" }, { layer = "Linear", features = "classes" }], name = "head" },
]
"""
"""Without batch norm and ReLU: its numbers soon overflow where the learning rate is too high."""


def arrays(count: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Pictures of noise, those of class 1 lighter in their upper half."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pictures = rng.integers(0, 100, (count, 8, 8, 1))
    pictures[labels == 1, :4] += 120
    return pictures.astype(np.uint8), labels.astype(np.int64)


def make(folder: Path) -> list[str]:
    """The data set and the network in a folder; returns the flags of a recipe of both.

    6 steps in 2 epochs, a checkpoint after each; dropout, crops and a validation split are random.
    """
    data.save(data.from_arrays("dots", arrays(24, 0), arrays(8, 1)), folder / "dots")
    (folder / "net.toml").write_text(NETWORK, "utf-8")
    return [
        *("--network", str(folder / "net.toml"), "--dataset", str(folder / "dots")),
        *("--epochs", "2", "--batch-size", "8", "--crop-padding", "1", "--validation", "0.2"),
        *("--threads", "1", "--checkpoint-seconds", "0"),
    ]
