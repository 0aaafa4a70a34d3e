"""What a trained model's file says of its training: the recipe, and the data set it learnt."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from netinnet.data import datasets
from netinnet.data.source import Dataset, DatasetRecord, Progress, Source
from netinnet.errors import ModelError
from netinnet.training import recipe as recipes
from netinnet.training.recipe import Recipe
from netinnet.training.splits import splits
from netinnet.weights import Model

WHERE = "the model's recipe"
"""What errors call it."""


def recipe_values(model: Model) -> dict[str, Any]:
    """The recipe's fields as the file has them, {} where it says nothing. Raises ModelError."""
    try:
        return tomllib.loads(model.notes.get("recipe", ""))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{WHERE} is damaged ({error})") from error


def recipe_of(model: Model) -> Recipe:
    """The recipe by which it was trained. Raises ModelError or RecipeError where it is damaged."""
    return recipes.from_mapping(recipe_values(model), WHERE)


def record_of(model: Model) -> DatasetRecord | None:
    """What it keeps of its data set, None where it says nothing. Raises DataError."""
    kept = model.notes.get("dataset")
    return DatasetRecord.from_dict(kept, "the model's data set") if kept else None


def load(
    model: Model,
    name: str | None,
    data_dir: Path | None,
    on_progress: Progress,
    flag: str = "--dataset",
) -> Dataset:
    """The data set that is named, or the one that the model learnt, checked to be that one.

    A folder that is named, and is the one that it learnt, is split as it was then.

    Raises NetinnetError where it is missing or another, where the model's recipe is damaged, and
    where the model does not say what it learnt: `flag` is what names it then.
    """
    # Only what is of the data set: another version's recipe may have other fields.
    fields = ("dataset", *datasets.READING)
    values = {key: value for key, value in recipe_values(model).items() if key in fields}
    if name is not None:
        reading = {}
        if _is_one_folder(name, values.get("dataset")):
            record = record_of(model)
            how_split = "" if record is None else record.how_split
            reading = {**recipes.from_mapping(values, WHERE).reading, "how_split": how_split}
        return datasets.load(name, data_dir, on_progress, **reading)
    if "dataset" not in values:
        raise ModelError(
            f"the model's file does not say which data set it learnt; name one with {flag}"
        )
    recipe = recipes.from_mapping(values, WHERE)
    return datasets.load(recipe.dataset, data_dir, on_progress, record_of(model), **recipe.reading)


def _is_one_folder(name: str, other: object) -> bool:
    if not isinstance(other, str) or datasets.is_named(name) or datasets.is_named(other):
        return False
    return Path(name).expanduser().resolve() == Path(other).expanduser().resolve()


def held_out(recipe: Recipe, data: Dataset) -> tuple[Source, Source | None]:
    """The pictures that a recipe learns, and those that it holds out."""
    train, evaluated = splits(recipe.replace(evaluate=None), data)
    return train, evaluated.get("validation")


def split_of(model: Model, data: Dataset, split: str, *, is_own: bool) -> Source:
    """The pictures of a split: train, validation or test.

    Validation is what the model's recipe held out, if the data set is the one that it learnt, else
    the data set's own. Raises ModelError where there is none.
    """
    if split != "validation":
        return data.splits[split]
    found = held_out(recipe_of(model), data)[1] if is_own else data.validation
    if found is None:
        raise ModelError(
            f"{data.name} has no validation split"
            + (", and the model's recipe held nothing out" if is_own else "")
            + "; nin train --validation 0.1 holds out a tenth"
        )
    return found


def check_classes(model: Model, data: Dataset) -> None:
    """Raise ModelError where a data set has other classes than a model."""
    names = model.network.classes
    if names != data.facts.classes:
        raise ModelError(
            f"the model's classes ({', '.join(names)}) are not those of {data.name} "
            f"({', '.join(data.facts.classes)}); choose another --dataset"
        )
