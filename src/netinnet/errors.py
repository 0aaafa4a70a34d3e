"""The errors a user can meet. Each message says what was wrong, where, and what would be right.

The command line prints the message alone and exits with status 2; nobody sees a traceback for a
mistake of their own.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NetinnetError(Exception):
    """Something the user can put right; the message is one line that says how."""


class NetworkError(NetinnetError):
    """A network description that cannot exist: shapes that do not fit, an unknown name."""


class RecipeError(NetinnetError):
    """A recipe that names an unknown field or a value out of range."""


class RecipeWarning(UserWarning):
    """A recipe file that says less than it seems to."""


class DataError(NetinnetError):
    """A data set that is missing, damaged or unreadable."""


class ImageError(NetinnetError):
    """A picture that cannot be read, or that is refused."""


class ModelError(NetinnetError):
    """A run folder or model file that is missing, damaged or of another network."""


class FrameworkError(NetinnetError):
    """A framework that is not installed, or that cannot do what was asked."""


class Diverged(NetinnetError):
    """A training whose numbers are no longer finite."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'nin'?)" when something in `known` is close to `name`, else ""."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def check_name(
    what: str,
    value: str,
    known: Iterable[str],
    error: type[NetinnetError] = NetinnetError,
    more: str = "",
) -> None:
    """Raise `error` where `value` is none of the known names; `more` ends its text."""
    names = tuple(known)
    if value not in names:
        raise error(
            f"unknown {what} '{value}'{nearest(value, names)}; known are {', '.join(names)}{more}"
        )
