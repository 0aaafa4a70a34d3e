"""What was measured, kept in a JSON file: where, and a list, to which each measurement is added at
once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from netinnet.errors import NetinnetError
from netinnet.files import write_text

Kept = TypeVar("Kept")


def file_of(name: str, folder: Path) -> Path:
    """The results of a contest, of the scaling or of the rooflines."""
    return folder / f"{name}.json"


def read(file: Path, made: Callable[..., Kept], here: dict[str, Any]) -> list[Kept]:
    """What the file has, `made` of each one's fields; nothing where there is no file.

    Raises NetinnetError where the file holds something else, or was written on another machine.
    """
    if not file.exists():
        return []
    try:
        found = json.loads(file.read_text("utf-8"))
        machine, results = found["machine"], [made(**one) for one in found["results"]]
    except (ValueError, TypeError, KeyError) as error:
        raise NetinnetError(f"{file}: no results of nin bench: {error}") from error
    check_machine(file, machine, here)
    return results


def write(file: Path, results: Sequence[Any], here: dict[str, Any]) -> None:
    """Write dataclasses, all there are."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": here, "results": [asdict(one) for one in results]}
    write_text(file, json.dumps(content, indent=1) + "\n")


def check_machine(file: Path, machine: object, here: dict[str, Any]) -> None:
    """Raise NetinnetError where results are those of another machine, or of other versions."""
    if machine != here:
        raise NetinnetError(
            f"{file}: measured on another machine or with other versions: give another --output, "
            f"or remove it"
        )
