"""Where the first number that is not finite arises in a step: which layer, or whose gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from netinnet.inference import oracle
from netinnet.networks.layers import BatchNorm, maker
from netinnet.networks.network import Network, PlacedLayer
from netinnet.preprocessing import Array, resize
from netinnet.weights import Weights


def is_finite(weights: Weights) -> bool:
    """Whether all are numbers."""
    return all(np.isfinite(array).all() for array in weights.values())


def search(
    network: Network,
    weights: Callable[[], Weights],
    train: Callable[[int], tuple[Array, Array]],
    steps: range,
) -> str:
    """In words, in which of some steps the numbers go wrong, and where in it.

    `weights` are those before the steps, and then after each; `train` does a step and returns its
    pictures and logits.
    """
    before = weights()
    for step in steps:
        images, logits = train(step)
        after = weights()
        if not (np.isfinite(logits).all() and is_finite(after)):
            return f"in step {step} {found(network, before, images, after)}"
        before = after
    return "going through the steps again, all numbers were finite"


def found(network: Network, before: Weights, images: Array, after: Weights) -> str:
    """In words, what is not finite in the step from finite weights to others.

    The activations are the NumPy oracle's, in float32, by the batch's own statistics, without
    dropout. `images` are n×height×width×channels as a learner takes them.
    """
    for placed, x in _activations(network, before, images):
        if not np.isfinite(x).all():
            return (
                f"the first activations that are not finite are those of {placed.name} "
                f"({placed.layer.describe()})"
            )
    # Backward, the last layer's comes first.
    wrong = [name for name, array in after.items() if not np.isfinite(array).all()]
    if wrong:
        return (
            f"the activations are finite; the first gradient that is not, or step too large, is "
            f"that of {wrong[-1]}"
        )
    return "the activations are finite without dropout; the logits are not"


def _activations(
    network: Network, weights: Weights, images: Array
) -> Iterator[tuple[PlacedLayer, Array]]:
    """What each layer makes of a batch in training."""
    _, height, width = network.input
    x = resize(images, height, width, fit=network.preprocessing.fit).transpose(0, 3, 1, 2)
    start = x
    for placed in network.placed_layers():
        layer, shape, output = placed.layer, placed.input, placed.output
        own = {t.name: weights[f"{placed.name}.{t.name}"] for t in layer.tensors(shape)}
        operation = maker(oracle.OPERATIONS, layer, "the NumPy oracle")
        start = x if placed.opens else start
        x = x.reshape(len(x), *shape)
        with np.errstate(all="ignore"):  # what overflows is what is looked for
            if isinstance(layer, BatchNorm):
                mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
                x = operation(layer, own | {"running_mean": mean, "running_var": variance}, x)
                # Behind a variance that overflows all is 0.
                x = np.where(np.isfinite(variance)[:, None, None], x, np.nan)
            else:  # a picture at a time: windows take memory
                x = np.concatenate([operation(layer, own, x[i : i + 1]) for i in range(len(x))])
            x = x.astype(np.float32)
            if placed.closes:
                x = x.reshape(len(x), *output) + start.reshape(len(x), *output)
        yield placed, x
