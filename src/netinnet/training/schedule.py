"""The learning rate of a step: a pure function of the recipe and the step."""

from __future__ import annotations

from netinnet.training.recipe import Recipe


def learning_rate(recipe: Recipe, step: int, total: int) -> float:
    """Rate of step `step` of `total`, numbered from 1.

    `one-cycle` (Smith and Topin 2018, linear): from near 0 up to the recipe's rate in the first
    `warmup` share of the steps, then down to near 0.
    """
    if recipe.schedule == "constant":
        return recipe.learning_rate
    done = (step - 0.5) / total
    if done < recipe.warmup:
        return recipe.learning_rate * done / recipe.warmup
    return recipe.learning_rate * (1 - done) / (1 - recipe.warmup)
