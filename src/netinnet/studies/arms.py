"""An arm of a study: one recipe, and the network that it trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field

from netinnet.data.source import Facts
from netinnet.errors import NetinnetError
from netinnet.networks.network import Network
from netinnet.networks.variations import Variations
from netinnet.training import recalibration
from netinnet.training.parts import facts_of, network_for
from netinnet.training.recipe import Recipe


@dataclass(frozen=True)
class Arm:
    """One recipe of a study. Its seed is that of each run in turn.

    `known` is what the recipe's name for the network stands for, and `given` are the facts of its
    data set, if they need not be looked up. Raises RecipeError or NetworkError where they can't be
    trained together.
    """

    name: str
    recipe: Recipe
    known: InitVar[Network | None] = None
    given: InitVar[Facts | None] = None
    facts: Facts = field(init=False)
    base: Network = field(init=False)
    """The network before the recipe's own changes, such as its width."""
    network: Network = field(init=False)
    """The network that is trained."""

    def __post_init__(self, known: Network | None, given: Facts | None) -> None:
        facts = given or facts_of(self.recipe)
        plain = self.recipe.replace(**dict.fromkeys(vars(Variations())))
        base = network_for(plain, known, facts)
        object.__setattr__(self, "facts", facts)
        object.__setattr__(self, "base", base)
        object.__setattr__(self, "network", network_for(self.recipe, base, facts))
        recalibration.check(self.recipe.recalibrate, self.network)


def check_judged_alike(arms: Sequence[Arm]) -> None:
    """Raise NetinnetError where pictures that judge one arm are not those that judge another."""
    if len({arm.recipe.judged for arm in arms}) > 1:
        raise NetinnetError("all arms must be judged on one split; give all the same evaluate")
    seen: dict[str, Arm] = {}
    for arm in arms:
        first = seen.setdefault(arm.recipe.dataset, arm)
        own, firsts = _judging(arm.recipe), _judging(first.recipe)
        for name in own | firsts:
            if own.get(name) != firsts.get(name):
                raise NetinnetError(
                    f"{first.name} and {arm.name} read {arm.recipe.dataset} by another {name}: "
                    f"give all arms the same, or they are judged on other pictures"
                )


def _judging(recipe: Recipe) -> dict[str, object]:
    """The fields that decide, with the seed, which pictures of a data set judge."""
    if recipe.judged == "test":
        return recipe.reading | {"test_examples": recipe.test_examples}
    judging = recipe.reading | {"validation": recipe.validation}
    # Without a share to hold out it is the data set's own validation split.
    return judging | ({"train_examples": recipe.train_examples} if recipe.validation else {})
