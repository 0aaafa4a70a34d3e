"""Figures of studies, in the style of `figures`: they must be readable in print and in grey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from netinnet import units
from netinnet.reports import figures as style
from netinnet.reports.figures import GREY, Format
from netinnet.studies.statistics import Interval, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NARROW_RANGE, WIDE_RANGE = 5.0, 50.0
"""A logarithmic axis over more than these has marks at 1, 2 and 5, and at powers of ten only."""
COLOURS = ("#0b5fa5", "#d1670b", "#3f8f5f", "#8b4a8b", "#6b6b6b", "#b8860b", "#2a9d9d", "#a03030")
_LINES = ("-", "--", ":", "-.")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


Dots = Mapping[str, Sequence[tuple[float, bool]]]
"""By arm, the accuracy of each finished run, and whether it has a dead class."""


def accuracy_strips(arms: Dots, threshold: float, form: Format = "svg") -> bytes:
    """Every run as a dot on its arm's line; a cross is a run with dead classes."""
    figure, axes = style.new_axes(8.0, 1.1 + 0.55 * max(len(arms), 2))
    for row, runs in enumerate(arms.values()):
        # Runs of equal accuracy are set beside each other, in the order of their seeds.
        spread = (np.arange(len(runs)) * 0.618034 % 1 - 0.5) * 0.5
        for (accuracy, is_dead), beside in zip(runs, spread, strict=True):
            dots(axes, accuracy, row + beside, is_dead)
    axes.axvline(threshold, color=GREY, linewidth=1, linestyle=":")
    style.name_rows(axes, [style.shortened(name, 44) for name in arms])
    axes.set_xlim(0, 1)
    style.percent_axis(axes.xaxis, "accuracy (%)")
    style.tidy(axes)
    axes.grid(visible=False, axis="y")
    for is_dead, label in ((False, "all classes alive"), (True, "with dead classes")):
        dots(axes, [], [], is_dead, label)
    style.legend_above(figure, axes, 2)
    return style.image_bytes(figure, form)


def dead_and_accuracy(
    points: Sequence[tuple[int, float]],
    classes: int,
    best: float | None,
    form: Format = "svg",
) -> bytes:
    """Accuracy over the number of dead classes of each run.

    The line is what is left of `best` where each dead class costs its share of the pictures; None
    where no run says what the best is.
    """
    figure, axes = style.new_axes(6.4, 3.6)
    counts = np.arange(classes + 1)
    if best is not None:
        left = np.maximum(min(best, 1.0) * (1 - counts / classes), 1 / classes)
        label = "median of the least dead × share of classes alive"
        axes.plot(counts, left, color=GREY, linestyle="--", linewidth=1, label=label)
    spread = (np.arange(len(points)) * 0.618034 % 1 - 0.5) * 0.3
    x = np.array([count for count, _ in points], float) + spread
    dots(axes, x, [accuracy for _, accuracy in points], label="one run")
    axes.set_xticks(counts)
    axes.set_xlabel(f"dead classes (of {classes})")
    axes.set_ylim(0, 1)
    style.percent_axis(axes.yaxis, "accuracy (%)")
    style.tidy(axes)
    axes.legend(frameon=False, fontsize=9)
    return style.image_bytes(figure, form)


@dataclass(frozen=True)
class Recalls:
    """The recall of each class in every run of one arm (runs × classes), and which are dead."""

    name: str
    recalls: Sequence[Sequence[float | None]]
    dead: Sequence[Sequence[bool]]


def recall_maps(arms: Sequence[Recalls], classes: Sequence[str], form: Format = "svg") -> bytes:
    """A map for each arm: a row a run, a column a class; the darker, the more were found.

    A cross is a dead class.
    """
    height = 1.8 + 0.2 * max(len(arm.recalls) for arm in arms)
    figure, grid = style.new_grid(len(arms), 4, 2.6, height, margin=1.0)
    for axes, arm in zip(grid.flat, arms, strict=False):
        values = np.array([[r or 0.0 for r in run] for run in arm.recalls])
        image = axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        y, x = np.nonzero(np.array(arm.dead, bool))
        axes.scatter(x, y, marker="x", s=16, color=COLOURS[1], linewidths=1.2)
        axes.set_xticks(range(len(classes)), [style.shortened(c, 14) for c in classes], rotation=90)
        axes.set_yticks([])
        axes.tick_params(labelsize=7, length=0)
        axes.set_title("\n".join(arm.name.split(", ")), fontsize=8)
    for row in grid:
        row[0].set_ylabel("runs, the best first", fontsize=9)
    bar = figure.colorbar(image, ax=grid, shrink=0.6, aspect=25, pad=0.01)
    bar.set_label("recall (%)", fontsize=9)
    style.percent_axis(bar.ax.yaxis)
    bar.ax.tick_params(labelsize=8)
    return style.image_bytes(figure, form)


Curves = Mapping[str, Sequence[Sequence[float]]]
"""By arm, the accuracy after each epoch (1, 2, …) in every run: runs × epochs."""


def curves_with_bands(panels: Sequence[tuple[str, Curves]], form: Format = "svg") -> bytes:
    """A panel for each title: mean accuracy over the epochs, ± one standard deviation.

    Where runs have different numbers of epochs, only epochs that all have are drawn.
    """
    from matplotlib.ticker import MaxNLocator

    figure, grid = style.new_grid(len(panels), 2, 4.6, 3.3, margin=1.6 if len(panels) == 1 else 0)
    for axes, (title, curves) in zip(grid.flat, panels, strict=False):
        for i, (name, runs) in enumerate(curves.items()):
            length = min(map(len, runs))
            values = np.array([run[:length] for run in runs])
            epochs = np.arange(1, length + 1)
            mean = values.mean(axis=0)
            if len(values) > 1:
                sd, band = values.std(axis=0, ddof=1), {"alpha": 0.15, "lw": 0}
                axes.fill_between(epochs, mean - sd, mean + sd, **band, color=_colour(i))
            line = {"linestyle": _LINES[i % len(_LINES)], "linewidth": 1.4, "markersize": 4}
            axes.plot(epochs, mean, **_look(i, name, 48), **line)
        axes.set_ylim(top=min(axes.get_ylim()[1], 1))
        axes.set_title(title, fontsize=10, loc="left")
        style.percent_axis(axes.yaxis, "accuracy (%)")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("epoch")
        style.tidy(axes)
        axes.legend(frameon=False, fontsize=8)
    return style.image_bytes(figure, form)


def effects(rows: Sequence[tuple[str, Interval]], form: Format = "svg") -> bytes:
    """Differences from the baseline with their intervals, in percentage points."""
    figure, axes = style.new_axes(7.6, 1.0 + 0.34 * max(len(rows), 2))
    for i, (_, effect) in enumerate(rows):
        if effect.low is not None and effect.high is not None:
            ends = [100 * effect.low, 100 * effect.high]
            axes.plot(ends, [i, i], color=COLOURS[0], linewidth=1.6)
        axes.plot(100 * effect.estimate, i, "o", color=COLOURS[0], markersize=5)
    axes.axvline(0, color=GREY, linewidth=1)
    style.name_rows(axes, [style.shortened(name, 40) for name, _ in rows])
    axes.set_xlabel("accuracy against the baseline (percentage points), 95 % interval")
    style.tidy(axes)
    return style.image_bytes(figure, form)


def accuracy_against_cost(
    names: Sequence[str],
    costs: Mapping[str, Sequence[float]],
    accuracies: Sequence[Summary],
    form: Format = "svg",
) -> bytes:
    """The accuracy of each network over its costs, a panel for each kind, on logarithmic axes."""
    figure = style.new_figure(9.0, 3.8)
    panels: Any = figure.subplots(1, len(costs), sharey=True)
    for axes, (label, values) in zip(panels, costs.items(), strict=True):
        for i, (name, accuracy) in enumerate(zip(names, accuracies, strict=True)):
            spread = {"yerr": accuracy.sd or 0, "capsize": 3}
            point = {**_look(i, name, 24), "markersize": 7, "linestyle": "none"}
            axes.errorbar(values[i], accuracy.mean, **spread, **point)
        log_axis(axes, max(values) / min(values))
        axes.margins(x=0.15, y=0.15)
        axes.set_xlabel(label)
        style.percent_axis(axes.yaxis)
        style.tidy(axes)
    panels[0].set_ylabel("accuracy (%), mean ± sd")
    style.legend_above(figure, panels[0], 5)
    return style.image_bytes(figure, form)


def _look(i: int, name: str, length: int) -> dict[str, Any]:
    """How the i-th of several lines or points looks, and its name for the legend."""
    label = style.shortened(name, length)
    return {"color": _colour(i), "marker": _MARKERS[i % len(_MARKERS)], "label": label}


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def dots(axes: Axes, x: Any, y: Any, crossed: bool = False, label: str | None = None) -> Any:
    """A hollow dot for each run, or a cross."""
    form: dict[str, Any] = {"facecolors": "none", "edgecolors": COLOURS[0]}
    if crossed:
        form = {"marker": "x", "color": COLOURS[1]}
    return axes.scatter(x, y, s=26, linewidths=1.4, label=label, **form)


def log_axis(axes: Axes, factor: float) -> None:
    """Make the x axis logarithmic; it spans that factor."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    marks = (1, 2, 5) if factor > NARROW_RANGE else range(1, 10)
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if factor > WIDE_RANGE else marks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: units.operations(value)))
