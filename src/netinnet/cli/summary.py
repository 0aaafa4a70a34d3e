"""`nin summary`: the chapter's shape table for any network."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from cyclopts import Parameter

from netinnet.cli.console import WholeNumber, megabytes, print_json, print_table
from netinnet.cli.networks import described
from netinnet.costs import counts


def summary(
    network: str = "nin-small",
    /,
    *,
    layers: Annotated[bool, Parameter(negative=())] = False,
    image_size: WholeNumber | None = None,
    channels: WholeNumber | None = None,
    classes: WholeNumber | None = None,
    logits_relu: bool | None = None,
    dropout: float | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Show a network's layers: output shape, parameters, multiply-accumulates, activation memory.

    Everything is computed from the description; no framework is needed. Multiply-accumulates are
    those of convolutions and fully connected layers, memory is float32, both for one picture.

    Parameters
    ----------
    network
        A network of the zoo (`nin zoo` lists them), the path of a description (.toml, .json), a run
        folder or a model file.
    layers
        A row for each layer instead of each block.
    image_size
        Height and width of the input in pixels.
    channels
        Channels of the input: 1 for grey, 3 for colour.
    classes
        Number of classes.
    logits_relu
        Whether a ReLU stands behind the logits.
    dropout
        Dropout rate.
    json
        Print JSON.
    """
    net = described(
        network,
        image_size=image_size,
        channels=channels,
        classes=classes,
        logits_relu=logits_relu,
        dropout=dropout,
    )
    rows = counts.layer_costs(net) if layers else counts.block_costs(net)
    total = counts.total_cost(net)
    if json:
        print_json(
            {
                "network": net.name,
                "input": list(net.input),
                "rows": [dataclasses.asdict(row) for row in rows],
                "total": {
                    key: dataclasses.asdict(total)[key]
                    for key in ("parameters", "macs", "activation_bytes")
                },
            }
        )
        return
    table = [_row("input", "", str(net.input))]
    table += [
        _row(
            row.name,
            row.description,
            str(row.output),
            row.parameters,
            row.macs,
            row.activation_bytes,
        )
        for row in rows
    ]
    table.append(_row("total", "", "", total.parameters, total.macs, total.activation_bytes))
    print_table(
        (
            "layer" if layers else "block",
            "what",
            "output C×H×W",
            "parameters",
            "MACs",
            "activations",
        ),
        table,
        right=(2, 3, 4, 5),
        totals=1,
    )


def _row(
    name: str, what: str, output: str, parameters: int = -1, macs: int = -1, activation: int = -1
) -> tuple[str, ...]:
    numbers = [f"{n:,}" if n >= 0 else "" for n in (parameters, macs)]
    return (name, what, output, *numbers, megabytes(activation) if activation >= 0 else "")
