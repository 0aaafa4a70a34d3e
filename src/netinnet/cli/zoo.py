"""`nin zoo`: the networks by name."""

from __future__ import annotations

from netinnet.cli.console import Switch, print_json, print_table
from netinnet.costs import counts
from netinnet.networks import zoo as networks


def zoo(*, json: Switch = False) -> None:
    """List the networks with their size and what they are from.

    Parameters
    ----------
    json
        Print JSON.
    """
    rows = []
    for name, entry in networks.ZOO.items():
        total = counts.total_cost(networks.network(name))
        rows.append((name, entry.input, entry.classes, total.parameters, total.macs, entry.source))
    keys = ("network", "input", "classes", "parameters", "macs", "source")
    if json:
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
        return
    print_table(
        ("network", "input", "classes", "parameters", "MACs", "from"),
        [
            (name, str(shape), f"{classes:,}", f"{count:,}", f"{macs:,}", source)
            for name, shape, classes, count, macs, source in rows
        ],
        right=(1, 2, 3, 4),
    )
