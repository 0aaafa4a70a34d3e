"""Training in several processes: the first one leads and writes the run, the others follow.

The leader runs the loop as ever. Before each thing that all do together it tells the followers
what, and each of them does its part: of a step its shards, of an evaluation its share of the
pictures (`follow.py`). Every process reads the pictures itself: a batch is a pure function of the
step.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from netinnet.data.source import DatasetRecord, Source, View
from netinnet.errors import RecipeError
from netinnet.frameworks import processes as all_processes
from netinnet.frameworks.learner import Learner
from netinnet.frameworks.processes import Processes
from netinnet.networks.network import Network
from netinnet.training.recipe import Recipe
from netinnet.weights import Array

SHARDS = 8
"""Shards of a batch where several processes train and the recipe gives none."""
INTRODUCE, BEGIN, STEP, EVALUATE, END = range(5)
"""What the leader tells; each with one number: none, steps done, learning rate, which split."""


@dataclass(frozen=True)
class Team:
    """The processes of a training, as its leader sees them; alone, nothing is told."""

    processes: Processes = all_processes.ALONE

    def introduce(self, recipe: Recipe, network: Network, record: DatasetRecord) -> None:
        """Tell the followers what is trained."""
        self.tell(INTRODUCE)
        about = {"recipe": recipe.to_toml(), "network": network.to_json(), "data": record.to_json()}
        self.processes.sent_text(json.dumps(about))

    def begin(self, learner: Learner, step: int) -> None:
        """Tell the followers to begin behind a step, with the leader's weights."""
        self.tell(BEGIN, step)
        share(self.processes, learner)

    def tell(self, what: int, number: float = 0.0) -> None:
        self.processes.sent(np.array([what, number], np.float64))


ALONE = Team()


def share(processes: Processes, learner: Learner) -> None:
    """Give all processes the leader's weights, their averages and the optimiser's state."""
    if processes.count > 1:
        learner.set_weights({n: processes.sent(a) for n, a in learner.weights().items()})
        state = learner.optimizer_state()
        learner.set_optimizer_state({name: processes.sent(a) for name, a in state.items()})
        learner.set_averages({n: processes.sent(a) for n, a in learner.average_weights().items()})


def in_parts(processes: Processes, source: Source, compute: Callable[[Source], Array]) -> Array:
    """`compute(source)`, each process having computed a part of the pictures.

    Of fewer pictures than processes there is no part for each: all of them compute all.
    """
    if processes.count == 1 or len(source) < processes.count:
        return compute(source)
    own = np.array_split(np.arange(len(source)), processes.count)[processes.rank]
    return processes.concatenated(compute(View(source, own)))


def in_shards(recipe: Recipe, count: int) -> Recipe:
    """The recipe as so many processes train it: several with shards.

    Raises RecipeError or FrameworkError where they can't.
    """
    if count < 1:
        raise RecipeError(f"processes must be at least 1, got {count}")
    if count == 1:
        return recipe
    if recipe.framework != "pytorch":
        raise RecipeError(f"several processes train with PyTorch only, not with {recipe.framework}")
    sharded = recipe if recipe.shards else recipe.replace(shards=SHARDS)
    all_processes.check_shares(sharded.shards or SHARDS, count)
    return sharded
