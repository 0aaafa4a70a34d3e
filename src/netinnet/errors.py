"""The errors a user can meet. Each message says what was wrong, where, and what would be right.

The command line prints the message alone and exits with status 2; nobody sees a traceback for a
mistake of their own.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path


class NetinnetError(Exception):
    """Something the user can put right; the message is one line that says how."""


class NetworkError(NetinnetError):
    """A network description that cannot exist: shapes that do not fit, an unknown name."""


class RecipeError(NetinnetError):
    """A recipe that names an unknown field or a value out of range."""


class FieldError(RecipeError):
    """A recipe's field whose value cannot be, by itself or beside another field's.

    `fields` are these, `where` is the recipe that has them, "" where one was given beside it.
    """

    def __init__(self, text: str, *fields: str, where: str = "") -> None:
        super().__init__(f"{where}: {text}" if where else text)
        self.text, self.fields, self.where = text, fields, where


class NetinnetWarning(UserWarning):
    """Something is not as it seems; the message is one line."""


class RecipeWarning(NetinnetWarning):
    """A recipe file that says less than it seems to."""


class RunWarning(NetinnetWarning):
    """A run's file that is damaged or missing, so that something is left out."""


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


def is_text(text: str) -> bool:
    """Whether UTF-8 can write it: paths may hold bytes that are no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str) -> str:
    """The text as one line that any terminal and file can show: what can't be shown is escaped.

    A name may hold anything: control characters, and bytes that are no UTF-8. Those become \\x1b
    and the like. Line ends and the space around them become one space.
    """
    line = re.sub(r"\s*[\r\n\v\f\u2028\u2029]\s*", " ", text.strip())
    return "".join(c if c.isprintable() else _escaped(c) for c in line)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a name that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "RESOURCE_EXHAUSTED",
)
"""Parts of what PyTorch, JAX and XLA say, whose errors are of no type of their own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a computation failed for lack of memory, in Python or in a framework."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ in ("OutOfMemoryError", "ResourceExhaustedError")
        or (isinstance(error, RuntimeError) and any(t in str(error) for t in OUT_OF_MEMORY))
    )


def nin(*words: str | Path) -> str:
    """A command of ours as a message prints it: it works as it stands, from any folder.

    Paths become absolute. Words are quoted for a shell; what can't be shown is escaped as bash and
    zsh read it.

    Example: `nin("train", "--resume", Path("my run"))` is "nin train --resume '/home/me/my run'".
    """
    texts = [str(word.absolute()) if isinstance(word, Path) else word for word in words]
    return " ".join(["nin", *map(quoted, texts)])


def quoted(word: str) -> str:
    """A word as a shell takes it."""
    if word.isprintable():
        return shlex.quote(word)
    escaped = (
        chr(byte) if 32 <= byte < 127 and chr(byte) not in "\\'" else f"\\x{byte:02x}"
        for byte in os.fsencode(word)
    )
    return f"$'{''.join(escaped)}'"


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
