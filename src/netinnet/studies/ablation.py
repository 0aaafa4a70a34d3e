"""What is each part of a NiN, or of its training, good for? One thing changed at a time.

The parts of the network are the chapter's exercises 2 (why two 1×1 convolutions in a block?) and 4
(what of 384 channels becoming 10 in one step?), and the paper's comparison of heads (section 4.5).
The parts of the training are the levers of docs/training.md.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from netinnet.errors import NetinnetError, RecipeError, RecipeWarning, check_name
from netinnet.networks.network import Network
from netinnet.networks.variations import HEADS, is_nin
from netinnet.networks.zoo import Named
from netinnet.studies import plan as plans
from netinnet.studies.arms import Arm
from netinnet.studies.outcome import ArmFigures, Outcome, by_arm, figures_of
from netinnet.studies.plan import Plan
from netinnet.studies.statistics import Interval, paired_difference
from netinnet.training.recipe import Recipe

KIND = "ablate"
BASELINE = "baseline"


Arms = Mapping[str, Mapping[str, Any]]
"""What an arm is called, and the fields of the recipe that it changes."""


@dataclass(frozen=True)
class Question:
    """Something to find out, by arms that may depend on the network."""

    title: str
    arms: Arms | Callable[[Network], Arms]


def _values(field: str, *values: Any) -> Arms:
    return {_text(value): {field: value} for value in values}


def _text(value: Any) -> str:
    names = {"True": "yes", "False": "no", "None": "none"}
    return names.get(f"{value}", f"{value}")


def _narrowings(network: Network) -> Arms:
    """The last step direct (384 → 10 → 10 → 10) and gradual (384 → 128 → 32 → 10).

    Gradual is by equal factors, rounded to powers of two.
    """
    blocks = [place for place in network.placed_layers() if place.block.startswith("block")]
    before = next(p.input.channels for p in blocks if p.block == blocks[-1].block)
    classes = len(network.classes)
    steps = np.geomspace(before, classes, 4)[1:-1]
    gradual = [2 ** round(float(np.log2(step))) for step in steps]
    return _values("narrowing", f"{classes}-{classes}", "-".join(map(str, gradual)))


OF_NETWORK: dict[str, Question] = {
    "pointwise": Question(
        "How many 1×1 convolutions in a block?", _values("pointwise", 0, 1, 2, 3)
    ),
    "inner": Question("1×1 convolutions, or 3×3 in their place?", _values("inner", 1, 3)),
    "last-step": Question("The last step: direct or gradual?", _narrowings),
    "dropout": Question("With or without dropout?", _values("dropout", 0.0, 0.5)),
    "logits-relu": Question(
        "With or without a ReLU behind the last convolution?", _values("logits_relu", True, False)
    ),
    "head": Question("Global average pooling or a fully connected layer?", _values("head", *HEADS)),
}
OF_TRAINING: dict[str, Question] = {
    "flips": Question(
        "Are pictures mirrored, at random or in turns?",
        {
            "none": {"horizontal_flip": False, "flips": None},
            "random": {"horizontal_flip": True, "flips": None},
            "alternating": {"horizontal_flip": True, "flips": "alternating"},
        },
    ),
    "crops": Question("Are pictures shifted by random crops?", _values("crop_padding", 0, 2)),
    "erasing": Question("Are rectangles erased?", _values("random_erasing", None, 0.25)),
    "mixup": Question("Are pictures mixed?", _values("mixup", None, 0.2)),
    "cutmix": Question("Are parts of other pictures put in?", _values("cutmix", None, 1.0)),
    "smoothing": Question("Are labels smoothed?", _values("label_smoothing", 0.0, 0.1)),
    "averaging": Question("Are weights averaged?", _values("weight_averaging", None, 0.99, 0.999)),
    "recalibration": Question(
        "Are batch norm's statistics computed anew?", _values("recalibrate", None, 100)
    ),
    "decay": Question("Are weights kept small?", _values("weight_decay", 0.0, 0.0005)),
    "schedule": Question(
        "How does the learning rate fall?", _values("schedule", "one-cycle", "linear", "cosine")
    ),
}
QUESTIONS = OF_NETWORK | OF_TRAINING
LEVERS = "levers"
"""Stands for all questions of the training."""


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
    has the data. All questions of the network are asked if none is named. What leaves the network,
    or of the training, the recipe as it is, is no arm of its own. Raises NetinnetError for an
    unknown question, one of the network where that is no NiN, or one that this network can't be
    asked; where `levers` ask it, a RecipeWarning says that it is left out.
    """
    baseline = plans.given(BASELINE, recipe, changes, network, data_dir)
    base, facts, arms = baseline.recipe, baseline.facts, [baseline]
    own = baseline.network
    asked = _asked(questions)
    if not OF_TRAINING.keys() >= set(asked) and not is_nin(own.blocks, len(own.classes)):
        raise NetinnetError(f"{own.name} is not a NiN: it has nothing that an ablation changes")
    for name in asked:
        of_arms = QUESTIONS[name].arms
        for text, fields in (of_arms(own) if callable(of_arms) else of_arms).items():
            try:
                changed = base.replace(**fields)
                arm = Arm(f"{name}={text}", changed, baseline.base, facts)
            except RecipeError as error:
                if name not in OF_TRAINING or name in questions:
                    raise
                warnings.warn(f"{name}={text} is left out: {error}", RecipeWarning, 2)
                continue
            if changed != base and (name in OF_TRAINING or arm.network != own):
                arms.append(arm)
    return Plan(KIND, tuple(arms), tuple(seeds))


def _asked(questions: Sequence[str]) -> list[str]:
    """Each question once. Raises NetinnetError for an unknown one."""
    asked: list[str] = []
    for name in questions or OF_NETWORK:
        if name == LEVERS:
            asked += OF_TRAINING
        else:
            check_name("question", name, (*QUESTIONS, LEVERS))
            asked.append(name)
    return [*dict.fromkeys(asked)]


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
