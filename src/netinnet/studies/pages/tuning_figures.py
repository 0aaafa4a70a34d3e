"""Figures of a search, in the style of `figures`: they must be readable in print and in grey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from netinnet.reports import figures as style
from netinnet.reports.figures import GREY, Format
from netinnet.studies.fields import short_text
from netinnet.studies.pages.figures import COLOURS, dots, log_axis
from netinnet.studies.search_space import Choices, Range
from netinnet.studies.tuning import Trial

SLICE_COLUMNS = 3


@dataclass(frozen=True)
class Slice:
    """The values of one field in each trial."""

    name: str
    values: Sequence[Any]
    searched: Range | Choices


def history(trials: Sequence[Trial], form: Format = "svg") -> bytes:
    """Each trial's last accuracy by its number, and the best finished one so far."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = style.new_axes(8.0, 3.6)
    for state, label in (("finished", "finished"), ("pruned", "pruned (last epoch it had)")):
        shown = [(t.number, t.accuracy) for t in trials if t.state == state]
        shown = [(number, accuracy) for number, accuracy in shown if accuracy is not None]
        if shown:
            numbers, accuracies = zip(*shown, strict=True)
            dots(axes, numbers, accuracies, state == "pruned", label)
    finished = [t for t in trials if t.state == "finished"]
    if finished:
        best = np.maximum.accumulate([t.accuracy or 0.0 for t in finished])
        line: dict[str, Any] = {"where": "post", "color": GREY, "linewidth": 1.2}
        axes.step([t.number for t in finished], best, **line, label="best so far")
    axes.set_xlabel("trial")
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    style.percent_axis(axes.yaxis, "validation accuracy (%)")
    style.tidy(axes)
    style.legend_above(figure, axes, 3)
    return style.image_bytes(figure, form)


def importances(shares: Mapping[str, float], form: Format = "svg") -> bytes:
    """A bar for each field, the most important one first."""
    figure, axes = style.new_axes(7.0, 0.9 + 0.34 * max(len(shares), 2))
    names = sorted(shares, key=lambda name: -shares[name])
    axes.barh(names, [shares[name] for name in names], height=0.6, color=COLOURS[0])
    axes.invert_yaxis()
    style.percent_axis(axes.xaxis, "importance (%)")
    style.tidy(axes)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    return style.image_bytes(figure, form)


def slices(
    fields: Sequence[Slice],
    accuracies: Sequence[float],
    numbers: Sequence[int],
    form: Format = "svg",
) -> bytes:
    """A panel for each field: accuracy over its values; later trials are darker."""
    from matplotlib.ticker import MaxNLocator

    figure, grid = style.new_grid(len(fields), SLICE_COLUMNS, 3.1, 2.6, sharey=True)
    shade = 0.25 + 0.65 * np.arange(len(numbers)) / max(len(numbers) - 1, 1)
    for axes, field in zip(grid.flat, fields, strict=False):
        x, ticks = _positions(field)
        axes.scatter(x, accuracies, s=24, c=shade, cmap="Blues", vmin=0, vmax=1, edgecolors=GREY)
        if ticks:
            axes.set_xticks(range(len(ticks)), ticks)
            axes.set_xlim(-0.6, len(ticks) - 0.4)
        elif isinstance(field.searched, Range):
            if field.searched.log:
                log_axis(axes, field.searched.high / field.searched.low)
            else:
                axes.xaxis.set_major_locator(MaxNLocator(5, integer=field.searched.is_whole))
        axes.set_xlabel(field.name)
        axes.tick_params(labelsize=8)
        style.percent_axis(axes.yaxis)
        style.tidy(axes)
    for row in grid:
        row[0].set_ylabel("validation accuracy (%)", fontsize=9)
    return style.image_bytes(figure, form)


def _positions(field: Slice) -> tuple[Sequence[float], list[str]]:
    """Where each trial stands on the x axis, and the names there; none for a range."""
    if isinstance(field.searched, Range):
        return [float(value) for value in field.values], []
    known = sorted(set(field.values), key=lambda v: (v is None, 0 if v is None else v))
    places = {value: i for i, value in enumerate(known)}
    # Trials of one value stand beside each other.
    spread = (np.arange(len(field.values)) * 0.618034 % 1 - 0.5) * 0.3
    x = [places[value] + s for value, s in zip(field.values, spread, strict=True)]
    return x, [short_text(value) for value in known]
