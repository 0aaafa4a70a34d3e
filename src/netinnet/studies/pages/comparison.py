"""The page of a comparison of networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from netinnet.studies import comparison
from netinnet.studies.comparison import NetworkFigures
from netinnet.studies.outcome import Outcome
from netinnet.studies.pages import figures
from netinnet.studies.pages.figures import Place
from netinnet.studies.pages.page import (
    Page,
    duration,
    figure,
    learning_curves,
    lost_runs,
    mean_and_spread,
    runs_section,
    section,
    text_table,
)
from netinnet.studies.plan import Plan


def write(folder: Path, plan: Plan, outcomes: Sequence[Outcome], state: str) -> Path:
    """Write report.html into the study's folder and return its path."""
    rows = comparison.table(plan, outcomes)
    page = Page(
        "Networks compared",
        [(f"{row.arm} (%)", mean_and_spread(row.accuracy, ".2f", 100)) for row in rows],
        (
            _places(rows),
            _costs(rows),
            _training(rows, plan),
            learning_curves([("", rows)]),
            runs_section(folder, outcomes),
        ),
        lost_runs(outcomes),
    )
    return page.write(folder, plan, outcomes, state)


def _places(rows: Sequence[NetworkFigures]) -> str:
    places = [
        Place(row.arm, row.parameters, row.seconds.mean, row.accuracy)
        for row in rows
        if row.accuracy is not None and row.seconds is not None
    ]
    if not places:
        return ""
    svg = figures.accuracy_against_cost(places)
    caption = "Mean accuracy (± one standard deviation) over size and over training time."
    return section("Accuracy and what it costs", figure(svg, "Accuracy against cost", caption))


def _costs(rows: Sequence[NetworkFigures]) -> str:
    header = ["network", "input", "parameters", "MACs", "activations (KiB)", "file (MB)"]
    cells = [
        [
            row.arm,
            f"{row.image_size}×{row.image_size}",
            f"{row.parameters:,}",
            f"{row.macs:,}",
            f"{row.activation_bytes / 1024:,.1f}",
            f"{row.file_bytes / 1e6:,.2f}" if row.file_bytes else "–",
        ]
        for row in rows
    ]
    note = (
        "Multiply-accumulates and activations (float32) are those of one picture in a forward pass."
    )
    table = text_table(header, cells, numbers=range(1, 6))
    return section("Size and work", f'{table}<p class="soft">{note}</p>')


def _training(rows: Sequence[NetworkFigures], plan: Plan) -> str:
    header = ["network", "runs", "accuracy (%)", "images/s", "training time", "peak memory"]
    header += ["recipe"]
    cells = []
    for row, arm in zip(rows, plan.arms, strict=True):
        recipe = arm.recipe
        cells.append(
            [
                row.arm,
                str(row.accuracy.count if row.accuracy else 0),
                mean_and_spread(row.accuracy, ".2f", 100),
                mean_and_spread(row.images_per_second, ",.0f"),
                duration(row.seconds.mean) if row.seconds else "–",
                f"{row.peak_memory_bytes / 1e6:,.0f} MB" if row.peak_memory_bytes else "–",
                f"{recipe.epochs} epoch{'' if recipe.epochs == 1 else 's'}, {recipe.optimizer}, "
                f"rate {recipe.learning_rate:g}, batch {recipe.batch_size}",
            ]
        )
    note = "Speeds are those of runs beside each other where several were trained at a time."
    table = text_table(header, cells, numbers=range(1, 6))
    return section("Training", f'{table}<p class="soft">{note}</p>')
