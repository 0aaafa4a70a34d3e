"""A recipe over several seeds: mean and standard deviation, as the docs quote them.

    python benchmarks/seeds.py --recipe fashion --seeds 5 --output runs/seeds    # about 20 minutes

Finished runs in the output folder are not trained again.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from netinnet.training import recipe, start
from netinnet.training.run import Run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--recipe", default="fashion")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("runs/seeds"))
    options = parser.parse_args()
    found = []
    for seed in range(options.seeds):
        folder = options.output / f"seed-{seed}"
        run = Run(folder)
        if not run.is_finished:
            print(f"seed {seed}", file=sys.stderr)
            if run.recipe_file.is_file():
                run = start.resume(folder)
            else:
                run = start.train(recipe.load(options.recipe, seed=seed), output=folder)
        found.append(run.metrics())
    print("| seed | test accuracy | test loss | training, s | images/s |")
    print("|---|---|---|---|---|")
    for seed, m in enumerate(found):
        print(
            f"| {seed} | {m['test']['accuracy']:.4f} | {m['test']['loss']:.4f} "
            f"| {m['training_seconds']:.0f} | {m['images_per_second']:.0f} |"
        )
    accuracies = [m["test"]["accuracy"] for m in found]
    seconds = [m["training_seconds"] for m in found]
    spread = statistics.stdev(accuracies) if len(found) > 1 else 0.0
    print(
        f"\ntest accuracy {statistics.mean(accuracies):.4f} ± {spread:.4f} (n = {len(found)}), "
        f"{min(seconds):.0f}–{max(seconds):.0f} s of training"
    )


if __name__ == "__main__":
    main()
