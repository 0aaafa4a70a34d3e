"""`nin summary`: what a network is and what it costs; `nin resources` is its other name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from netinnet import frameworks, units
from netinnet import optimizer as rules
from netinnet.cli import console
from netinnet.cli.console import Switch, WholeNumber, choice, print_table
from netinnet.cli.networks import described
from netinnet.costs import counts, table
from netinnet.costs.counts import LayerCost
from netinnet.costs.table import Costs
from netinnet.errors import NetinnetError
from netinnet.files import write_bytes
from netinnet.networks.network import FITS, Network
from netinnet.optimizer import Optimizer

if TYPE_CHECKING:
    from netinnet.costs.measure import Measurement


def summary(
    network: str = "nin-small",
    /,
    *,
    layers: Switch = False,
    image_size: WholeNumber | None = None,
    channels: WholeNumber | None = None,
    classes: WholeNumber | None = None,
    logits_relu: bool | None = None,
    dropout: float | None = None,
    batch: WholeNumber | None = None,
    optimizer: Annotated[
        str | None, choice(rules.KINDS, "Optimiser of the training step; sgd if not given.")
    ] = None,
    momentum: float | None = None,
    precision: Annotated[
        str | None, choice(table.PRECISIONS, "Precision of all values; float32 if not given.")
    ] = None,
    measure: Switch = False,
    framework: Annotated[
        str | None, choice(frameworks.FRAMEWORKS, "What to measure with; pytorch if not given.")
    ] = None,
    figure: Path | None = None,
    force: Switch = False,
    json: Switch = False,
) -> None:
    """Show what a network is and what it costs: layers, shapes, parameters, computation, memory.

    Everything is computed from the description; no framework is needed. The first table is for one
    picture. Multiply-accumulates (MACs) are those of convolutions and fully connected layers; one
    MAC is two FLOPs. Activations are float32. With `--batch`, a second table shows computation and
    memory in training and in prediction: "stored" is what a layer keeps for the backward pass,
    "live" is everything in memory while the layer runs. `nin resources NETWORK` is `nin summary
    NETWORK --batch 128`.

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
        Whether a ReLU follows the last convolution.
    dropout
        Dropout rate.
    batch
        Pictures in a batch, already of the input's size; 128 if it is not given but a flag below
        is. Memory is that of a step of `nin train` in PyTorch on a CPU, where activations run
        behind max pools and ReLU works in place, for a batch that goes through as a whole (of
        networks without batch norm it goes through in pieces).
    momentum
        Momentum of SGD, also for the tensors that Muon leaves to SGD; 0 if not given.
    measure
        Predict and train in a fresh process on the CPU, and show the measured figures beside the
        computed ones: FLOPs as PyTorch counts them, the peak of live bytes in PyTorch's allocator
        plus the batch, and pictures a second. With other frameworks, only speed and the process's
        peak memory are measured.
    figure
        Write a figure of memory and MACs by layer to this .svg or .png file.
    force
        Write over the figure.
    json
        Print JSON.
    """
    if measure and (precision or "float32") != "float32":
        raise NetinnetError(f"--measure measures float32; leave out --precision {precision}")
    title = frameworks.framework(framework or "pytorch").title
    if framework is not None and not measure:
        raise NetinnetError(f"--framework {framework} is what to measure with: add --measure")
    if force and figure is None:
        raise NetinnetError("--force needs --figure")
    if figure is not None:
        if figure.suffix not in (".svg", ".png"):
            raise NetinnetError(f"--figure {figure}: the name must end in .svg or .png")
        if figure.exists() and not force:
            raise NetinnetError(
                f"{figure} already exists; give another name, or --force to write over it"
            )
        from netinnet.reports import figures

        figures.require()
    options = {"image_size": image_size, "channels": channels, "classes": classes}
    net = described(network, **options, logits_relu=logits_relu, dropout=dropout)
    if batch is None and (measure or {optimizer, momentum, precision, figure} != {None}):
        batch = table.BATCH
    costs, measured = None, None
    if batch is not None:
        update = Optimizer(optimizer or "sgd", momentum or 0.0)
        costs = table.costs(net, batch, update, precision or "float32")
        if measure:
            from netinnet.costs.measure import in_fresh_process

            console.console(stderr=True).print(
                f"measuring {net.name} in {title}, batch {batch}: predictions, then training steps"
            )
            measured = in_fresh_process(net, batch, update, framework or "pytorch")
        if figure is not None:
            from netinnet.reports.resource_figure import resource_bars

            write_bytes(figure, resource_bars(costs, "png" if figure.suffix == ".png" else "svg"))
    rows = counts.layer_costs(net) if layers else counts.block_costs(net)
    if json:
        console.print_json(_document(net, rows, costs, measured))
        return
    _print_shapes(net, rows, "layer" if layers else "block")
    if costs is not None:
        _print_costs(costs)
        _print_totals(costs, measured)


resources = functools.partial(summary, batch=table.BATCH)
resources.__doc__ = summary.__doc__


def _document(
    net: Network, rows: Sequence[LayerCost], costs: Costs | None, measured: Measurement | None
) -> dict[str, Any]:
    total = counts.total_cost(net)
    sums = {key: getattr(total, key) for key in ("parameters", "macs", "activation_bytes")}
    more = {} if costs is None else {**vars(costs), "measured": measured, "network": net.name}
    return {"network": net.name, "input": net.input, "rows": rows, "total": sums, **more}


def _print_shapes(net: Network, rows: Sequence[LayerCost], kind: str) -> None:
    table = [("input", FITS[net.preprocessing.fit], str(net.input), "", "", "")]
    table += [(row.name, row.description, str(row.output), *_numbers(row)) for row in rows]
    table.append(("total", "", "", *_numbers(counts.total_cost(net))))
    headers = (kind, "what", "output C×H×W", "parameters", "MACs", "activations")
    print_table(headers, table, right=(2, 3, 4, 5), totals=1)


def _numbers(row: LayerCost) -> tuple[str, str, str]:
    return units.count(row.parameters), units.count(row.macs), units.size(row.activation_bytes)


_PARTS = {
    "weights": "weights",
    "gradients": "gradients of weights",
    "optimizer_state": "optimiser state",
    "input": "batch of pictures",
    "stored": "stored activations",
    "passing": "activations and gradients passing",
    "workspace": "workspace",
    "total": "total",
}


def _print_costs(costs: Costs) -> None:
    """Each layer's computation and memory, and what is live at the two peaks."""
    update = costs.optimizer
    momentum = f" with momentum {update.momentum:g}" if update.momentum else ""
    print(
        f"{costs.network.name}, input {costs.network.input}, batch {costs.batch:,}, "
        f"{update.kind}{momentum}, {costs.precision}\n"
        "MACs and FLOPs of a layer are for one picture, memory is for the batch."
    )
    work, memory = ("parameters", "macs", "training_flops"), ("stored", "training", "prediction")
    sums = [f"{costs.layer_sum(field):,}" for field in work]
    sums += [units.size(costs.layer_sum("stored_bytes")), "", ""]
    table = [
        [row.name, str(row.output)]
        + [f"{getattr(row, field):,}" for field in work]
        + [units.size(getattr(row, f"{field}_bytes")) for field in memory]
        for row in costs.layers
    ]
    headers = ["layer", "output C×H×W", "parameters", "MACs", "FLOPs of a step"]
    headers += ["stored", "live, training", "live, prediction"]
    print_table(headers, [*table, ["total", "", *sums]], right=range(1, 8), totals=1)
    peaks = training, prediction = costs.training_peak, costs.prediction_peak
    at = f"training ({training.phase} of {training.at})", f"prediction ({prediction.at})"
    live = [
        (words, *(units.size(getattr(moment, part)) for moment in peaks))
        for part, words in _PARTS.items()
    ]
    print_table(("live at the peak of", *at), live, right=(1, 2), totals=1)


_TOTALS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "parameters": ("parameters", units.count),
    "prediction_flops": ("FLOPs, prediction of the batch", units.operations),
    "training_flops": ("FLOPs, training step", units.operations),
    "prediction_bytes": ("peak memory, prediction", units.size),
    "training_bytes": ("peak memory, training step", units.size),
}
_PROCESS = {
    "process_bytes": "before the network",
    "process_prediction_bytes": "after predictions",
    "process_training_bytes": "after training steps",
}


def _print_totals(costs: Costs, measured: Measurement | None) -> None:
    """The network's figures, and the measured ones beside them."""
    computed = {k: form(getattr(costs.total, k)) for k, (_, form) in _TOTALS.items()}
    if measured is None:
        rows = [(words, computed[key]) for key, (words, _) in _TOTALS.items()]
        print_table(("", "computed"), rows, right=(1,))
        return
    table: list[tuple[str, str, str, str]] = []
    for key, (words, form) in _TOTALS.items():
        value, ratio = getattr(measured, key), costs.ratio(key, measured)
        shown = units.MISSING if ratio is None else f"{ratio:.3f}"
        table.append((words, computed[key], form(value), shown))
    for key, words in _PROCESS.items():
        shown = units.size(getattr(measured, key))
        table.append((f"peak memory of the process, {words}", "", shown, ""))
    for speed in costs.speeds(measured):
        rate = f"{units.operations(speed.flops_per_second)}FLOP/s"
        share = f"{rate}, {speed.percent_of_peak:.0f} % of the peak"
        table.append((f"images/s, {speed.phase}", "", units.rate(speed.images_per_second), share))
    peak = f"{units.operations(measured.peak_flops_per_second)}FLOP/s"
    table.append(("matrix-multiply peak", "", peak, ""))
    headers = (f"{measured.framework} {measured.version}", "computed", "measured")
    print_table((*headers, "measured/computed"), table, right=(1, 2, 3))
