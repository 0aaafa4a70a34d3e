"""What a recipe stands for: its network, its data, and the learner that trains it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from netinnet import frameworks, weights
from netinnet.data import datasets
from netinnet.data.source import Dataset, DatasetRecord, Facts
from netinnet.errors import NetworkError
from netinnet.frameworks.learner import Learner, LearnerSettings
from netinnet.frameworks.processes import ALONE, Processes
from netinnet.networks.network import Network, Preprocessing
from netinnet.networks.variations import Variations
from netinnet.networks.zoo import Named, describe
from netinnet.optimizer import Optimizer
from netinnet.training.listening import Listener, data_progress
from netinnet.training.recipe import Recipe
from netinnet.weights import Weights


def network_for(
    recipe: Recipe, network: Named | None = None, facts: Facts | None = None
) -> Network:
    """The network a recipe trains: input, classes and preprocessing by the facts of its data set.

    `network` is what the recipe's name for it stands for, and `facts` those of the data set that it
    names, if they are known already. Raises NetworkError, also where there is nothing to train, or
    DataError.
    """
    data = facts or facts_of(recipe)
    described = describe(recipe.network if network is None else network)
    scaling = Preprocessing(data.mean, data.std) if recipe.normalise else Preprocessing()
    own = described.preprocessing or Preprocessing()
    made = described.network(
        image_size=recipe.image_size,
        channels=data.channels,
        classes=data.classes,
        preprocessing=dataclasses.replace(scaling, fit=recipe.fit or own.fit),
        pictures=data.shape,
        **{field.name: getattr(recipe, field.name) for field in dataclasses.fields(Variations)},
    )
    if not weights.tensors(made):
        raise NetworkError(f"{made.name} has no weights, so there is nothing to train")
    return made


def facts_of(recipe: Recipe, data_dir: Path | None = None) -> Facts:
    """What is known of the data set that a recipe names. Raises DataError."""
    return datasets.facts(recipe.dataset, data_dir, **recipe.reading)


def load_data(
    recipe: Recipe,
    data_dir: Path | None,
    listener: Listener,
    expected: DatasetRecord | None = None,
) -> Dataset:
    """The data set that a recipe names, looked for where the `expected` one was read from.

    Raises DataError, also where it is not the one expected.
    """
    progress = data_progress(listener)
    return datasets.load(recipe.dataset, data_dir, progress, expected, **recipe.reading)


def learner_for(
    recipe: Recipe,
    network: Network,
    facts: Facts,
    initial: Weights | None = None,
    processes: Processes = ALONE,
) -> Learner:
    """What trains the network, from its initial weights or others, in this process or several."""
    if initial is None:
        initial = weights.initial(network, recipe.seed, recipe.initialisation)
    settings = dataclasses.replace(learner_settings(recipe, network, facts), processes=processes)
    return frameworks.adapter(recipe.framework).learner(settings, initial)


def learner_settings(recipe: Recipe, network: Network, facts: Facts) -> LearnerSettings:
    """What is fixed about the training, apart from the data."""
    rules = Optimizer(recipe.optimizer, recipe.momentum, recipe.nesterov, recipe.weight_decay)
    own = {n: getattr(recipe, n) for n in ("device", "threads", "shards", "precision")}
    averages = recipe.weight_averaging is not None
    return LearnerSettings(network, rules, facts.shape or network.input, averages=averages, **own)
