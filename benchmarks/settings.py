"""Settings of the process and of libraries that could change what a training learns.

    PYTHONPATH=. python benchmarks/settings.py

Each is set before a tiny training in a process of its own; prints whether the model's SHA-256 is
the one without it, or what the training was refused with.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from netinnet.frameworks import FRAMEWORKS
from tests.crash import training

SETTINGS: list[tuple[str, str, dict[str, str]]] = [
    ("pytorch", "torch.set_default_dtype(torch.float64)", {}),
    ("pytorch", 'torch.set_default_device("meta")', {}),
    ("pytorch", "torch.set_num_threads(2)", {}),
    ("pytorch", "torch.use_deterministic_algorithms(True)", {}),
    ("pytorch", "torch.manual_seed(7)", {}),
    ("pytorch", "torch.set_grad_enabled(False)", {}),
    ("pytorch", "torch.set_flush_denormal(True)", {}),
    ("pytorch", 'numpy.seterr(all="raise")', {}),
    ("pytorch", "", {"PYTHONHASHSEED": "7"}),
    ("pytorch", "", {"OMP_NUM_THREADS": "2"}),
    ("pytorch", "", {"LC_ALL": "tr_TR.UTF-8"}),
    ("pytorch", "", {"TZ": "Asia/Kolkata"}),
    ("pytorch", "", {"PYTHONOPTIMIZE": "2"}),
    ("tensorflow", 'keras.config.set_floatx("float64")', {}),
    ("tensorflow", 'keras.config.set_image_data_format("channels_first")', {}),
    ("tensorflow", 'keras.config.set_dtype_policy("mixed_bfloat16")', {}),
    ("tensorflow", "tensorflow.random.set_seed(7)", {}),
    ("jax", 'jax.config.update("jax_enable_x64", True)', {}),
    ("jax", 'jax.config.update("jax_default_matmul_precision", "bfloat16")', {}),
    ("jax", 'jax.config.update("jax_default_prng_impl", "rbg")', {}),
    ("jax", 'jax.config.update("jax_threefry_partitionable", False)', {}),
    ("jax", 'jax.config.update("jax_disable_jit", True)', {}),
]


def trained(code: str, environment: dict[str, str], flags: list[str]) -> str:
    """The digest of the model, or the last line on standard error."""
    module = code.partition(".")[0]
    first = f"import {module}; {code}; " if code else ""
    script = f"{first}from netinnet.cli.main import main; main()"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", script, "train", *flags, "--output", f"{folder}/run"]
        done = subprocess.run(
            command,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return (done.stderr.splitlines() or [""])[-1]
        return hashlib.sha256(Path(folder, "run/model.safetensors").read_bytes()).hexdigest()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        flags = training.make(Path(folder))
        usual: dict[str, str] = {}
        for framework, code, environment in SETTINGS:
            if not FRAMEWORKS[framework].is_installed:
                continue
            own = [*flags, "--framework", framework]
            if framework not in usual:
                usual[framework] = trained("", {}, own)
            found = trained(code, environment, own)
            same = "unchanged" if found == usual[framework] else "ANOTHER MODEL"
            result = found if found.startswith("nin:") else same if len(found) == 64 else found
            name = code or " ".join(f"{k}={v}" for k, v in environment.items())
            print(f"{framework:10} {name:62} {result}", flush=True)


if __name__ == "__main__":
    main()
