"""The search space of a tuning: which fields of a recipe are tried, and between which values."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netinnet.data.datasets import READING
from netinnet.errors import RecipeError
from netinnet.networks.zoo import describe
from netinnet.studies.fields import assignments, field_value, field_values, value_text
from netinnet.training import recipe as recipes
from netinnet.training.recipe import Recipe

if TYPE_CHECKING:
    from optuna import Trial

_FIXED_NAMES = ("dataset", "framework", "device", "validation", "evaluate", "seed", "threads")
FIXED = dict.fromkeys(
    (*_FIXED_NAMES, *READING, "checkpoint_seconds", "train_examples", "test_examples"),
    "stays the same in all trials; it cannot be searched",
)
"""Fields that no search may touch: what is learned, where, and how it is judged."""

_PATHS = ("network", "pretrained", "teacher")
"""Fields whose values may be paths, in which ".." is the folder above."""

DEFAULT = (
    "learning_rate=0.02..0.5:log",
    "weight_decay=1e-05..0.005:log",
    "batch_size=64,128,256",
    "momentum=0.8..0.98",
    "dropout=0..0.5",
    "initialisation=he,xavier",
    "label_smoothing=0..0.1",
    "horizontal_flip=true,false",
    "crop_padding=0..2",
)
"""What is searched where nothing is declared."""

FORMS = "learning_rate=0.01..0.5:log, dropout=0..0.5 or batch_size=64,128"


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones where `low` is an int."""

    low: float
    high: float
    log: bool = False
    """Whether equal factors are equally likely, not equal steps."""

    @property
    def is_whole(self) -> bool:
        return isinstance(self.low, int)

    @property
    def ends(self) -> tuple[float, ...]:
        """The values that are checked for all."""
        return (self.low, self.high)

    def suggest(self, trial: Trial, name: str) -> Any:
        if self.is_whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def contains(self, value: Any) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def __str__(self) -> str:
        low, high = (f"{value}".removesuffix(".0") for value in (self.low, self.high))
        return f"{low}..{high}{':log' if self.log else ''}"


@dataclass(frozen=True)
class Choices:
    """One of some values."""

    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that are checked: all."""
        return self.values

    def suggest(self, trial: Trial, name: str) -> Any:
        return trial.suggest_categorical(name, self.values)

    def contains(self, value: Any) -> bool:
        return value in self.values

    def __str__(self) -> str:
        return ",".join(map(value_text, self.values))


@dataclass(frozen=True)
class SearchSpace:
    """Fields of a recipe and the values that each may take."""

    fields: Mapping[str, Range | Choices]

    def check(self, around: Recipe) -> None:
        """Raise RecipeError for a value that no recipe around that one may have.

        It may need another field's value, as flips need horizontal_flip: that of the recipe, or one
        that is searched too. What only some values of other fields refuse fails as a trial.
        """
        known = [{}, *({n: v} for n, values in self.fields.items() for v in values.ends)]
        for name, values in self.fields.items():
            for value in values.ends:
                _check(name, value, around, [company for company in known if name not in company])

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """A value for every field, chosen by the trial's sampler."""
        return {name: values.suggest(trial, name) for name, values in self.fields.items()}

    def values_in(self, recipe: Recipe) -> dict[str, Any] | None:
        """The recipe's own values of all fields, None where one lies outside the space."""
        return None if self.outside(recipe) else {n: getattr(recipe, n) for n in self.fields}

    def outside(self, recipe: Recipe) -> list[str]:
        """The fields whose own value in the recipe lies outside the space."""
        return [n for n, values in self.fields.items() if not values.contains(getattr(recipe, n))]

    def texts(self) -> list[str]:
        """Each field as `parse` reads it."""
        return [f"{name}={values}" for name, values in self.fields.items()]


def parse(texts: Sequence[str]) -> SearchSpace:
    """The space of texts like "learning_rate=0.01..0.5:log" and "batch_size=64,128".

    Raises RecipeError for what is no such text, and for fields that may not be searched.
    """
    if not texts:
        raise RecipeError(f"a search needs a field to search, as in {FORMS}")
    given = assignments("--search", texts, FORMS, FIXED).items()
    return SearchSpace(
        {n: _range(n, v) if ".." in v and n not in _PATHS else _choices(n, v) for n, v in given}
    )


def load(path: Path) -> list[str]:
    """The texts of a TOML file: learning_rate = "0.01..0.5:log", batch_size = [64, 128]."""
    texts = []
    for name, values in recipes.read_toml(path).items():
        text = ",".join(map(value_text, values)) if isinstance(values, list) else values
        if not isinstance(text, str):
            raise RecipeError(f'{path}: {name} must be a list or a range such as "0.01..0.5:log"')
        texts.append(f"{name}={text}")
    if not texts:
        raise RecipeError(f"{path}: no field to search, as in {FORMS}")
    return texts


def default(recipe: Recipe) -> SearchSpace:
    """What is searched where nothing is declared: of `DEFAULT`, what has an effect.

    A field that the recipe leaves to the network has no value to begin at, and is left alone.
    """
    space = parse(DEFAULT)
    used = {name: v for name, v in space.fields.items() if getattr(recipe, name) is not None}
    if not recipe.momentum:
        used.pop("momentum")
    if recipe.flips:
        used.pop("horizontal_flip")  # without it there are no flips, and every such trial fails
    return SearchSpace(used)


def _range(name: str, text: str) -> Range:
    values, _, scale = text.partition(":")
    low_text, _, high_text = values.partition("..")
    if scale not in ("", "log"):
        raise RecipeError(f"--search: {name}: only ':log' may follow a range, got ':{scale}'")
    if not {int, float} & set(recipes.field_kinds(name)):
        raise RecipeError(f"--search: {name} is not a number; list its values, as in {name}=a,b")
    low = field_value("--search", name, low_text.strip())
    high = field_value("--search", name, high_text.strip())
    if low is None or high is None or not low < high:
        raise RecipeError(f"--search: {name}: a range goes from low to high, got {text}")
    if scale and low <= 0:
        raise RecipeError(f"--search: {name}: a logarithmic range starts above 0, got {text}")
    return Range(low, high, bool(scale))


def _choices(name: str, text: str) -> Choices:
    return Choices(tuple(field_values("--search", name, text)))


def _check(name: str, value: Any, around: Recipe, companies: Sequence[Mapping[str, Any]]) -> None:
    """Raise RecipeError for a value that goes with none of the other fields' values."""
    reason = None
    for recipe, company in itertools.product((around, Recipe()), companies):
        try:
            recipe.replace(**{**company, name: value})
            break
        except RecipeError as error:
            reason = reason or error
    else:
        assert reason is not None
        raise reason
    if name == "network":
        describe(value)
