"""Accuracy against parameters and against training time: published networks on Fashion-MNIST, ours.

    python benchmarks/accuracy_figure.py docs/images/accuracy.svg [RUN …]

Ours are the figures of docs/log.md in MEASURED, and finished runs if any are given: those of one
network and one number of epochs are one point, mean and standard deviation over seeds, printed with
n. Test accuracy after the last epoch; no epoch is chosen, no view averaged. Time is training times
the threads it had. Nobody has published a time for the others but the chapter, whose step was
measured here.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from netinnet.reports import figures
from netinnet.training import run as runs


class Published(NamedTuple):
    """A point that others published; not measured here."""

    name: str
    parameters: float
    accuracy: float
    source: str
    rise: int = -3
    """Of its name, in points."""


PUBLISHED = (
    Published("list: best below 0.1 M", 100e3, 0.925, "zalandoresearch/fashion-mnist, README"),
    Published("list: 113 K", 113e3, 0.922, "zalandoresearch/fashion-mnist, README"),
    Published("list: 500 K, augmented", 500e3, 0.934, "zalandoresearch/fashion-mnist, README"),
    Published("list: 1.8 M", 1.8e6, 0.932, "zalandoresearch/fashion-mnist, README", -7),
    Published("VGG-16", 26e6, 0.935, "zalandoresearch/fashion-mnist, README"),
    Published("DenseNet-BC", 768e3, 0.954, "zalandoresearch/fashion-mnist, README"),
    Published("WRN-40-4", 8.9e6, 0.967, "zalandoresearch/fashion-mnist, README"),
    Published("296 K, 200 epochs", 296e3, 0.947, "Dezhic/fashion-classifier"),
    Published("ResNet-20", 272e3, 0.9518, "zhunzhong07/Random-Erasing, issue 10"),
    Published("ResNet-20, erasing", 272e3, 0.9555, "zhunzhong07/Random-Erasing, issue 10", 4),
    Published("the book's best NiN", 1_992_166, 0.891, "d2l.ai, and forks' notebooks"),
)


class Ours(NamedTuple):
    name: str
    parameters: int
    accuracies: list[float]
    seconds: float
    """Mean training time of a run, times its threads."""

    @property
    def mean(self) -> float:
        return statistics.mean(self.accuracies)

    @property
    def sd(self) -> float:
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else 0.0


MEASURED = [
    Ours("nin-small, 1 epoch", 96_080, [0.9123, 0.9115, 0.9105, 0.9117, 0.9097], 2 * 40.9),
    Ours("nin-small, 2 epochs", 96_080, [0.9238, 0.9254, 0.9247, 0.9239, 0.9238], 2 * 87.2),
    Ours("nin-small, 5 epochs", 96_080, [0.9350, 0.9341, 0.9341, 0.9345, 0.9346], 311),
    Ours("nin-residual, 50 epochs", 96_442, [0.9449, 0.9459, 0.9493, 0.9476, 0.9472], 52 * 60),
]
"""docs/log.md has the commands: processors with two cores, the last one with AMX, in bfloat16."""
OURS, THEIRS = "#0b5fa5", "#8a97a5"
"""Colours."""
CHAPTER = ("the book's best NiN, 10 epochs", 0.891, 2 * 600_000 / 27.9)
"""Accuracy as published; time by its images/s on two cores with AMX (docs/log.md)."""


def ours(folders: list[Path]) -> list[Ours]:
    grouped: dict[tuple[str, int], list[dict[str, object]]] = defaultdict(list)
    for folder in folders:
        opened = runs.open_run(folder)
        found = opened.metrics()
        grouped[opened.network().name, int(found["epochs"])].append(found)
    return [
        Ours(
            f"{name}, {epochs} epochs",
            int(found[0]["parameters"]),
            [run["test"]["accuracy"] for run in found],
            statistics.mean(run["training_seconds"] * run["threads"] for run in found),
        )
        for (name, epochs), found in grouped.items()
    ]


def draw(points: list[Ours]) -> bytes:
    figure = figures.new_figure(10.5, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2), sharey=True)
    for point in PUBLISHED:
        left.plot(point.parameters, point.accuracy, "s", color=THEIRS, markersize=5)
        text(left, point.name, (point.parameters, point.accuracy), (5, point.rise), figures.GREY)
    name, accuracy, seconds = CHAPTER
    right.plot(seconds, accuracy, "s", color=THEIRS, markersize=5)
    text(right, name, (seconds, accuracy), (-8, -3), figures.GREY, align="right")
    for own in points:
        label = f"{own.name} (n = {len(own.accuracies)})"
        for axes, x in ((left, own.parameters), (right, own.seconds)):
            axes.errorbar(x, own.mean, own.sd, fmt="o", color=OURS, capsize=3)
        text(left, label, (own.parameters, own.mean), (-7, 3), OURS, align="right")
        text(right, label, (own.seconds, own.mean), (6, -11), OURS)
    left.set_xscale("log")
    left.set_xlim(4e3, 8e7)
    left.set_xlabel("parameters")
    right.set_xscale("log")
    right.set_xlim(40, 1e5)
    right.set_xlabel("seconds of training on one core")
    figures.percent_axis(left.yaxis, "Fashion-MNIST, test accuracy (%)")
    for axes in (left, right):
        figures.tidy(axes)
    return figures.image_bytes(figure, "svg")


def text(
    axes: Any,
    words: str,
    at: tuple[float, float],
    offset: tuple[int, int],
    colour: str,
    align: str = "left",
) -> None:
    axes.annotate(
        words, at, offset, textcoords="offset points", ha=align, fontsize=7.5, color=colour
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("figure", type=Path)
    parser.add_argument("runs", type=Path, nargs="*")
    options = parser.parse_args()
    points = [*MEASURED, *ours(options.runs)]
    for own in points:
        each = ", ".join(f"{value:.4f}" for value in own.accuracies)
        print(
            f"{own.name}: {own.mean:.4f} ± {own.sd:.4f} (n = {len(own.accuracies)}: {each}), "
            f"{own.parameters:,} parameters, {own.seconds:,.0f} s of training on one core"
        )
    options.figure.write_bytes(draw(points))


if __name__ == "__main__":
    main()
