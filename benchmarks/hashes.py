"""SHA-256 of the trained tensors of short fixed runs: has a change left the numbers alone?

    python benchmarks/hashes.py --frameworks pytorch tensorflow jax > before.txt
    …change the code…
    python benchmarks/hashes.py --frameworks pytorch tensorflow jax | diff before.txt -

Each run trains on 640 (nin-small, nin-mnist) or 96 pictures of Fashion-MNIST with flips, crops,
dropout and a validation split, one thread, on the CPU. `book` at 84 pixels takes the folded
enlargement, at 100 the unfolded one. A digest is over the tensors' sorted names and bytes, so that
it does not depend on how a model file is laid out; it is the same on one machine and one set of
versions only.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

COMMON: dict[str, Any] = {
    "epochs": 2,
    "horizontal_flip": True,
    "crop_padding": 2,
    "dropout": 0.3,
    "validation": 0.1,
    "test_examples": 64,
    "label_smoothing": 0.1,
    "seed": 3,
    "threads": 1,
    "device": "cpu",
}
RUNS: dict[str, dict[str, Any]] = {
    "nin-small": {"recipe": "fashion", "train_examples": 640},
    "nin-mnist": {"recipe": "fashion", "network": "nin-mnist", "train_examples": 640},
    "book-84": {"recipe": "book", "image_size": 84, "train_examples": 96, "batch_size": 32},
    "book-100": {"recipe": "book", "image_size": 100, "train_examples": 96, "batch_size": 32},
}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4, "learning_rate": 0.02},
    "adamw": {"momentum": 0.0, "nesterov": False, "weight_decay": 0.01, "learning_rate": 1e-3},
    "muon": {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4, "learning_rate": 0.05},
}


def digest(file: Path) -> str:
    """SHA-256 over the sorted names and the bytes of a model file's tensors."""
    from safetensors.numpy import load_file

    found = hashlib.sha256()
    for name, array in sorted(load_file(file).items()):
        found.update(name.encode())
        found.update(array.tobytes())
    return found.hexdigest()


def print_digests(framework: str) -> None:
    """A line for each network and optimiser, trained in this process."""
    import netinnet

    for name, own in RUNS.items():
        for optimizer, settings in OPTIMIZERS.items():
            changes = {**COMMON, **own, **settings, "optimizer": optimizer, "framework": framework}
            recipe = changes.pop("recipe")
            with tempfile.TemporaryDirectory() as folder:
                run = netinnet.train(recipe, output=Path(folder) / "run", **changes)
                print(framework, name, optimizer, digest(run.model_file)[:32], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frameworks", nargs="+", required=True)
    frameworks = parser.parse_args().frameworks
    if len(frameworks) == 1:
        print_digests(frameworks[0])
        return
    for framework in frameworks:  # each in a process of its own: threads are settled once
        command = [sys.executable, __file__, "--frameworks", framework]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


if __name__ == "__main__":
    main()
