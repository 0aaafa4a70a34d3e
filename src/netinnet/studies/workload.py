"""What a run of each arm has to do: computed from the arm's description and the data it learns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from netinnet.costs import counts
from netinnet.data import batches, datasets
from netinnet.data.dataset import Dataset
from netinnet.studies.plan import Plan
from netinnet.training.listening import Listener, data_progress
from netinnet.training.recipe import Recipe


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


def of_arms(
    plan: Plan, data_dir: Path | None, listener: Listener = lambda event: None
) -> list[Workload]:
    """The workload of each arm; data sets are fetched here, once, before any run needs them.

    Raises NetworkError where an arm has no possible network.
    """
    data = {
        name: datasets.load(name, data_dir, on_progress=data_progress(listener))
        for name in sorted({arm.recipe.dataset for arm in plan.arms})
    }
    loads = []
    for arm in plan.arms:
        total = counts.total_cost(arm.network)
        steps, images, evaluated = _steps(arm.recipe, data[arm.recipe.dataset])
        sizes = (total.parameters, total.macs, total.activation_bytes)
        loads.append(Workload(arm.name, *sizes, steps, images, evaluated))
    return loads


def _steps(recipe: Recipe, data: Dataset) -> tuple[int, int, int]:
    """Steps of one run, their pictures, and the pictures of its evaluations."""
    data = data.limited(recipe.train_examples, recipe.test_examples)
    kept, held_out = len(data.train), 0
    if recipe.validation:
        kept, held_out = map(len, batches.split(kept, recipe.validation, recipe.seed))
    steps = -(-kept // recipe.batch_size) * recipe.epochs
    # After each epoch, and the test pictures once more to look for dead classes.
    evaluated = recipe.epochs * (held_out + len(data.test)) + len(data.test)
    return steps, kept * recipe.epochs, evaluated
