"""A recipe over several seeds in several frameworks: mean and standard deviation, for the docs.

    python benchmarks/seeds.py --recipe fashion --seeds 3 --frameworks pytorch tensorflow jax mxnet

Runs lie in OUTPUT/FRAMEWORK-SEED; finished ones are not trained again, begun ones go on. Frameworks
that are not installed here are only read: run it once in each environment with the same --output.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

from netinnet.frameworks import FRAMEWORKS
from netinnet.training import recipe, start
from netinnet.training.run import Run


def metrics_of(framework: str, seed: int, options: argparse.Namespace) -> dict[str, Any] | None:
    """The figures of a finished run, which is trained where that can be done."""
    folder = options.output / f"{framework}-{seed}"
    run = Run(folder)
    if not run.is_finished:
        if not FRAMEWORKS[framework].is_installed:
            return None
        print(f"{framework}, seed {seed}", file=sys.stderr)
        if run.recipe_file.is_file():
            run = start.resume(folder)
        else:
            changes = {"seed": seed, "framework": framework, "threads": options.threads}
            run = start.train(recipe.load(options.recipe, **changes), output=folder)
    return run.metrics()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--recipe", default="fashion")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--frameworks", nargs="+", default=["pytorch"], choices=list(FRAMEWORKS))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--output", type=Path, default=Path("runs/seeds"))
    options = parser.parse_args()
    print("| framework | test accuracy, mean ± sd | n | of each seed |")
    print("|---|---|---|---|")
    for framework in options.frameworks:
        tried = [metrics_of(framework, seed, options) for seed in range(options.seeds)]
        found = [m for m in tried if m is not None]
        if not found:
            continue
        accuracies = [m["test"]["accuracy"] for m in found]
        spread = statistics.stdev(accuracies) if len(found) > 1 else 0.0
        print(
            f"| {FRAMEWORKS[framework].title} | {statistics.mean(accuracies):.4f} ± {spread:.4f} "
            f"| {len(found)} | {', '.join(f'{a:.4f}' for a in accuracies)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
