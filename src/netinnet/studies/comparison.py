"""Networks side by side on the same data: what each costs, and how well and how fast it learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netinnet.errors import check_name
from netinnet.networks.network import Network
from netinnet.networks.zoo import KNOWN, Named, is_path
from netinnet.studies import plan as plans
from netinnet.studies.arms import Arm
from netinnet.studies.outcome import ArmFigures, Outcome, by_arm, figures_of, summary_of
from netinnet.studies.plan import Plan
from netinnet.studies.statistics import Summary
from netinnet.training import recipe as recipes
from netinnet.training.recipe import Recipe

KIND = "compare"
NETWORKS = ("nin-small", "lenet", "alexnet", "vgg11-quarter")
"""What is compared where nothing is named."""
_RECIPES = {"nin": "book", "nin-small": "fashion", "vgg11": "vgg11-quarter"}
"""The shipped recipe of a network where it has another name; the rest learn by `fashion`."""


@dataclass(frozen=True)
class NetworkFigures(ArmFigures):
    """What one network costs and what its runs came to.

    `file_bytes` is the size of model.safetensors; `images_per_second` is of training,
    `peak_memory_bytes` of the training process.
    """

    network: str
    image_size: int
    file_bytes: int | None
    peak_memory_bytes: int | None
    images_per_second: Summary | None


def recipe_of(name: str, **changes: Any) -> Recipe:
    """The recipe that a network is compared with: its own, where one is shipped.

    `name` may also be that of a shipped recipe or the path of one. Raises RecipeError or
    NetinnetError for a name that is neither.
    """
    is_recipe = name.endswith(".toml") and "blocks" not in recipes.read_toml(Path(name))
    if name in recipes.shipped() or is_recipe:
        return recipes.load(name, **changes)
    if not is_path(name):
        known = dict.fromkeys((*KNOWN, *recipes.shipped()))
        check_name("network", name, known, more=", or the path of a network or a recipe")
    return recipes.load(_RECIPES.get(name, "fashion"), **{"network": name, **changes})


def plan(
    names: Sequence[Named], *, seeds: Sequence[int], data_dir: Path | None = None, **changes: Any
) -> Plan:
    """A study of networks, each with its own recipe; `changes` (the budget) are for all of them."""
    arms = tuple(_arm(name, changes, data_dir) for name in names or NETWORKS)
    return Plan(KIND, arms, tuple(seeds))


def _arm(network: Named, changes: dict[str, Any], data_dir: Path | None) -> Arm:
    if isinstance(network, Network):
        return plans.given(network.name, "fashion", changes, network, data_dir)
    name = str(network)
    label = Path(name).stem if is_path(name) else name
    return plans.given(label, recipe_of(name, **changes), {}, None, data_dir)


def table(plan: Plan, outcomes: Sequence[Outcome]) -> list[NetworkFigures]:
    """One row a network, in the plan's order."""
    runs = by_arm(plan, outcomes)
    rows = []
    for arm in plan.arms:
        finished = [outcome for outcome in runs[arm.name] if outcome.state == "finished"]
        peaks = (outcome.peak_memory_bytes or 0 for outcome in finished)
        rows.append(
            NetworkFigures(
                **figures_of(arm, runs[arm.name]),
                network=arm.network.name,
                image_size=arm.network.input.height,
                file_bytes=finished[0].model_bytes if finished else None,
                peak_memory_bytes=max(peaks, default=0) or None,
                images_per_second=summary_of(finished, "images_per_second"),
            )
        )
    return rows
