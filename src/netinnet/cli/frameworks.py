"""`nin frameworks`: which frameworks can be used here, and how to get the others."""

from __future__ import annotations

from typing import Any

from netinnet.cli.console import Switch, print_json, print_table


def frameworks(*, json: Switch = False) -> None:
    """List the frameworks: version and devices, or why one can't be used and how to put that right.

    Each one is imported to see whether it works, which takes a few seconds.

    Parameters
    ----------
    json
        Print JSON.
    """
    from netinnet.frameworks import FRAMEWORKS

    rows = {name: _state(name) for name in FRAMEWORKS}
    if json:
        print_json(rows)
        return
    print_table(
        ("framework", "version", "devices", ""),
        [
            (name, row["version"] or "-", ", ".join(row["devices"]) or "-", row["reason"] or "")
            for name, row in rows.items()
        ],
    )


def _state(name: str) -> dict[str, Any]:
    from netinnet import frameworks as rooms
    from netinnet.errors import FrameworkError

    try:
        adapter = rooms.adapter(name)
    except FrameworkError as error:
        return {"usable": False, "version": None, "devices": [], "reason": str(error)}
    known = {"version": adapter.version(), "devices": list(adapter.devices())}
    return {"usable": True, **known, "reason": None}
