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

from netinnet.costs import counts
from netinnet.errors import NetinnetError, check_name
from netinnet.networks.network import Network
from netinnet.networks.variations import HEADS, is_nin
from netinnet.studies.outcome import Outcome, by_arm, summary_of
from netinnet.studies.plan import Arm, Plan, with_threads
from netinnet.studies.statistics import Interval, Summary, paired_difference
from netinnet.training.parts import facts_of
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
    "last-step": Question("The last step: direct or gradual?", "narrowing", _narrowings),
    "dropout": Question("With or without dropout?", "dropout", (0.0, 0.5)),
    "logits-relu": Question(
        "With or without a ReLU behind the last convolution?", "logits_relu", (True, False)
    ),
    "head": Question("Global average pooling or a fully connected layer?", "head", HEADS),
}


@dataclass(frozen=True)
class ArmEffect:
    """What one arm's runs came to, beside the baseline.

    `difference` is the mean of accuracy minus the baseline's over the seeds that finished in both,
    with Student's 95 % interval; None for the baseline. `lost` runs diverged or failed and have no
    accuracy. Costs are those of one picture in a forward pass; `seconds` are of training.
    """

    arm: str
    question: str | None
    runs: tuple[Outcome, ...]
    accuracy: Summary | None
    difference: Interval | None
    lost: int
    parameters: int
    macs: int
    activation_bytes: int
    seconds: Summary | None


def plan(
    recipe: Recipe,
    *,
    questions: Sequence[str],
    seeds: Sequence[int],
    network: Network | None = None,
    data_dir: Path | None = None,
) -> Plan:
    """A study of the recipe as it is (`baseline`) and with one thing changed at a time.

    `network` is what the recipe's name for it stands for, if that need not be looked up; `data_dir`
    has the data. Values that leave the network as it is are no arms of their own. Raises
    NetinnetError for an unknown question or a network that is no NiN.
    """
    base = with_threads(recipe)
    facts = facts_of(recipe, data_dir)
    arms = [baseline := Arm(BASELINE, base, network, facts)]
    own = baseline.network
    if not is_nin(own.blocks, len(own.classes)):
        raise NetinnetError(f"{own.name} is no NiN: it has none of what is left out here")
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
        results = runs[arm.name]
        accuracies = _accuracies(results)
        total = counts.total_cost(arm.network)
        rows.append(
            ArmEffect(
                arm=arm.name,
                question=question_of(arm.name),
                runs=tuple(results),
                accuracy=summary_of(results, "accuracy"),
                difference=None
                if arm.name == BASELINE
                else paired_difference(accuracies, baseline),
                lost=sum(outcome.is_lost for outcome in results),
                parameters=total.parameters,
                macs=total.macs,
                activation_bytes=total.activation_bytes,
                seconds=summary_of(results, "training_seconds"),
            )
        )
    return rows


def _accuracies(outcomes: Sequence[Outcome]) -> dict[int, float]:
    """Accuracy of each finished run by its seed."""
    return {o.seed: o.accuracy for o in outcomes if o.accuracy is not None}
