"""The learning rate of a step: a pure function of the recipe and the step."""

from __future__ import annotations

import math

from netinnet.training.recipe import Recipe


def learning_rate(recipe: Recipe, step: int, total: int) -> float:
    """Rate of step `step` of `total`, numbered from 1.

    `one-cycle` (Smith and Topin 2018, linear): from near 0 up to the recipe's rate in the first
    `warmup` share of the steps, then down to near 0. `cosine` (Loshchilov and Hutter 2017, without
    restarts) goes up alike, then down along half a cosine. `linear` only goes down.
    """
    if recipe.schedule == "constant":
        return recipe.learning_rate
    done = (step - 0.5) / total
    if recipe.schedule == "linear":
        return recipe.learning_rate * (1 - done)
    if done < recipe.warmup:
        return recipe.learning_rate * done / recipe.warmup
    if recipe.schedule == "cosine":
        way = (done - recipe.warmup) / (1 - recipe.warmup)
        return recipe.learning_rate * (1 + math.cos(math.pi * way)) / 2
    return recipe.learning_rate * (1 - done) / (1 - recipe.warmup)
