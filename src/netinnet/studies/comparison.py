"""Networks side by side on the same data: what each costs, and how well and how fast it learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netinnet.costs import counts
from netinnet.errors import NetinnetError, nearest
from netinnet.networks.network import Network
from netinnet.networks.zoo import KNOWN, Named, is_path
from netinnet.studies.outcome import Outcome, by_arm, summary_of
from netinnet.studies.plan import Arm, Plan, with_threads
from netinnet.studies.statistics import Summary
from netinnet.training import recipe as recipes
from netinnet.training.parts import facts_of
from netinnet.training.recipe import Recipe

KIND = "compare"
NETWORKS = ("nin-small", "lenet", "alexnet", "vgg11-quarter")
"""What is compared where nothing is named."""
_RECIPES = {"nin": "book", "nin-small": "fashion", "vgg11": "vgg11-quarter"}
"""The shipped recipe of a network where it has another name; the rest learn by `fashion`."""


@dataclass(frozen=True)
class NetworkFigures:
    """What one network costs and what its runs came to.

    Parameters, multiply-accumulates and activation memory (float32) are computed from the
    description, for one picture in a forward pass. `file_bytes` is the size of model.safetensors.
    `images_per_second` and `seconds` are of training, `peak_memory_bytes` of the training process.
    `lost` runs diverged or failed.
    """

    arm: str
    network: str
    image_size: int
    runs: tuple[Outcome, ...]
    parameters: int
    macs: int
    activation_bytes: int
    accuracy: Summary | None
    lost: int
    file_bytes: int | None
    peak_memory_bytes: int | None
    images_per_second: Summary | None
    seconds: Summary | None


def recipe_of(name: str, **changes: Any) -> Recipe:
    """The recipe that a network is compared with: its own, where one is shipped.

    `name` may also be that of a shipped recipe or the path of one. Raises RecipeError or
    NetinnetError for a name that is neither.
    """
    is_recipe = name.endswith(".toml") and "blocks" not in recipes.read_toml(Path(name))
    if name in recipes.shipped() or is_recipe:
        return recipes.load(name, **changes)
    if name in KNOWN or is_path(name):
        return recipes.load(_RECIPES.get(name, "fashion"), **{"network": name, **changes})
    raise NetinnetError(
        f"unknown network '{name}'{nearest(name, (*KNOWN, *recipes.shipped()))}; known are "
        f"{', '.join(KNOWN)}, or the path of a network or a recipe"
    )


def plan(
    names: Sequence[Named], *, seeds: Sequence[int], data_dir: Path | None = None, **changes: Any
) -> Plan:
    """A study of networks, each with its own recipe; `changes` (the budget) are for all of them."""
    arms = tuple(_arm(name, changes, data_dir) for name in names or NETWORKS)
    return Plan(KIND, arms, tuple(seeds))


def _arm(network: Named, changes: dict[str, Any], data_dir: Path | None) -> Arm:
    known = network if isinstance(network, Network) else None
    name = known.name if known else str(network)
    if known:
        recipe = recipes.load("fashion", **{"network": name, **changes})
    else:
        recipe = recipe_of(name, **changes)
    label = name if known or not is_path(name) else Path(name).stem
    facts = facts_of(recipe, data_dir)
    return Arm(label, with_threads(recipe), known, facts)


def table(plan: Plan, outcomes: Sequence[Outcome]) -> list[NetworkFigures]:
    """One row a network, in the plan's order."""
    runs = by_arm(plan, outcomes)
    rows = []
    for arm in plan.arms:
        network = arm.network
        total = counts.total_cost(network)
        finished = [outcome for outcome in runs[arm.name] if outcome.state == "finished"]
        peaks = (outcome.peak_memory_bytes or 0 for outcome in finished)
        rows.append(
            NetworkFigures(
                arm=arm.name,
                network=network.name,
                image_size=network.input.height,
                runs=tuple(runs[arm.name]),
                parameters=total.parameters,
                macs=total.macs,
                activation_bytes=total.activation_bytes,
                accuracy=summary_of(finished, "accuracy"),
                lost=sum(outcome.is_lost for outcome in runs[arm.name]),
                file_bytes=finished[0].model_bytes if finished else None,
                peak_memory_bytes=max(peaks, default=0) or None,
                images_per_second=summary_of(finished, "images_per_second"),
                seconds=summary_of(finished, "training_seconds"),
            )
        )
    return rows
