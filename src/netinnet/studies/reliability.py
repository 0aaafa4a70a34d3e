"""How reliably does a recipe learn? Many seeds, and every run's end: accuracy and dead classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netinnet.networks.zoo import Named
from netinnet.studies import plan as plans
from netinnet.studies.outcome import Outcome, by_arm, summary_of
from netinnet.studies.plan import Plan, with_threads
from netinnet.studies.statistics import Interval, Summary, share_interval
from netinnet.training import recipe as recipes
from netinnet.training.recipe import Recipe

KIND = plans.RELIABILITY
THRESHOLD = 0.8
"""Of the book's 193 published NiN runs, 84 end below it."""


@dataclass(frozen=True)
class ArmReliability:
    """What one arm's runs came to.

    A run has converged when no class is dead and its accuracy is at least the threshold; one
    that diverged or failed has not. `share` is the share of the `ended` runs that converged, with
    Wilson's 95 % interval; `accuracy` is over the finished ones.
    """

    arm: str
    runs: tuple[Outcome, ...]
    ended: int
    converged: int
    share: Interval | None
    accuracy: Summary | None
    runs_with_dead_classes: int
    runs_all_dead: int
    """Of those, the runs in which every class is dead."""
    diverged: int
    failed: int

    @property
    def lost(self) -> int:
        """Runs that diverged or failed."""
        return self.diverged + self.failed


def plan(
    recipe: str | Path | Recipe,
    *,
    vary: Mapping[str, Sequence[Any]],
    seeds: Sequence[int],
    threshold: float = THRESHOLD,
    network: Named | None = None,
    data_dir: Path | None = None,
    **changes: Any,
) -> Plan:
    """A study of one recipe, or of a grid of arms, over seeds.

    The recipe has another `network` and `changes` of single fields, if they are given; `data_dir`
    has the data.
    """
    resolved, known = recipes.resolve(recipe, changes, network)
    name = resolved.network if isinstance(recipe, Recipe) else Path(recipe).stem
    arms = plans.grid(name, with_threads(resolved), vary, known, data_dir)
    return Plan(KIND, arms, tuple(seeds), threshold)


def table(plan: Plan, outcomes: Sequence[Outcome]) -> list[ArmReliability]:
    """One row an arm, in the plan's order."""
    assert plan.threshold is not None
    runs = by_arm(plan, outcomes)
    rows = []
    for arm in plan.arms:
        results = runs[arm.name]
        classes = len(arm.facts.classes)
        states = [outcome.state for outcome in results]
        ended = len(results) - states.count("unfinished")
        converged = sum(outcome.converged(plan.threshold) for outcome in results)
        rows.append(
            ArmReliability(
                arm=arm.name,
                runs=tuple(results),
                ended=ended,
                converged=converged,
                share=share_interval(converged, ended),
                accuracy=summary_of(results, "accuracy"),
                runs_with_dead_classes=sum(bool(outcome.dead) for outcome in results),
                runs_all_dead=sum(len(outcome.dead) == classes for outcome in results),
                diverged=states.count("diverged"),
                failed=states.count("failed"),
            )
        )
    return rows
