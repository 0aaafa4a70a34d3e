"""How long does a training step take here? A few of them, timed on made-up pictures."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np

from netinnet import process_memory
from netinnet.data.source import Arrays, Facts
from netinnet.inference import model_files
from netinnet.networks.network import Network
from netinnet.training import teaching
from netinnet.training.parts import learner_for
from netinnet.training.recipe import Recipe
from netinnet.training.splits import training_batches

STEP_SECONDS, MOST_STEPS = 1.0, 100
"""Timed steps: at least one behind the first, then until so long or so many."""
EVALUATED = 1 / 3
"""What the evaluation of a picture takes of its step: one pass forward of three."""


def seconds_of_steps(recipe: Recipe, network: Network, facts: Facts) -> list[float]:
    """Seconds of training steps behind the first one, which also compiles and allocates.

    A teacher's pass is in them. Raises ModelError where it can't teach this network.
    """
    learner = learner_for(recipe, network, facts)
    process_memory.keep_freed_memory()  # as a training does
    rng = np.random.default_rng(0)
    channels, height, width = learner.settings.source
    pictures = rng.integers(0, 256, (recipe.batch_size, height, width, channels), np.uint8)
    labels = rng.integers(0, len(network.classes), recipe.batch_size)
    teacher = None
    if recipe.teacher:
        taught_by = model_files.find(Path(recipe.teacher))
        teaching.check(network, taught_by, recipe.teacher)
        teacher = teaching.teacher(recipe, taught_by, learner.threads)
    batch = learner.batches(training_batches(recipe, network, Arrays(pictures, labels), teacher))
    seconds: list[float] = []
    for step in range(1, MOST_STEPS + 2):
        began = time.perf_counter()
        images, _, targets = batch(step)
        learner.step(images, targets, rate=1e-4, step=step, seed=0)
        if step > 1:
            seconds.append(time.perf_counter() - began)
        if sum(seconds) >= STEP_SECONDS:
            break
    return seconds


def seconds_of_an_epoch(
    recipe: Recipe, network: Network, facts: Facts, trained: int, evaluated: int
) -> float:
    """Seconds that training on so many pictures and evaluating so many others will take."""
    step = statistics.median(seconds_of_steps(recipe, network, facts))
    return step / recipe.batch_size * (trained + evaluated * EVALUATED)
