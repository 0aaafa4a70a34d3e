"""What a recipe trains on, and what it evaluates after each epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from netinnet.data import batches
from netinnet.data.augmentation import Augmentation
from netinnet.data.batches import TrainingBatches
from netinnet.data.mixing import Mixing
from netinnet.data.source import Dataset, Pictures, Source, View
from netinnet.data.targets import SoftTargets
from netinnet.errors import RecipeError
from netinnet.networks.network import Network, least_normalised
from netinnet.preprocessing import Array
from netinnet.training.recipe import Recipe

SHARE = 0.5
"""Of a teacher in a target, if the recipe gives none (Hinton et al. 2015: a weighted average)."""


def splits(recipe: Recipe, data: Dataset) -> tuple[Source, dict[str, Source]]:
    """The training pictures, and by name the splits that are evaluated after each epoch.

    A share of the training set that the recipe holds out takes the place of the data set's own
    validation split. Raises RecipeError where `evaluate` asks for validation and there is none.
    """
    data = data.limited(recipe.train_examples, recipe.test_examples)
    train, validation = data.train, data.validation
    if recipe.validation:
        kept, held_out = batches.split(len(train), recipe.validation, recipe.seed, data.groups)
        train, validation = View(train, kept), View(train, held_out)
    if validation is None and recipe.evaluate in ("validation", "both"):
        raise RecipeError(
            f"evaluate = {recipe.evaluate} needs pictures held out from training: give validation, "
            f"as in validation = 0.1, or a data set with a validation split"
        )
    evaluated: dict[str, Source] = {}
    if recipe.evaluate != "validation":
        evaluated["test"] = data.test
    if validation is not None and recipe.evaluate != "test":
        evaluated["validation"] = validation
    return train, evaluated


def training_batches(
    recipe: Recipe,
    network: Network,
    source: Source,
    teacher: Callable[[Pictures], Array] | None = None,
) -> TrainingBatches:
    """The batch of each training step; `teacher` makes the recipe's teacher's probabilities.

    Without it the targets of a recipe that has a teacher are the labels': rows all the same.
    """
    own = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(Augmentation)}
    mixing = Mixing(recipe.mixup, recipe.cutmix)
    share = SHARE if recipe.distillation is None else recipe.distillation
    soft = SoftTargets(len(network.classes), recipe.label_smoothing, mixing, teacher, share)
    is_soft = recipe.label_smoothing or mixing != Mixing() or recipe.teacher is not None
    return TrainingBatches(
        source,
        network.preprocessing,
        recipe.batch_size,
        recipe.seed,
        Augmentation(**own),
        recipe.sampling,
        soft if is_soft else None,
    )


def check_batches(recipe: Recipe, network: Network, count: int) -> None:
    """Batch norm needs two values a channel. Raises RecipeError where the last batch has one."""
    smallest = count % recipe.batch_size or recipe.batch_size
    norm = least_normalised(network)
    if norm is not None and smallest * norm.input.height * norm.input.width < 2:
        raise RecipeError(
            f"the last batch of {count} pictures has only one picture, so {norm.name} would "
            f"get one value per channel; choose another batch_size"
        )
