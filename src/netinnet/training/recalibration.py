"""Batch norm's running statistics, computed anew behind the last step.

While weights change, running statistics are those of the weights a few steps before; those of
averaged weights belong to no weights at all. Here the final weights see some training batches, as
they are (without augmentation and dropout), and the statistics become the mean over these.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from netinnet import frameworks
from netinnet.data.batches import NONE, TrainingBatches
from netinnet.errors import RecipeError
from netinnet.frameworks.learner import Learner, LearnerSettings
from netinnet.frameworks.processes import ALONE
from netinnet.networks.layers import BatchNorm, Dropout
from netinnet.networks.network import Network
from netinnet.optimizer import Optimizer
from netinnet.weights import Weights


def check(batches: int | None, network: Network) -> None:
    """Raise RecipeError where there is nothing to compute anew."""
    if batches is not None and not _momenta(network):
        raise RecipeError(
            f"recalibrate is for batch norm, and {network.name} has none: leave it out"
        )


def recalibrate(learner: Learner, framework: str, batches: TrainingBatches, count: int) -> None:
    """Compute the statistics of what becomes the model anew, over `count` batches."""
    final = learner.final_weights()
    found = statistics(framework, learner.settings, final, batches, count)
    put = learner.set_averages if learner.averages else learner.set_weights
    put(final | found)


def statistics(
    framework: str,
    settings: LearnerSettings,
    weights: Weights,
    batches: TrainingBatches,
    count: int,
) -> Weights:
    """Running means and variances by name: the means over those of the first `count` batches.

    By steps with a learning rate of 0, so each framework computes them as in training; a running
    statistic that was 0 before a step then is the batch's own, times its momentum.
    """
    momenta = _momenta(settings.network)
    plain = dataclasses.replace(batches, augmentation=NONE, soft=None)
    own = dataclasses.replace(
        settings,
        network=_without_dropout(settings.network),
        optimizer=Optimizer(),
        averages=False,
        processes=ALONE,
        precision=None,  # as the model is evaluated
    )
    empty = weights | {name: np.zeros_like(weights[name]) for name in momenta}
    learner = frameworks.adapter(framework).learner(own, empty)
    sums = {name: np.zeros(weights[name].shape) for name in momenta}
    for number in range(count):
        batch = plain(number)
        learner.set_weights(empty)
        learner.step(batch.images, batch.targets, rate=0.0, step=1, seed=0)
        after = learner.weights()
        for name, momentum in momenta.items():
            sums[name] += after[name] / momentum
    return {name: (total / count).astype(np.float32) for name, total in sums.items()}


def _momenta(network: Network) -> dict[str, float]:
    """The running statistics by name, each with its weight of the newest batch."""
    return {
        f"{placed.name}.{name}": placed.layer.momentum
        for placed in network.placed_layers()
        if isinstance(placed.layer, BatchNorm) and placed.layer.momentum
        for name in ("running_mean", "running_var")
    }


def _without_dropout(network: Network) -> Network:
    """The network with the same names, that drops nothing."""
    blocks = tuple(
        dataclasses.replace(
            block,
            layers=tuple(Dropout(0.0) if isinstance(x, Dropout) else x for x in block.layers),
        )
        for block in network.blocks
    )
    return dataclasses.replace(network, blocks=blocks)
