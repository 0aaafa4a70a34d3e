"""What the loader's thread is worth: steps with it and without it, beside each other in one run.

    python benchmarks/loader.py

nin-small at 96 pixels (PyTorch, one thread, batches of 64) learns colour pictures of 96×96 made in
memory, with crops (8 pixels of padding) and flips. Steps with the thread and without it take turns,
so that both meet the same machine. It prints the median step of each, their ratio, and the share of
a step with the thread in which the loop waits for its batch.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import time
from collections.abc import Iterator

import numpy as np

from netinnet import data, process_memory
from netinnet.data.batches import Batch
from netinnet.data.loader import ahead
from netinnet.training import recipe as recipes
from netinnet.training.parts import learner_for, network_for
from netinnet.training.splits import training_batches

ROUND = 5
"""Steps of one kind before the other has its turn."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=6)
    rounds = parser.parse_args().rounds
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2048, 96, 96, 3), np.uint8)
    pair = (pictures, np.arange(len(pictures)) % 10)
    made = data.from_arrays("noise", pair, pair)
    recipe = recipes.load(
        *("fashion",),
        **{"image_size": 96, "batch_size": 64, "threads": 1, "device": "cpu"},
        **{"crop_padding": 8, "horizontal_flip": True},
    )
    network = network_for(recipe, facts=made.facts)
    learner = learner_for(recipe, network, made.facts)
    process_memory.keep_freed_memory()
    make = training_batches(recipe, network, made.train)
    step = itertools.count(1)
    waits: dict[str, list[float]] = {"with": [], "without": []}
    steps: dict[str, list[float]] = {"with": [], "without": []}

    def take(batches: Iterator[Batch], kind: str) -> None:
        began = time.perf_counter()
        images, _, targets = next(batches)
        ready = time.perf_counter()
        learner.step(images, targets, 1e-3, next(step), 0)
        waits[kind].append(ready - began)
        steps[kind].append(time.perf_counter() - began)

    for _ in range(rounds):
        plain = map(make, itertools.count())
        for _ in range(ROUND):
            take(plain, "without")
        with contextlib.closing(ahead(make, itertools.count())) as batches:
            next(batches)  # the thread starts; the first batch is never there already
            for _ in range(ROUND):
                take(batches, "with")
    medians = {kind: statistics.median(seconds) for kind, seconds in steps.items()}
    shares = {kind: sum(waits[kind]) / sum(steps[kind]) for kind in steps}
    for kind, seconds in medians.items():
        print(f"{kind} the thread: {1000 * seconds:.1f} ms a step, {shares[kind]:.1%} for data")
    print(f"ratio with/without: {medians['with'] / medians['without']:.3f}")


if __name__ == "__main__":
    main()
