"""What would be trained: all that is decided before the first step, by the data and the clock."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from netinnet import frameworks, weights
from netinnet.data import datasets
from netinnet.data.source import Dataset, DatasetRecord, Source
from netinnet.errors import ModelError, NetworkError, printable
from netinnet.inference import model_files
from netinnet.networks.network import Network
from netinnet.networks.zoo import ZOO, describe
from netinnet.training import choice, learnt, teaching
from netinnet.training.choice import Wish
from netinnet.training.listening import Listener, data_progress
from netinnet.training.parts import load_data, network_for
from netinnet.training.recipe import Recipe
from netinnet.training.splits import splits
from netinnet.training.step_time import seconds_of_an_epoch
from netinnet.weights import Model, Weights


@dataclass(frozen=True)
class Prepared:
    """A training that could begin."""

    recipe: Recipe
    network: Network
    data: Dataset
    reasons: tuple[str, ...] = ()
    """Why what was left open became what it is."""
    pretrained: Model | None = None
    """Whose weights it starts from, where they fit."""
    teacher: Model | None = None
    """Whose probabilities are a share of what it learns."""

    @property
    def splits(self) -> dict[str, Source]:
        """The pictures to train on, and those evaluated after each epoch, by split."""
        train, evaluated = splits(self.recipe, self.data)
        return {"train": train, **evaluated}

    def seconds(self) -> float:
        """What it will take, by steps timed now."""
        trained, *evaluated = map(len, self.splits.values())
        counts = trained, sum(evaluated)
        epoch = seconds_of_an_epoch(self.recipe, self.network, self.data.facts, *counts)
        return self.recipe.epochs * epoch


def prepare(
    wish: Wish,
    *,
    dataset: Dataset | None = None,
    data_dir: Path | None = None,
    listener: Listener = lambda event: None,
) -> Prepared:
    """Look up what the recipe names, and choose what it leaves open.

    `dataset` takes the place of the one that it names. Raises NetinnetError for what can't be
    trained.
    """
    recipe, network = wish.recipe, wish.network
    # What can't be is said before data is fetched.
    if dataset is None and datasets.is_named(recipe.dataset):
        network_for(recipe, network)
    frameworks.adapter(recipe.framework)
    pretrained = model_files.find(Path(recipe.pretrained)) if recipe.pretrained else None
    if dataset is not None:
        recipe = recipe.replace(dataset=f"{datasets.OBJECT}{dataset.name}")
    data = dataset or load_data(recipe, data_dir, listener)
    recipe, reasons = choice.choose(dataclasses.replace(wish, recipe=recipe), data)
    network = network_for(recipe, network, data.facts)
    if pretrained is not None:
        reasons.append(what_fits(network, pretrained, str(recipe.pretrained)))
    teacher = model_files.find(Path(recipe.teacher)) if recipe.teacher else None
    if teacher is not None:
        teaching.check(network, teacher, str(recipe.teacher))
    reasons += replaced(recipe, network)
    for model, name in ((pretrained, recipe.pretrained), (teacher, recipe.teacher)):
        if model is not None:
            reasons += learnt_otherwise(model, str(name), data.record)
    for reason in reasons:
        data_progress(listener)(reason, 0, None)
    return Prepared(recipe, network, data, tuple(reasons), pretrained, teacher)


def initial_weights(recipe: Recipe, network: Network, pretrained: Model | None) -> Weights:
    """The recipe's own, with those of the pretrained model's first layers where they fit."""
    initial = weights.initial(network, recipe.seed, recipe.initialisation)
    if pretrained is None:
        return initial
    return initial | {name: pretrained.weights[name] for name in _fitting(network, pretrained)}


def _fitting(network: Network, pretrained: Model) -> list[str]:
    """The tensors, from the first on, that have one of that name and shape in the other model."""
    fitting = []
    for name, shape in weights.shapes(network).items():
        if name not in pretrained.weights or pretrained.weights[name].shape != shape:
            break
        fitting.append(name)
    return fitting


def what_fits(network: Network, pretrained: Model, name: str) -> str:
    """Which tensors are taken, in words. Raises ModelError where none fits."""
    fitting, shapes = _fitting(network, pretrained), weights.shapes(network)
    if not fitting:
        first, shape = next(iter(shapes.items()), ("", ()))
        other = pretrained.weights[first].shape if first in pretrained.weights else "none"
        raise ModelError(
            f"{name}: none of its weights fit {network.name}: {first} has shape {shape}, there "
            f"{other}; it must have been trained with the same network and picture channels"
        )
    left = "all of them"
    if len(fitting) < len(shapes):
        left = f"up to {fitting[-1]}; the rest starts anew"
    return f"{len(fitting)} of {len(shapes)} weight tensors are taken from {name}: {left}"


def replaced(recipe: Recipe, network: Network) -> list[str]:
    """What a description of one's own says of its input and classes, and the data otherwise.

    The zoo's are for any data.
    """
    if recipe.network in ZOO:
        return []
    try:
        own = describe(recipe.network)
    except NetworkError:  # an object's name, which stands for no file
        return []
    pairs = {
        "channels": (own.input.channels, network.input.channels),
        "classes": (own.classes, len(network.classes)),
    }
    return [
        f"{printable(recipe.network)} says {what} = {said}, the data has {found}: {found} are taken"
        for what, (said, found) in pairs.items()
        if said and said != found
    ]


def learnt_otherwise(model: Model, name: str, data: DatasetRecord) -> list[str]:
    """A line where the model, called so, learnt from the same folder with other pictures in it, or
    split in another way: it may have learnt what now judges."""
    known = learnt.record_of(model)
    if known is None or not data.read_from or known.read_from != data.read_from:
        return []
    if known.digest == data.digest:
        return []
    return [
        f"{name} learnt from {data.read_from} as it was, or was split, then: some of the pictures "
        f"that judge now may be among those that it learnt"
    ]
