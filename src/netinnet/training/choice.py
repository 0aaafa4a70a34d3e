"""What is chosen for the pictures and the time: network, input size, width and epochs.

It is chosen once, before the first step, and written into the run's recipe.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netinnet import units
from netinnet.data import datasets, picture_folder
from netinnet.data.source import Dataset
from netinnet.errors import RecipeError
from netinnet.networks.network import Network
from netinnet.networks.zoo import Named
from netinnet.training import recipe as recipes
from netinnet.training.parts import network_for
from netinnet.training.recipe import Recipe
from netinnet.training.splits import splits
from netinnet.training.step_time import seconds_of_an_epoch

NETWORKS = {
    28: "nin-small-32",
    32: "nin-small-32",
    64: "nin-small-64",
    96: "nin-small-96",
    128: "nin-small-128",
}
"""The network for each input size in pixels."""
WIDTHS = {1.5: 100_000, 1.0: 2_000, 0.75: 0}
"""Widths, and from how many training pictures on."""
SEEN, LEAST_EPOCHS = 300_000, 20
"""Without a time: so many pictures seen in all epochs, and so many epochs at least."""
ENOUGH_EPOCHS, MOST_EPOCHS = 30, 200
"""Fewer than enough, and a smaller network or picture is taken; more than most are not planned."""
USED = 0.9
"""Share of the time that is planned for steps and evaluations."""


def recipe_for(dataset: str | None) -> str:
    """The recipe of a data set where none is named: its own, `pictures` for a folder, `fashion`."""
    if dataset is None:
        return "fashion"
    if datasets.is_named(dataset):
        return dataset if dataset in recipes.shipped() else "fashion"
    return "pictures" if picture_folder.is_one(Path(dataset).expanduser()) else "fashion"


@dataclass(frozen=True)
class Wish:
    """What somebody wants trained: a recipe, what is still to be chosen, and the time there is."""

    recipe: Recipe
    network: Network | None = None
    """In place of the recipe's, where it is an object."""
    chosen: frozenset[str] = frozenset()
    """Fields of the recipe that are to be chosen for the data and the time."""
    seconds: float | None = None


def wish(
    recipe: str | Path | Recipe | None,
    changes: Mapping[str, Any],
    network: Named | None = None,
    time: str | None = None,
) -> Wish:
    """A recipe with single fields changed; of the data set's own one, what nobody gave is chosen.

    `time` is written as in 90s, 10m, 1.5h. Raises RecipeError, also where it and epochs are given.
    """
    if recipe is None:
        recipe = recipe_for(changes.get("dataset"))
    given = {*changes} if network is None else {*changes, "network"}
    chosen = set() if time is None else {"epochs"}
    if chosen & given:
        raise RecipeError("--time chooses the epochs; leave out --epochs or --time")
    if recipe == "pictures":
        own = set() if "network" in given else {"network", "image_size", "width"}
        chosen |= (own | {"epochs"}) - given
    seconds = None if time is None else units.seconds(time)
    return Wish(*recipes.resolve(recipe, changes, network), frozenset(chosen), seconds)


def choose(wish: Wish, data: Dataset) -> tuple[Recipe, list[str]]:
    """The recipe with what is to be chosen filled in, and why, a line each.

    Of the networks that the pictures call for, the best one that leaves time for enough epochs is
    taken, by timing its steps here.
    """
    recipe, chosen, seconds = wish.recipe, wish.chosen, wish.seconds
    if not chosen:
        return recipe, []
    train, evaluated = splits(recipe, data)
    counts = len(train), sum(map(len, evaluated.values()))
    options = list(_options(recipe, chosen, data.side, counts[0]))
    best, reasons = options[0], []
    if seconds is None and "epochs" in chosen:
        epochs = min(max(SEEN // counts[0], LEAST_EPOCHS), MOST_EPOCHS)
        best = best.replace(epochs=epochs)
        pictures = units.counted(epochs * counts[0], "picture")
        reasons.append(f"{epochs} epochs: {pictures} seen; --time chooses them for a time")
    if seconds is not None and "epochs" in chosen:
        best, epoch = _in_time(options, data, counts, seconds)
        reasons.append(
            f"{best.epochs} epochs: one takes about {units.duration(epoch)} here, and "
            f"{units.estimate(seconds)} are given"
        )
    smaller = "" if best.replace(epochs=1) == options[0].replace(epochs=1) else ", and for the time"
    if "width" in chosen:
        pictures = units.counted(counts[0], "training picture")
        reasons.insert(0, f"width {best.width:g}: for {pictures}{smaller}")
    if "network" in chosen:
        side = f"the shorter side of the pictures is {data.side} pixels (median){smaller}"
        reasons.insert(0, f"{best.network} at {best.image_size}×{best.image_size}: {side}")
    return best, reasons


def _in_time(
    options: Sequence[Recipe], data: Dataset, counts: tuple[int, int], seconds: float
) -> tuple[Recipe, float]:
    """The first option that leaves time for enough epochs, else the last, with its epochs; and the
    seconds of one. Raises RecipeError where there is time for none."""
    for option in options:
        network = network_for(option, facts=data.facts)
        epoch = seconds_of_an_epoch(option, network, data.facts, *counts)
        epochs = min(int(seconds * USED / epoch), MOST_EPOCHS)
        if epochs >= ENOUGH_EPOCHS:
            break
    if not epochs:
        raise RecipeError(
            f"an epoch takes {units.estimate(epoch)} here, and {units.estimate(seconds)} are given:"
            f" give more time, or fewer pictures with --train-examples"
        )
    return option.replace(epochs=epochs), epoch


def _options(recipe: Recipe, chosen: Collection[str], side: int, pictures: int) -> Iterator[Recipe]:
    """Recipes for so many pictures of that size, the best one first, each cheaper than the last."""
    sizes: list[int | None] = [recipe.image_size]
    if "image_size" in chosen:
        sizes = [size for size in sorted(NETWORKS, reverse=True) if size <= side] or [min(NETWORKS)]
    widths: list[float | None] = [recipe.width]
    if "width" in chosen:
        widths = [width for width, least in WIDTHS.items() if pictures >= least]
    for size in sizes:
        fitting = max((known for known in NETWORKS if known <= (size or 0)), default=min(NETWORKS))
        network = NETWORKS[fitting] if "network" in chosen else recipe.network
        for width in widths:
            yield recipe.replace(network=network, image_size=size, width=width)
