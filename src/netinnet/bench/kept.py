"""What was measured, kept in a JSON file: a list, to which each measurement is added at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from netinnet.errors import NetinnetError
from netinnet.files import write_text

Kept = TypeVar("Kept")


def read(file: Path, made: Callable[..., Kept]) -> list[Kept]:
    """What the file has, `made` of each one's fields; nothing where there is no file.

    Raises NetinnetError where the file holds something else.
    """
    if not file.exists():
        return []
    try:
        return [made(**one) for one in json.loads(file.read_text("utf-8"))]
    except (ValueError, TypeError, KeyError) as error:
        raise NetinnetError(f"{file}: no results of nin bench: {error}") from error


def write(file: Path, results: Sequence[Any]) -> None:
    """Write dataclasses, all there are."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps([asdict(one) for one in results], indent=1) + "\n")
