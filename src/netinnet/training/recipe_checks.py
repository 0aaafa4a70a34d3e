"""What a recipe's values must be, each for itself and together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netinnet.data import datasets
from netinnet.errors import DataError, FieldError, RecipeError, check_name, is_text
from netinnet.training.recipe_values import RANGES, choices

if TYPE_CHECKING:
    from netinnet.training.recipe import Recipe

BELOW_1 = ("dropout", "momentum", "validation", "label_smoothing", "weight_averaging")


def check(recipe: Recipe) -> None:
    """Raise FieldError for the first field whose value can't be."""
    for name, (low, high) in RANGES.items():
        value = getattr(recipe, name)
        if value is not None and not low <= value <= high:
            raise FieldError(
                f"{name} must be between {low:.10g} and {high:.10g}, got {value:.10g}", name
            )
    for name in BELOW_1:
        if (getattr(recipe, name) or 0.0) >= 1:
            raise FieldError(f"{name} must be below 1, got {getattr(recipe, name):g}", name)
    _check_names(recipe)
    for name, value in vars(recipe).items():
        if isinstance(value, str) and not is_text(value):
            raise FieldError(f"{name} has bytes that are no text: {value!a}; rename it", name)
    for name in ("group_by", "split"):
        if getattr(recipe, name) is not None and datasets.is_named(recipe.dataset):
            raise FieldError(
                f"{name} is for a folder of pictures, and the data set is {recipe.dataset}",
                name,
                "dataset",
            )
    if recipe.group_by is not None:
        try:
            re.compile(recipe.group_by)
        except (re.error, OverflowError, RecursionError) as error:
            text = f"group_by is no regular expression: {error}"
            raise FieldError(text, "group_by") from error
    _check_levers(recipe)
    _check_computed(recipe)


def _check_names(recipe: Recipe) -> None:
    for name, known in choices().items():
        value = getattr(recipe, name)
        try:
            if name == "dataset":
                if datasets.is_named(value):
                    datasets.find(value)
            elif value is not None:
                check_name(name, value, known, RecipeError)
        except (DataError, RecipeError) as error:
            raise FieldError(str(error), name) from None


def _check_levers(recipe: Recipe) -> None:
    """Whether a field is given with the one that it changes."""
    if recipe.nesterov and not recipe.momentum:
        raise FieldError("nesterov needs a momentum above 0", "nesterov", "momentum")
    if recipe.flips and not recipe.horizontal_flip:
        text = "flips says which pictures horizontal_flip mirrors: give that too"
        raise FieldError(text, "flips", "horizontal_flip")
    for name in ("distillation", "teacher_temperature"):
        if getattr(recipe, name) is not None and recipe.teacher is None:
            raise FieldError(f"{name} needs a teacher: a run folder or model file", name)


def _check_computed(recipe: Recipe) -> None:
    """Whether there is something that computes it so."""
    framework = recipe.framework
    if recipe.shards and recipe.shards & (recipe.shards - 1):
        raise FieldError(f"shards must be a power of two, got {recipe.shards}", "shards")
    if recipe.shards and framework != "pytorch":
        text = f"{framework} has no shards: leave them out, or take pytorch"
        raise FieldError(text, "shards", "framework")
    if recipe.precision == "bfloat16":
        if framework != "pytorch":
            text = f"{framework} trains in float32 only: leave precision out, or take pytorch"
            raise FieldError(text, "precision", "framework")
        if recipe.shards:
            text = "shards are computed in float32: leave shards or precision out"
            raise FieldError(text, "shards", "precision")
