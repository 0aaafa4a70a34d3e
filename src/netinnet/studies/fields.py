"""Fields of a recipe and their values as text: what `--vary` and `--search` take."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from netinnet.data.datasets import READING
from netinnet.errors import RecipeError, nearest
from netinnet.training import recipe as recipes

_NO_ARMS = {
    "seed": "is no arm of a study; --seeds decides it",
    "threads": "is no arm of a study; --threads decides it",
    **dict.fromkeys(READING, "decides which pictures there are, so all arms have the same"),
}


def value_text(value: Any) -> str:
    """A field's value as `field_value` reads it: true, null, 0.5, he."""
    return json.dumps(value) if isinstance(value, bool) or value is None else str(value)


def short_text(value: Any) -> str:
    """A field's value with as many digits as one reads."""
    return f"{value:.4g}" if isinstance(value, float) else value_text(value)


def field_value(flag: str, name: str, text: str) -> Any:
    """The text as a value of a recipe's field; `null` stands for one that is not given.

    `flag` begins the text of the RecipeError for what is no such value.
    """
    kinds = recipes.field_kinds(name)
    if text == "null" and type(None) in kinds:
        return None
    kind = next(kind for kind in kinds if kind is not type(None))
    try:
        return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        wanted = "true or false" if kind is bool else f"of type {kind.__name__}"
        raise RecipeError(f"{flag}: {name} must be {wanted}, got '{text}'") from None


def field_values(flag: str, name: str, text: str) -> list[Any]:
    """[64, 128] for "64,128". Raises RecipeError for a value twice, or one the field can't have."""
    values = [field_value(flag, name, value.strip()) for value in text.split(",")]
    if len({*map(str, values)}) < len(values):
        raise RecipeError(f"{flag}: {name} has a value twice: {text}")
    return values


def assignments(
    flag: str, texts: Sequence[str], example: str, refused: Mapping[str, str]
) -> dict[str, str]:
    """{"batch_size": "64,128"} for ["batch-size=64,128"].

    `refused` says of fields that may not be named why not. Raises RecipeError for them, and for
    what is no such text, as `example` is one.
    """
    given: dict[str, str] = {}
    hints = recipes.field_types()
    for text in texts:
        name, equals, values = (part.strip() for part in text.partition("="))
        name = name.replace("-", "_")
        if not equals or not values:
            raise RecipeError(f"{flag} takes a field and its values, as in {example}; got '{text}'")
        if name not in hints:
            raise RecipeError(f"{flag}: unknown field '{name}'{nearest(name, hints)}")
        if name in refused:
            raise RecipeError(f"{flag}: {name} {refused[name]}")
        if name in given:
            raise RecipeError(f"{flag}: {name} is given twice")
        given[name] = values
    return given


def parse_vary(texts: Sequence[str]) -> dict[str, list[Any]]:
    """{"logits_relu": [True, False]} for ["logits_relu=true,false"], by the field's type.

    `null` stands for a field that is not given. Raises RecipeError for what is no such text.
    """
    given = assignments("--vary", texts, "logits_relu=true,false", _NO_ARMS)
    return {name: field_values("--vary", name, values) for name, values in given.items()}
