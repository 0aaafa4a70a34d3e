"""What the runs of a study cost: computed from each arm's description and the data it learns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from netinnet.costs import counts
from netinnet.data.source import Dataset
from netinnet.studies.plan import Plan
from netinnet.training.recipe import Recipe
from netinnet.training.splits import splits
from netinnet.training.start import network_for


@dataclass(frozen=True)
class ArmCost:
    """What one run of an arm costs.

    `macs` and `activation_bytes` are those of one picture in a forward pass; `images` counts the
    pictures of all training steps, `evaluated` those of all evaluations.
    """

    arm: str
    parameters: int
    macs: int
    activation_bytes: int
    steps: int
    images: int
    evaluated: int

    @property
    def training_macs(self) -> int:
        """Of all steps: a step is a forward pass and about two more for the gradients."""
        return 3 * self.macs * self.images


def work(costs: Iterable[ArmCost]) -> dict[str, float]:
    """What a run of each arm costs in one unit, by the arm's name."""
    return {cost.arm: float(cost.training_macs) for cost in costs}


def of_arms(plan: Plan, data: Mapping[str, Dataset]) -> list[ArmCost]:
    """The cost of each arm. Raises NetworkError where an arm has no possible network.

    `data` has the data sets by name.
    """
    found = []
    for arm in plan.arms:
        its = data[arm.recipe.dataset]
        total = counts.total_cost(network_for(arm.recipe, its.facts))
        steps, images, evaluated = _steps(arm.recipe, its)
        sizes = (total.parameters, total.macs, total.activation_bytes)
        found.append(ArmCost(arm.name, *sizes, steps, images, evaluated))
    return found


def _steps(recipe: Recipe, data: Dataset) -> tuple[int, int, int]:
    """Steps of one run, their pictures, and the pictures of its evaluations."""
    train, parts = splits(recipe, data)
    steps = -(-len(train) // recipe.batch_size) * recipe.epochs
    # After each epoch, and the split that judges once more to look for dead classes.
    evaluated = recipe.epochs * sum(map(len, parts.values())) + len(parts[recipe.judged])
    return steps, len(train) * recipe.epochs, evaluated
