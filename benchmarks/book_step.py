"""The chapter's training step: `--recipe book` against the chapter's own code, in each framework.

Each turn is a process of its own, in turns (ours, plain, ours, plain, …), so that a machine whose
speed drifts treats both alike, and so that peak memory can be read for each. A step is everything:
loading, resizing to 224×224, forward, backward, update. The plain code is in `benchmarks/plain`.
MXNet runs in `.venv-mxnet`, where its environment is.

    python benchmarks/book_step.py                        # PyTorch, about 4 minutes
    python benchmarks/book_step.py --framework jax        # or tensorflow, mxnet
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

BATCH = 128
WARMUP = 1


def ours(framework: str, steps: int) -> float:
    """Images/s of the loop's own step, as `nin train --recipe book` does it."""
    from netinnet import process_memory
    from netinnet.data import batches, datasets
    from netinnet.preprocessing import normalise
    from netinnet.training import parts, recipe

    book = recipe.load("book", framework=framework)
    data = datasets.load("fashion-mnist")
    net = parts.network_for(book)
    learner = parts.learner_for(book, net, data.facts)
    process_memory.keep_freed_memory()
    order = batches.order(len(data.train), book.seed, 0)
    began = 0.0
    for step in range(WARMUP + steps):
        if step == WARMUP:
            began = time.perf_counter()
        chosen = order[step * BATCH : (step + 1) * BATCH]
        images = normalise(data.train.images[chosen], net.preprocessing)
        learner.step(images, data.train.labels[chosen], book.learning_rate, step + 1, step)
    return BATCH * steps / (time.perf_counter() - began)


def child(framework: str, which: str, steps: int) -> None:
    from netinnet import process_memory

    plain = importlib.import_module(f"benchmarks.plain.{framework}")
    speed = ours(framework, steps) if which == "ours" else plain.speed(WARMUP, steps)
    peak = (process_memory.peak_bytes() or 0) / 2**20
    gflops = 2 * 2048**3 / min(plain.multiply(2048) for _ in range(6)) / 1e9
    print(json.dumps({"speed": speed, "memory": peak, "gflops": gflops}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--framework", default="pytorch", help="pytorch, tensorflow, jax or mxnet")
    parser.add_argument("--pairs", type=int, default=4, help="turns of each (default 4)")
    parser.add_argument("--steps", type=int, default=4, help="timed steps a turn (default 4)")
    parser.add_argument("--child", choices=("ours", "plain"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.framework, options.child, options.steps)
        return
    own = ROOT / ".venv-mxnet/bin/python"
    python = str(own) if options.framework == "mxnet" and own.exists() else sys.executable
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    results: dict[str, list[dict[str, Any]]] = {"ours": [], "plain": []}
    for turn in range(options.pairs):
        for which, found in results.items():
            command = [python, __file__, "--child", which, "--steps", str(options.steps)]
            command += ["--framework", options.framework]
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, env=environment
            )
            if done.returncode:
                raise SystemExit(done.stderr)
            found.append(json.loads(done.stdout.splitlines()[-1]))
            latest = found[-1]
            print(f"turn {turn + 1} {which:5}: {latest['speed']:.1f} images/s", file=sys.stderr)
    ratios = [
        a["speed"] / b["speed"] for a, b in zip(results["ours"], results["plain"], strict=True)
    ]
    ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
    print(
        "| | images/s, median (min–max) | peak memory, MB | matrix-multiply peak, GFLOP/s", end=""
    )
    print(" | ours/plain, median (min–max) of the pairs |\n|---|---|---|---|---|")
    for which, found in results.items():
        speeds = sorted(r["speed"] for r in found)
        print(
            f"| {options.framework}, {which} "
            f"| {statistics.median(speeds):.1f} ({speeds[0]:.1f}–{speeds[-1]:.1f}) "
            f"| {max(r['memory'] for r in found):.0f} "
            f"| {statistics.median(r['gflops'] for r in found):.0f} "
            f"| {ratio if which == 'ours' else ''} |"
        )


if __name__ == "__main__":
    main()
