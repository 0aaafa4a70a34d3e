"""`nin resources`: parameters, computation and memory, computed and, if asked, measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from netinnet import frameworks
from netinnet import optimizer as rules
from netinnet.cli.console import WholeNumber, console, megabytes, print_json, print_table
from netinnet.cli.networks import described
from netinnet.costs import counts
from netinnet.costs import memory as memory_model
from netinnet.costs.memory import MemoryModel, Moment
from netinnet.errors import NetinnetError, nearest
from netinnet.networks.network import Network
from netinnet.optimizer import Optimizer

if TYPE_CHECKING:
    from netinnet.costs.measure import Measurement

LARGEST_BATCH = 65_536


def resources(
    network: str = "nin-small",
    /,
    *,
    batch: WholeNumber = 128,
    optimizer: str = "sgd",
    momentum: float = 0.0,
    precision: str = "float32",
    image_size: WholeNumber | None = None,
    channels: WholeNumber | None = None,
    classes: WholeNumber | None = None,
    measure: Annotated[bool, Parameter(negative=())] = False,
    framework: str = "pytorch",
    figure: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Show what a network costs: parameters, computation, memory in training and in prediction.

    Everything is computed from the description, as costs/memory.py says. "Stored" is what a layer
    makes and leaves for the backward pass, "live" is everything in memory while it runs. MACs are
    the multiply-accumulates of convolutions and fully connected layers; one is two FLOPs.

    Parameters
    ----------
    network
        A network of the zoo (`nin zoo` lists them), the path of a description (.toml, .json), a run
        folder or a model file.
    batch
        Pictures in a batch, already of the input's size. Memory is that of the step of `nin train`
        in PyTorch on a CPU: activations run behind max pools, ReLU in place.
    optimizer
        The optimiser: sgd, adamw or muon.
    momentum
        Momentum of SGD, and of what Muon leaves to SGD.
    precision
        Precision of all values in the computed figures: float32, bfloat16 or float16.
    image_size
        Height and width of the input in pixels.
    channels
        Channels of the input: 1 for grey, 3 for colour.
    classes
        Number of classes.
    measure
        Let a fresh process predict and train on the CPU, and show its figures beside the computed
        ones: FLOPs as PyTorch counts them, the peak of live bytes in PyTorch's allocator and the
        batch, pictures a second; with other frameworks speed and the process's peak alone.
    framework
        What to measure with: pytorch, tensorflow, jax or mxnet.
    figure
        Write a figure of memory and MACs by layer to this .svg or .png file.
    json
        Print JSON.
    """
    if not 1 <= batch <= LARGEST_BATCH:
        raise NetinnetError(f"--batch must be from 1 to {LARGEST_BATCH:,}, got {batch:,}")
    if not 0 <= momentum < 1:
        raise NetinnetError(f"--momentum must be at least 0 and below 1, got {momentum:g}")
    _check("optimizer", optimizer, rules.KINDS)
    _check("precision", precision, memory_model.VALUE_BYTES)
    if measure and precision != "float32":
        raise NetinnetError(f"--measure measures float32; leave out --precision {precision}")
    if figure is not None and figure.suffix not in (".svg", ".png"):
        raise NetinnetError(f"--figure {figure}: the name must end in .svg or .png")
    title = frameworks.framework(framework).title
    net = described(network, image_size=image_size, channels=channels, classes=classes)
    update = Optimizer(optimizer, momentum)
    memory = memory_model.model(net, batch, update, precision)
    found = None
    if measure:
        from netinnet.costs.measure import in_fresh_process

        console(stderr=True).print(
            f"measuring {net.name} in {title}, batch {batch}: predictions, then training steps"
        )
        found = in_fresh_process(net, batch, update, framework)
    if figure is not None:
        from netinnet.files import replacing
        from netinnet.reports.figures import Format
        from netinnet.reports.resource_figure import resource_bars

        form: Format = "png" if figure.suffix == ".png" else "svg"
        drawn = resource_bars(net, memory, batch, precision, form)
        with replacing(figure) as file:
            file.write(drawn)
    if json:
        print_json(_document(net, batch, update, precision, memory, found))
        return
    with_momentum = f" with momentum {momentum:g}" if momentum else ""
    print(
        f"{net.name}, input {net.input}, batch {batch:,}, {optimizer}{with_momentum}, {precision}"
    )
    print("MACs and FLOPs of a layer are for one picture, memory is for the batch.")
    _print_layers(net, memory)
    _print_peaks(memory.training_peak, memory.prediction_peak)
    _print_totals(net, batch, memory, found)


def _check(field: str, value: str, known: Iterable[str]) -> None:
    names = tuple(known)
    if value not in names:
        raise NetinnetError(
            f"unknown {field} '{value}'{nearest(value, names)}; known are {', '.join(names)}"
        )


def _layers(net: Network, memory: MemoryModel) -> list[dict[str, Any]]:
    """A row a layer, in the order in which they run."""
    run = memory_model.executed(net)
    return [
        {
            "name": cost.name,
            "output": cost.output,
            "parameters": cost.parameters,
            "macs": cost.macs,
            "prediction_flops": 2 * cost.macs,
            "training_flops": 2 * training_macs,
            "stored_bytes": layer.stored,
            "training_bytes": layer.training,
            "prediction_bytes": layer.prediction,
        }
        for cost, training_macs, layer in zip(
            counts.layer_costs(run), counts.training_macs(run), memory.layers, strict=True
        )
    ]


def _document(
    net: Network,
    batch: int,
    update: Optimizer,
    precision: str,
    memory: MemoryModel,
    found: Measurement | None,
) -> dict[str, Any]:
    return {
        "network": net.name,
        "input": list(net.input),
        "batch": batch,
        "optimizer": dataclasses.asdict(update),
        "precision": precision,
        "layers": _layers(net, memory),
        "total": _totals(net, batch, memory),
        "training_peak": dataclasses.asdict(memory.training_peak),
        "prediction_peak": dataclasses.asdict(memory.prediction_peak),
        "measured": found and dataclasses.asdict(found),
    }


def _totals(net: Network, batch: int, memory: MemoryModel) -> dict[str, int]:
    """The network's figures: FLOPs of the whole batch, the update's matrix products included."""
    total = counts.total_cost(net)
    training_macs = sum(counts.training_macs(net))
    return {
        "parameters": total.parameters,
        "macs": total.macs,
        "prediction_flops": 2 * batch * total.macs,
        "training_flops": 2 * batch * training_macs + memory.update_flops,
        "prediction_bytes": memory.prediction_peak.total,
        "training_bytes": memory.training_peak.total,
    }


def _print_layers(net: Network, memory: MemoryModel) -> None:
    layers = _layers(net, memory)
    table = [
        (
            row["name"],
            str(row["output"]),
            f"{row['parameters']:,}",
            f"{row['macs']:,}",
            f"{row['training_flops']:,}",
            *(megabytes(row[f"{key}_bytes"]) for key in ("stored", "training", "prediction")),
        )
        for row in layers
    ]
    sums = [sum(row[key] for row in layers) for key in ("parameters", "macs", "training_flops")]
    stored = sum(row["stored_bytes"] for row in layers)
    table.append(("total", "", *(f"{n:,}" for n in sums), megabytes(stored), "", ""))
    print_table(
        (
            *("layer", "output C×H×W", "parameters", "MACs", "FLOPs of a step"),
            *("stored", "live, training", "live, prediction"),
        ),
        table,
        right=tuple(range(1, 8)),
        totals=1,
    )


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


def _print_peaks(training: Moment, prediction: Moment) -> None:
    """What is live at the two peaks."""
    print_table(
        (
            "live at the peak of",
            f"training ({training.phase} of {training.at})",
            f"prediction ({prediction.at})",
        ),
        [
            (words, *(megabytes(getattr(moment, part)) for moment in (training, prediction)))
            for part, words in _PARTS.items()
        ],
        right=(1, 2),
        totals=1,
    )


def _print_totals(net: Network, batch: int, memory: MemoryModel, found: Measurement | None) -> None:
    """The network's figures, and the measured ones beside them."""
    totals = _totals(net, batch, memory)
    words: dict[str, tuple[str, Callable[[int], str]]] = {
        "parameters": ("parameters", "{:,}".format),
        "prediction_flops": ("FLOPs, prediction of the batch", _giga),
        "training_flops": ("FLOPs, training step", _giga),
        "prediction_bytes": ("peak memory, prediction", megabytes),
        "training_bytes": ("peak memory, training step", megabytes),
    }
    if found is None:
        print_table(
            ("", "computed"), [(w, f(totals[k])) for k, (w, f) in words.items()], right=(1,)
        )
        return
    rows: list[tuple[str, str, str, str]] = []
    for key, (what, form) in words.items():
        value = getattr(found, key)
        rows.append(
            (what, form(totals[key]), "-", "-")
            if value is None
            else (what, form(totals[key]), form(value), f"{value / totals[key]:.3f}")
        )
    for what, value in (
        ("process, before the network", found.process_bytes),
        ("process, after predictions", found.process_prediction_bytes),
        ("process, after training steps", found.process_training_bytes),
    ):
        rows.append((f"peak memory of the {what}", "", megabytes(value) if value else "-", ""))
    peak = found.peak_flops_per_second
    for phase in ("prediction", "training"):
        speed = getattr(found, f"{phase}_images_per_second")
        rate = speed * totals[f"{phase}_flops"] / batch
        share = f"{rate / 1e9:.3g} GFLOP/s, {100 * rate / peak:.0f} % of the peak"
        rows.append((f"images/s, {phase}", "", f"{speed:,.4g}", share))
    rows.append(("matrix-multiply peak", "", f"{peak / 1e9:.3g} GFLOP/s", ""))
    print_table(
        (f"{found.framework} {found.version}", "computed", "measured", "measured/computed"),
        rows,
        right=(1, 2, 3),
    )


def _giga(count: int) -> str:
    return f"{count / 1e9:,.4g} G"
