"""What a run of each arm has to do: computed from the arm's description and the data it learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from netinnet.costs import counts
from netinnet.data import datasets
from netinnet.data.source import Dataset
from netinnet.studies.plan import Plan
from netinnet.training.listening import Listener, data_progress
from netinnet.training.recipe import Recipe
from netinnet.training.splits import splits


@dataclass(frozen=True)
class Workload:
    """What one run of an arm has to do.

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


def load_data(
    plan: Plan, data_dir: Path | None, listener: Listener = lambda event: None
) -> dict[str, Dataset]:
    """The data sets of all arms, by the recipes' names; fetched once, before any run needs them."""
    progress, names = data_progress(listener), {arm.recipe.dataset: arm.recipe for arm in plan.arms}
    return {
        name: datasets.load(name, data_dir, progress, plan.data.get(name), **recipe.reading)
        for name, recipe in sorted(names.items())
    }


def of_arms(plan: Plan, data: Mapping[str, Dataset]) -> list[Workload]:
    """The workload of each arm; `data` are the data sets by the recipes' names for them."""
    loads = []
    for arm in plan.arms:
        total = counts.total_cost(arm.network)
        steps, images, evaluated = _steps(arm.recipe, data[arm.recipe.dataset])
        sizes = (total.parameters, total.macs, total.activation_bytes)
        loads.append(Workload(arm.name, *sizes, steps, images, evaluated))
    return loads


def _steps(recipe: Recipe, data: Dataset) -> tuple[int, int, int]:
    """Steps of one run, their pictures, and the pictures of its evaluations."""
    train, parts = splits(recipe, data)
    steps = -(-len(train) // recipe.batch_size) * recipe.epochs
    # After each epoch, and the split that judges once more to look for dead classes.
    evaluated = recipe.epochs * sum(map(len, parts.values())) + len(parts[recipe.judged])
    return steps, len(train) * recipe.epochs, evaluated
