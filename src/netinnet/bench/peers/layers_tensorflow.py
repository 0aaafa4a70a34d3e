"""Each layer of netinnet's training step in TensorFlow by itself: its time, and what bounds it."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from netinnet.bench.peers.alone import median_seconds
from netinnet.bench.peers.chapter_tensorflow import multiply
from netinnet.bench.peers.layers import COPIED_VALUES, Step
from netinnet.frameworks.tensorflow_layers import OPERATIONS
from netinnet.fresh_process import answer
from netinnet.networks.layers import BatchNorm, Dropout, Flatten, maker
from netinnet.networks.network import PlacedLayer

LEFT_OUT = (Dropout, Flatten, BatchNorm)
"""The first two compute next to nothing; batch norm in training is no operation by itself."""


def measured(request: dict[str, Any]) -> dict[str, Any]:
    """Of a recipe's network: the machine's peaks, and of each layer FLOPs, bytes and seconds.

    Layers of the kinds LEFT_OUT are not among them.
    """
    step = Step.of(request)
    layers = step.one_by_one(
        lambda placed, needs: _both_ways(placed, step.learner.values, step.pictures, needs),
        LEFT_OUT,
    )
    return step.roofline("TensorFlow", layers, multiply, _bandwidth())


def _both_ways(placed: PlacedLayer, values: Any, pictures: int, needs_gradient: bool) -> float:
    """Seconds of a layer forward and backward, in training, as one graph."""
    own = {t.name: values[f"{placed.name}.{t.name}"] for t in placed.layer.tensors(placed.input)}
    channels, *side = placed.input
    given = tf.random.normal((pictures, *side, channels))

    def forward(x: Any) -> Any:
        return maker(OPERATIONS, placed.layer, "TensorFlow")(placed.layer, own, x)

    gradient = tf.random.normal(forward(given).shape)

    @tf.function(autograph=False)
    def run(x: Any, gradient: Any) -> Any:
        sources = [*own.values(), *([x] if needs_gradient else [])]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(sources)
            y = forward(x)
        return y, tape.gradient(y, sources, gradient)

    return median_seconds(lambda: run(given, gradient))  # which waits until all is computed


def _bandwidth() -> float:
    """Bytes read and written a second where nothing is computed, in arrays that fit no cache."""
    values = tf.ones(COPIED_VALUES)
    return 2 * 4 * COPIED_VALUES / median_seconds(lambda: tf.negative(values))


if __name__ == "__main__":
    answer(measured)
