"""Write the tables of events in docs/architecture.md, from the events' own docstrings.

    python tools/docs_tables.py

What stands between `<!-- NAME: … -->` and `<!-- end -->` is replaced.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path

from docstring_parser import parse_from_object

from netinnet.studies import events as study_events
from netinnet.training import events as run_events
from netinnet.training.events import Event

FILE = Path(__file__).parent.parent / "docs" / "architecture.md"
TABLES: dict[str, Iterable[type[Event]]] = {
    "events-logged": run_events.LOGGED,
    "events-heard": run_events.HEARD,
    "events-of-studies": study_events.HEARD,
}


def table(kinds: Iterable[type[Event]]) -> str:
    """A table in Markdown: a line for each event with its meaning and its fields."""
    lines = ["| event | meaning | fields |", "|---|---|---|"]
    for kind in kinds:
        parsed = parse_from_object(kind)
        meanings = {p.arg_name: p.description or "" for p in parsed.params}
        fields = [
            f"`{field.name.removesuffix('_')}` ({field.type}): {meanings[field.name]}"
            for field in dataclasses.fields(kind)
        ]
        cells = (f"`{kind.kind()}`", parsed.description or "", "<br>".join(fields))
        # A bar would end the cell, and so would the end of a line.
        cells_in_line = (" ".join(cell.replace("|", "\\|").split()) for cell in cells)
        lines.append(f"| {' | '.join(cells_in_line)} |")
    return "\n".join(lines) + "\n"


def renewed(text: str) -> str:
    """The page with all its tables made anew. Raises ValueError where it lacks the place of one."""
    for name, kinds in TABLES.items():
        place = re.compile(f"(<!-- {name}: [^>]*-->\n).*?(<!-- end -->)", re.DOTALL)
        written = place.search(text)
        if written is None:
            raise ValueError(f"{FILE.name} has no place for the table {name}")
        new = f"{written[1]}{table(kinds)}{written[2]}"
        text = text[: written.start()] + new + text[written.end() :]
    return text


if __name__ == "__main__":
    FILE.write_text(renewed(FILE.read_text("utf-8")), "utf-8")
