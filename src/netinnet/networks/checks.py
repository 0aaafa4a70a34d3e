"""What a value in a description may be: one that a file can hold, and no other."""

from __future__ import annotations

import contextlib
import numbers
import operator
import reprlib
from collections import Counter
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np

from netinnet.errors import NetworkError, nearest

LARGEST_COUNT = 2**20
"""Largest whole number (channels, features, windows, classes) in a network."""
WORDS = {"int": "whole number", "float": "number", "bool": "bool", "str": "string"}
"""What a value of a type is called, by the type's name in an annotation."""

T = TypeVar("T")


class Unknown(NetworkError):
    """A field or layer that this version does not know."""


def check_names(data: dict[str, Any], known: Iterable[str], what: str) -> None:
    """Raise Unknown where there is another field than the known ones."""
    for name in data:
        if name not in known:
            raise Unknown(f"{what} has an unknown field {name!r}{nearest(str(name), known)}")


def check_classes(network: str, classes: tuple[str, ...]) -> None:
    """Raise NetworkError where the names of a network and its classes can't be."""
    if len(classes) > LARGEST_COUNT:
        raise NetworkError(f"a network has at most {LARGEST_COUNT:,} classes")
    for text in (network, *classes):
        if not isinstance(text, str) or not text or not text.isprintable():
            raise NetworkError(f"names of networks and classes are printable, got {text!r}")
    if len(set(classes)) != len(classes):
        ((name, count),) = Counter(classes).most_common(1)
        raise NetworkError(f"{network}: {count} classes are called {name!r}: rename all but one")


def expected(kind: type[T], value: object) -> T:
    """The value, if it is exactly of that type. Raises TypeError."""
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {reprlib.repr(value)}")
    return value


def typed(what: str, value: Any, kind: str, more: str = "") -> Any:
    """The value as Python's own `int`, `float`, `bool` or `str`, which `kind` names.

    NumPy's numbers are taken, too, and a whole number serves as a float. Raises NetworkError, whose
    text `more` adds to.
    """
    is_bool = isinstance(value, bool | np.bool_)
    with contextlib.suppress(TypeError, OverflowError):  # it is none, as other values below
        if kind == "bool" and is_bool:
            return bool(value)
        if kind == "str" and isinstance(value, str):
            return value
        if kind == "int" and not is_bool:
            return operator.index(value)
        if kind == "float" and not is_bool and isinstance(value, numbers.Real):
            return float(value)
    raise NetworkError(f"{what} must be a {WORDS[kind]}{more}, got {reprlib.repr(value)}")


def listed(what: str, values: Any) -> tuple[Any, ...]:
    """The values of a list. Raises NetworkError where it is one value, or text."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise NetworkError(f"{what} must be a list, got {reprlib.repr(values)}")
    return tuple(values)


def several(what: str, values: Any, kind: str) -> tuple[Any, ...]:
    """The values of a list, each `typed`. Raises NetworkError."""
    return tuple(typed(f"each of {what}", value, kind) for value in listed(what, values))


def class_names(classes: Any) -> tuple[str, ...] | int:
    """The names of classes, or their number. Raises NetworkError where it is neither."""
    if isinstance(classes, Iterable) and not isinstance(classes, str | bytes):
        return several("classes", classes, "str")
    number: int = typed("classes", classes, "int", " or a list of names")
    return number


def checked_value(what: str, value: Any, kind: str) -> Any:
    """The value of a field whose type is named `kind`, of a size that a network can have."""
    more = f" up to {LARGEST_COUNT:,}" if kind == "int" else ""
    made = typed(what, value, kind, more)
    if not abs(made) <= LARGEST_COUNT:  # NaN is refused, too
        raise NetworkError(f"{what} must be a {WORDS[kind]}{more}, got {reprlib.repr(value)}")
    return made
