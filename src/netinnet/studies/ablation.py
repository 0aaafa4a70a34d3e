"""What is each part of a NiN good for? One thing changed at a time, over the same seeds.

These are the chapter's exercises 2 (why two 1×1 convolutions in a block?) and 4 (what of 384
channels becoming 10 in one step?), and the paper's comparison of heads (section 4.5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from netinnet.errors import NetinnetError, check_name
from netinnet.networks.network import Network
from netinnet.networks.variations import HEADS, is_nin
from netinnet.networks.zoo import Named
from netinnet.studies import plan as plans
from netinnet.studies.outcome import ArmFigures, Outcome, by_arm, figures_of
from netinnet.studies.plan import Arm, Plan
from netinnet.studies.statistics import Interval, paired_difference
from netinnet.training.recipe import Recipe

KIND = "ablate"
BASELINE = "baseline"


@dataclass(frozen=True)
class Question:
    """Something to find out: the field of the recipe that is changed, and its values."""

    title: str
    field: str
    values: Sequence[Any] | Callable[[Network], Sequence[Any]]


def _narrowings(network: Network) -> list[str]:
    """The last step direct (384 → 10 → 10 → 10) and gradual (384 → 128 → 32 → 10).

    Gradual is by equal factors, rounded to powers of two.
    """
    blocks = [place for place in network.placed_layers() if place.block.startswith("block")]
    before = next(p.input.channels for p in blocks if p.block == blocks[-1].block)
    classes = len(network.classes)
    steps = np.geomspace(before, classes, 4)[1:-1]
    gradual = [2 ** round(float(np.log2(step))) for step in steps]
    return [f"{classes}-{classes}", "-".join(map(str, gradual))]


QUESTIONS: dict[str, Question] = {
    "pointwise": Question("How many 1×1 convolutions in a block?", "pointwise", (0, 1, 2, 3)),
    "inner": Question("1×1 convolutions, or 3×3 in their place?", "inner", (1, 3)),
    "last-step": Question("The last step: direct or gradual?", "narrowing", _narrowings),
    "dropout": Question("With or without dropout?", "dropout", (0.0, 0.5)),
    "logits-relu": Question(
        "With or without a ReLU behind the last convolution?", "logits_relu", (True, False)
    ),
    "head": Question("Global average pooling or a fully connected layer?", "head", HEADS),
}


@dataclass(frozen=True)
class ArmEffect(ArmFigures):
    """What one arm's runs came to, beside the baseline.

    `difference` is the mean of accuracy minus the baseline's over the seeds that finished in both,
    with Student's 95 % interval; None for the baseline.
    """

    question: str | None
    difference: Interval | None


def plan(
    recipe: str | Path | Recipe,
    *,
    questions: Sequence[str],
    seeds: Sequence[int],
    network: Named | None = None,
    data_dir: Path | None = None,
    **changes: Any,
) -> Plan:
    """A study of the recipe as it is (`baseline`) and with one thing changed at a time.

    As it is: with another `network` and `changes` of single fields, if they are given; `data_dir`
    has the data. Values that leave the network as it is are no arms of their own. Raises
    NetinnetError for an unknown question or a network that is no NiN.
    """
    baseline = plans.given(BASELINE, recipe, changes, network, data_dir)
    base, facts, arms = baseline.recipe, baseline.facts, [baseline]
    own = baseline.network
    if not is_nin(own.blocks, len(own.classes)):
        raise NetinnetError(f"{own.name} is not a NiN: it has nothing that an ablation changes")
    for name in dict.fromkeys(questions or QUESTIONS):
        check_name("question", name, QUESTIONS)
        question = QUESTIONS[name]
        values = question.values(own) if callable(question.values) else question.values
        for value in values:
            changed = base.replace(**{question.field: value})
            arm = Arm(f"{name}={_text(value)}", changed, baseline.base, facts)
            if arm.network != own:
                arms.append(arm)
    return Plan(KIND, tuple(arms), tuple(seeds))


def _text(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value}"


def question_of(arm: str) -> str | None:
    """The question that an arm belongs to; None for the baseline."""
    return None if arm == BASELINE else arm.partition("=")[0]


def table(plan: Plan, outcomes: Sequence[Outcome]) -> list[ArmEffect]:
    """One row an arm, the baseline first."""
    runs = by_arm(plan, outcomes)
    baseline = _accuracies(runs[BASELINE])
    rows = []
    for arm in plan.arms:
        question, effect = question_of(arm.name), None
        if question is not None:
            effect = paired_difference(_accuracies(runs[arm.name]), baseline)
        figures = figures_of(arm, runs[arm.name])
        rows.append(ArmEffect(**figures, question=question, difference=effect))
    return rows


def _accuracies(outcomes: Sequence[Outcome]) -> dict[int, float]:
    """Accuracy of each finished run by its seed."""
    return {o.seed: o.accuracy for o in outcomes if o.accuracy is not None}
