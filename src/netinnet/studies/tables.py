"""The results of a study as a plain table: what `pandas.DataFrame` and `csv.DictWriter` take."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping
from typing import Any

Row = dict[str, Any]


def plain(rows: Iterable[Any]) -> list[Row]:
    """A dict of numbers and texts for each row, the same keys in all of one kind.

    Rows are dataclasses. What is nested is spread out, `accuracy_mean`, `accuracy_sd`, …, and None
    where there is nothing; single runs are left out: each has a folder of its own.
    """
    return [_plain(row) for row in rows]


def _plain(row: Any) -> Row:
    flat: Row = {}
    for name, hint in typing.get_type_hints(type(row)).items():
        value = getattr(row, name)
        nested = [t for t in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(t)]
        if isinstance(value, Mapping):
            flat |= value
        elif isinstance(value, tuple):
            continue
        elif not nested:
            flat[name] = value
        elif value is None:
            flat |= {f"{name}_{field.name}": None for field in dataclasses.fields(nested[0])}
        else:
            flat |= {f"{name}_{inner}": number for inner, number in _plain(value).items()}
    return flat
