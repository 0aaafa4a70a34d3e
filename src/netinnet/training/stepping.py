"""One step of a training, as each of its processes takes it."""

from __future__ import annotations

from netinnet.data.batches import step_seed
from netinnet.data.targets import Batch
from netinnet.frameworks.learner import Learner
from netinnet.frameworks.processes import ALONE, Processes
from netinnet.preprocessing import Array
from netinnet.training.recipe import Recipe


def advance(
    learner: Learner,
    recipe: Recipe,
    batch: Batch,
    rate: float,
    step: int,
    processes: Processes = ALONE,
) -> Array:
    """A step of the weights, numbered from 1, and of their average; returns the step's logits."""
    targets = batch.targets
    if recipe.teacher is not None:  # only the first process has it
        targets = processes.sent(targets)
    logits = learner.step(batch.images, targets, rate, step, step_seed(recipe.seed, step))
    if recipe.weight_averaging is not None:
        learner.average(decay(recipe.weight_averaging, step))
    return logits


def decay(highest: float, step: int) -> float:
    """What an average keeps of itself at a step: little at first, since it begins with the initial
    weights, and `highest` in the end (as TensorFlow's ExponentialMovingAverage with num_updates).
    """
    return min(highest, (1 + step) / (10 + step))
