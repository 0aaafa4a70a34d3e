"""The fields of a recipe as flags, for every command that trains."""

from __future__ import annotations

import contextlib
import dataclasses
import typing
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from docstring_parser import parse_from_object

from netinnet.cli.console import WholeNumber, choice
from netinnet.errors import FieldError, RecipeError
from netinnet.training import recipe as recipes
from netinnet.training.recipe import Recipe
from netinnet.training.recipe_values import choices


def _flag_type(hint: Any) -> Any:
    """The field's type as a flag: whole numbers are not rounded."""
    return WholeNumber if int in (hint, *typing.get_args(hint)) else hint


def _overrides() -> Any:
    """A dataclass with every field of Recipe, none of them given: the command's flags.

    Recipe stays the one place where a field, its type and its help are written.
    """
    known = choices()
    helps = {p.arg_name: p.description for p in parse_from_object(Recipe).params}
    fields = [
        (
            name,
            Annotated[_flag_type(hint) | None, choice(known.get(name, ()), helps[name] or "")],
            dataclasses.field(default=None),
        )
        for name, hint in recipes.field_types().items()
    ]
    made = dataclasses.make_dataclass("Overrides", fields, frozen=True, kw_only=True)
    made.__module__ = __name__
    return made


if TYPE_CHECKING:
    Overrides = Any
else:
    Overrides = _overrides()

RecipeFlags = Annotated[Overrides | None, Parameter(name="*", group="Fields of the recipe")]
"""The type of a command's parameter that takes them; its default is None."""


def given(flags: Any) -> dict[str, Any]:
    """The fields that were given, by name."""
    return {name: value for name, value in vars(flags or Overrides()).items() if value is not None}


@contextlib.contextmanager
def named(changes: dict[str, Any]) -> Iterator[None]:
    """In the block, what can't be of a flag's value is said of the flag, not of the field."""
    try:
        yield
    except FieldError as error:
        field = next((field for field in error.fields if field in changes), None)
        if error.where or field is None:
            raise
        flag = f"--{field.replace('_', '-')}"
        rest = error.text.removeprefix(f"{field} ")
        text = rest if rest.startswith(("must ", "needs ")) else error.text
        raise RecipeError(f"{flag}: {text}") from error


def refuse_seed(changes: dict[str, Any]) -> None:
    """Raise RecipeError where a study's recipe is given a seed of its own."""
    if "seed" in changes:
        raise RecipeError("a study has many seeds; --seeds and --first-seed say which")


def refuse(given: dict[str, Any], own: str) -> None:
    """Raise RecipeError where something is given that --resume takes from what is there."""
    taken = [name for name, value in given.items() if value not in (None, ())]
    if taken:
        # What stands without a flag is named as it is.
        flag = taken[-1] if taken[-1] in ("networks", "questions") else f"--{taken[-1]}"
        raise RecipeError(f"--resume uses the {own}; leave out {flag.replace('_', '-')}")
