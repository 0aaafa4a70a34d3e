"""The page of a reliability study: how many runs converged, and what died in the others."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from netinnet.studies import reliability
from netinnet.studies.outcome import Outcome
from netinnet.studies.pages import figures
from netinnet.studies.pages.figures import Dots, Recalls
from netinnet.studies.pages.page import (
    Page,
    figure,
    learning_curves,
    lost_runs,
    mean_and_spread,
    runs_section,
    section,
    text_table,
)
from netinnet.studies.plan import Plan
from netinnet.studies.reliability import ArmReliability

MOST_CARDS = 8
MOST_CLASSES = 40
"""A map of more classes than this could not be read."""


def write(folder: Path, plan: Plan, outcomes: Sequence[Outcome], state: str) -> Path:
    """Write report.html into the study's folder and return its path."""
    rows = reliability.table(plan, outcomes)
    cards = [(row.arm, f"{row.converged} of {row.ended}") for row in rows[:MOST_CARDS]]
    networks = ", ".join(sorted({arm.recipe.network for arm in plan.arms}))
    page = Page(
        f"How reliably does {networks} learn?",
        cards,
        (
            _arms(rows, plan.settings["threshold"]),
            _accuracies(rows, plan.settings["threshold"]),
            _dead_classes(plan, outcomes),
            _recalls(plan, rows),
            _when(outcomes),
            learning_curves([("", rows)]),
            runs_section(folder, outcomes),
        ),
        lost_runs(outcomes),
    )
    return page.write(folder, plan, outcomes, state)


def _arms(rows: Sequence[ArmReliability], threshold: float) -> str:
    header = ["arm", "converged", "share (95 %)", "accuracy (%)", "median", "range"]
    lost = [state for state in ("diverged", "failed") if any(getattr(row, state) for row in rows)]
    header += ["dead", "all dead", *lost]
    cells = []
    for row in rows:
        share, found = row.share, row.accuracy
        cells.append(
            [
                row.arm,
                f"{row.converged} of {row.ended}",
                f"{share.estimate:.2f} ({share.low:.2f}–{share.high:.2f})" if share else "–",
                mean_and_spread(found, ".1f", 100),
                f"{100 * found.median:.1f}" if found else "–",
                f"{100 * found.minimum:.1f}–{100 * found.maximum:.1f}" if found else "–",
                str(row.runs_with_dead_classes),
                str(row.runs_all_dead),
                *(str(getattr(row, state)) for state in lost),
            ]
        )
    note = (
        f"A run has converged when its accuracy is at least {threshold:g} and no class is "
        "dead: its logit 0 for every picture that judges. “Dead” counts runs with such a "
        "class, “all dead” those in which every class is. The interval of a share is Wilson's."
    )
    table = text_table(header, cells, numbers=range(1, len(header)))
    return section("Arms", f'{table}<p class="soft">{note}</p>')


def _accuracies(rows: Sequence[ArmReliability], threshold: float) -> str:
    arms = []
    for row in rows:
        finished = [(o.accuracy, bool(o.dead)) for o in row.runs if o.accuracy is not None]
        arms.append(Dots(row.arm, [a for a, _ in finished], [dead for _, dead in finished]))
    if not any(arm.accuracies for arm in arms):
        return ""
    svg = figures.accuracy_strips(arms, threshold)
    caption = "Accuracy of every finished run. The dotted line is the threshold."
    return section("Accuracy of every run", figure(svg, "Accuracy of every run", caption))


def _dead_classes(plan: Plan, outcomes: Sequence[Outcome]) -> str:
    """Accuracy by the number of dead classes: does one account for the other?"""
    by_count: dict[int, list[float]] = defaultdict(list)
    for o in outcomes:
        if o.accuracy is not None:
            by_count[len(o.dead)].append(o.accuracy)
    if not set(by_count) - {0}:
        text = "No finished run has a dead class." if by_count else "No run is finished yet."
        return section("Dead classes", f"<p>{text}</p>")
    classes = len(plan.facts(plan.arms[0].recipe).classes)
    alive = classes - min(by_count)
    best = statistics.median(by_count[min(by_count)]) * classes / alive if alive else None
    points = [(count, a) for count in sorted(by_count) for a in by_count[count]]
    svg = figures.dead_and_accuracy(points, classes, best)
    caption = (
        "Each run's accuracy over its number of dead classes. The dashed line: the median of "
        "runs with the fewest dead classes, less the share of the pictures of dead classes."
    )
    table = text_table(
        ["dead classes", "runs", "median accuracy (%)", "range"],
        [
            [
                str(count),
                str(len(found)),
                f"{100 * statistics.median(found):.1f}",
                f"{100 * min(found):.1f}–{100 * max(found):.1f}",
            ]
            for count, found in sorted(by_count.items())
        ],
        numbers=range(4),
    )
    image = figure(svg, "Accuracy and dead classes", caption)
    return section("Dead classes", f'{image}<p></p><div class="narrow">{table}</div>')


def _recalls(plan: Plan, rows: Sequence[ArmReliability]) -> str:
    """Which classes each run found: a class that is never found is not always a dead one."""
    classes = plan.facts(plan.arms[0].recipe).classes
    arms = []
    for row in rows:
        finished = [o for o in row.runs if o.accuracy is not None]
        finished.sort(key=lambda o: -(o.accuracy or 0.0))
        dead = [[name in {d.name for d in o.dead} for name in classes] for o in finished]
        if finished and len(classes) <= MOST_CLASSES:
            arms.append(Recalls(row.arm, [o.recall for o in finished], dead))
    if not arms:
        return ""
    svg = figures.recall_maps(arms, classes)
    medians = [
        [arm.name, *(_median_recall([run[i] for run in arm.recalls]) for i in range(len(classes)))]
        for arm in arms
    ]
    table = text_table(["median recall (%)", *classes], medians, numbers=range(1, len(classes) + 1))
    caption = (
        "Recall of each class in every finished run: the share of its pictures that were "
        "found. A cross is a dead class; where all are dead, every picture is given to the "
        "first class, which so has a recall of 100 %."
    )
    image = figure(svg, "Recall of each class in every run", caption)
    return section("Recall by class", f'{image}<p></p><div class="scroll">{table}</div>')


def _median_recall(recalls: Sequence[float | None]) -> str:
    found = [recall for recall in recalls if recall is not None]
    return f"{100 * statistics.median(found):.0f}" if found else "–"


def _when(outcomes: Sequence[Outcome]) -> str:
    """In which epochs the classes died that were dead in the end."""
    dead = [found for o in outcomes for found in o.dead]
    if not dead:
        return ""
    epochs = Counter(found.epoch for found in dead)
    rows = [[str(epoch), str(epochs[epoch])] for epoch in sorted(e for e in epochs if e)]
    if epochs[None]:
        rows.append(["died within the last", str(epochs[None])])
    note = (
        "The first epoch in which a class that is dead in the end had a logit of 0 for every "
        "training picture, and kept it."
    )
    table = text_table(["first dead epoch", "classes"], rows, numbers=(1,))
    return section("When they died", f'<div class="narrow">{table}</div><p class="soft">{note}</p>')
