"""`nin data`: the data sets, where each is on this machine, and whether its files are right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from netinnet.cli.console import console, print_json, print_table
from netinnet.data import datasets


def data(
    *,
    fetch: Annotated[bool, Parameter(negative=())] = False,
    data_dir: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """List the data sets, where each was found, and check every file's SHA-256.

    Parameters
    ----------
    fetch
        Fetch what is missing first.
    data_dir
        Look only in this folder.
    json
        Print JSON.
    """
    if fetch:
        from netinnet.cli.progress import show_data_progress

        with show_data_progress(console(stderr=True)) as on_progress:
            for name in datasets.DATASETS:
                datasets.load(name, data_dir, on_progress=on_progress)
    found = datasets.status(data_dir)
    described = {name: known.description for name, known in datasets.DATASETS.items()}
    if json:
        print_json(
            [
                {
                    "name": s.name,
                    "description": described[s.name],
                    "folder": None if s.folder is None else str(s.folder),
                    "verified": s.verified,
                    "message": s.message,
                }
                for s in found
            ]
        )
        return
    print_table(
        ("data set", "what", "where", "state"),
        [(s.name, described[s.name], str(s.folder or "-"), s.message) for s in found],
    )
