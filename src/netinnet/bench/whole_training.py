"""An epoch of `nin train` on generated pictures, for its speed and its memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from netinnet.data import folder, source
from netinnet.fresh_process import check_ended
from netinnet.networks.layers import Shape

TESTED = 100
"""Pictures that it is evaluated on."""


@dataclass(frozen=True)
class Trained:
    """What a training took."""

    images_per_second: float
    """Of its steps."""
    peak_bytes: int | None
    """Peak of the resident memory of the process that leads; None where the system tells none."""
    picture_bytes: int
    """Of the pictures that it learnt from."""


def run(
    shape: Shape, pictures: int, batch: int, *, threads: int, processes: int, shards: int | None
) -> Trained:
    """Train nin-small on so many pictures of random values and labels, with momentum.

    `threads` are those of each process. Raises FrameworkError with one line where it fails.
    """
    rng = np.random.default_rng(0)
    size = (shape.height, shape.width, shape.channels)

    def split(count: int) -> tuple[np.ndarray, np.ndarray]:
        return rng.integers(0, 256, (count, *size), np.uint8), np.arange(count) % 10

    with tempfile.TemporaryDirectory() as temporary:
        data, output = Path(temporary, "pictures"), Path(temporary, "run")
        train = split(pictures)
        folder.save(source.from_arrays(name="random", train=train, test=split(TESTED)), data)
        words = ["train", "--recipe", "fashion", "--dataset", str(data), "--epochs", "1"]
        words += ["--optimizer", "sgd", "--learning-rate", "0.05", "--batch-size", str(batch)]
        words += ["--threads", str(threads), "--processes", str(processes)]
        words += ["--shards", str(shards)] if shards else []
        words += ["--output", str(output), "--quiet", "--json"]
        command = [sys.executable, "-m", "netinnet", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    check_ended(done)
    metrics = json.loads(done.stdout)
    return Trained(metrics["images_per_second"], metrics["peak_memory_bytes"], train[0].nbytes)
