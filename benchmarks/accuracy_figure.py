"""Accuracy against parameters: published networks on Fashion-MNIST, and finished runs of ours.

    python benchmarks/accuracy_figure.py docs/images/accuracy-parameters.svg RUN …

Runs of one network and one number of epochs are one point: mean and standard deviation over seeds,
printed with n. Test accuracy after the last epoch; no epoch is chosen, no view averaged.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from netinnet.reports import figures
from netinnet.training import run as runs


class Published(NamedTuple):
    """A point that others published; not measured here."""

    name: str
    parameters: float
    accuracy: float
    source: str


PUBLISHED = (
    Published("list: best below 0.1 M", 100e3, 0.925, "zalandoresearch/fashion-mnist, README"),
    Published("list: 113 K", 113e3, 0.922, "zalandoresearch/fashion-mnist, README"),
    Published("list: 500 K, augmented", 500e3, 0.934, "zalandoresearch/fashion-mnist, README"),
    Published("list: 1.8 M", 1.8e6, 0.932, "zalandoresearch/fashion-mnist, README"),
    Published("VGG-16", 26e6, 0.935, "zalandoresearch/fashion-mnist, README"),
    Published("DenseNet-BC", 768e3, 0.954, "zalandoresearch/fashion-mnist, README"),
    Published("WRN-40-4", 8.9e6, 0.967, "zalandoresearch/fashion-mnist, README"),
    Published("296 K, 200 epochs", 296e3, 0.947, "Dezhic/fashion-classifier"),
    Published("ResNet-20", 272e3, 0.9518, "zhunzhong07/Random-Erasing, issue 10"),
    Published("ResNet-20, erasing", 272e3, 0.9555, "zhunzhong07/Random-Erasing, issue 10"),
)


class Ours(NamedTuple):
    name: str
    parameters: int
    accuracies: list[float]
    seconds: list[float]

    @property
    def mean(self) -> float:
        return statistics.mean(self.accuracies)

    @property
    def sd(self) -> float:
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else 0.0


MEASURED = Ours("nin-small, 5 epochs", 96_080, [0.9318, 0.9345, 0.9339], [])
"""The default recipe in PyTorch: docs/performance.md has the command."""


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
            [float(run["training_seconds"]) for run in found],
        )
        for (name, epochs), found in grouped.items()
    ]


def draw(points: list[Ours]) -> bytes:
    figure, axes = figures.new_axes(7.4, 4.4)
    for point in PUBLISHED:
        axes.plot(point.parameters, point.accuracy, "s", color="#8a97a5", markersize=5)
        axes.annotate(
            point.name,
            (point.parameters, point.accuracy),
            (5, -3),
            textcoords="offset points",
            fontsize=7.5,
            color=figures.GREY,
        )
    for own in points:
        axes.errorbar(own.parameters, own.mean, own.sd, fmt="o", color="#0b5fa5", capsize=3)
        axes.annotate(
            f"{own.name} (n = {len(own.accuracies)})",
            (own.parameters, own.mean),
            (-7, 4),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color="#0b5fa5",
        )
    axes.set_xscale("log")
    axes.set_xlim(4e3, 6e7)
    axes.set_xlabel("parameters")
    figures.percent_axis(axes.yaxis, "Fashion-MNIST, test accuracy (%)")
    figures.tidy(axes)
    return figures.image_bytes(figure, "svg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("figure", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    options = parser.parse_args()
    points = ours(options.runs)
    for own in points:
        each = ", ".join(f"{value:.4f}" for value in own.accuracies)
        print(
            f"{own.name}: {own.mean:.4f} ± {own.sd:.4f} (n = {len(own.accuracies)}: {each}), "
            f"{own.parameters:,} parameters, {statistics.mean(own.seconds):.0f} s of training"
        )
    options.figure.write_bytes(draw([MEASURED, *points]))


if __name__ == "__main__":
    main()
