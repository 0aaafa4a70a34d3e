"""What a training leaves behind: the model with what it learnt, and the figures in metrics.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from netinnet.costs import counts
from netinnet.data.source import Dataset
from netinnet.networks.network import Network
from netinnet.training.checkpoint import Progress
from netinnet.training.recipe import Recipe
from netinnet.version import VERSION
from netinnet.weights import Model, Weights


def model(recipe: Recipe, network: Network, data: Dataset, trained: Weights) -> Model:
    """The trained model, which says how it was made."""
    # Where the pictures lie is no business of who gets the model, nor of its digest.
    record = dataclasses.replace(data.record, read_from="")
    notes = {"recipe": recipe.to_toml(), "dataset": record.to_json(), "netinnet": VERSION}
    return Model(network, trained, notes=notes)


def of_epoch(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What is kept of the figures of an epoch's splits."""
    kept = ("loss", "accuracy", "accuracy_interval")
    return {
        split: {key: figures[split][key] for key in kept if key in figures[split]}
        for split in ("train", "validation", "test")
        if split in figures
    }


def metrics(
    recipe: Recipe,
    network: Network,
    progress: Progress,
    sizes: Mapping[str, int],
    dead_classes: Sequence[str],
) -> dict[str, Any]:
    """The figures of a whole training; `sizes` are the splits' numbers of pictures, train first."""
    cost = counts.total_cost(network)
    trained = sizes["train"] * recipe.epochs * (1 + progress.discarded / progress.step)
    return {
        **progress.history[-1],
        "training_seconds": round(progress.seconds, 3),
        "wall_seconds": round(progress.wall_seconds, 3),
        "images_per_second": round(trained / progress.seconds, 2),
        "parameters": cost.parameters,
        "macs": cost.macs,
        "epochs": recipe.epochs,
        "steps": progress.step,
        **{f"{name}_examples": count for name, count in sizes.items()},
        "judged": recipe.judged,
        "dead_classes": list(dead_classes),
        **({"rollbacks": progress.rollbacks} if progress.rollbacks else {}),
    }
