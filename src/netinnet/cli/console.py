"""What commands print with: tables, JSON, one console for each stream."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from netinnet.errors import printable


def _whole_number(_kind: Any, tokens: Sequence[Any]) -> int:
    """Digits only: a fraction is a mistake, not something to round."""
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        raise ValueError(f'unable to convert "{text}" into int') from None


WholeNumber = Annotated[int, Parameter(converter=_whole_number)]
"""The type of every flag that counts something."""

Switch = Annotated[bool, Parameter(negative=(), show_default=False)]
"""The type of every flag that only turns something on."""


def choice(names: Iterable[str], about: str) -> Any:
    """A parameter that is one of some names, if any: its help shows them behind the text."""
    shown = " | ".join(names)
    return Parameter(help=f"{about} [{shown}]" if shown else about, show_default=False)


WIDE = 200
"""Columns where the output is no terminal: nothing is wrapped or cut in a file or a pipe."""


def console(stderr: bool = False) -> Any:
    """A rich console on standard output or error; plain text where that is no terminal."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    if stream is None:  # closed, as by >&-
        return Console(file=io.StringIO())
    width = None if stream.isatty() else WIDE
    return Console(stderr=stderr, width=width, highlight=False, emoji=False, markup=False)


def say(text: str, end: str = "\n") -> None:
    """A line on standard output, in which names may hold anything: see `errors.printable`."""
    print(printable(text), end=end)


def print_json(value: Any) -> None:
    """One JSON document on standard output; dataclasses and paths may be in it."""
    print(json_text(value, indent=1))


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON for standard output: escaped where its encoding has not all characters."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    is_ascii = not encoding.startswith("utf")
    return json.dumps(value, indent=indent, ensure_ascii=is_ascii, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return vars(value) if dataclasses.is_dataclass(value) else str(value)


def print_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
    totals: int = 0,
) -> None:
    """A table; `right` are the columns of numbers, the last `totals` rows stand below a line."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, header in enumerate(headers):
        # On a narrow terminal the words are wrapped, never the names and numbers.
        fixed = i == 0 or i in right
        longest = max(len(header), *(len(row[i]) for row in rows))
        table.add_column(
            header,
            justify="right" if i in right else "left",
            no_wrap=fixed,
            min_width=longest if fixed else None,
            overflow="fold",
        )
    for i, row in enumerate(rows):
        table.add_row(
            *map(printable, row), end_section=bool(totals) and i == len(rows) - totals - 1
        )
    console().print(table)
