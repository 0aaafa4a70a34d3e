"""Each layer of netinnet's training step in JAX by itself: its time, and what bounds it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from netinnet.bench.peers.alone import median_seconds
from netinnet.bench.peers.chapter_jax import multiply
from netinnet.bench.peers.layers import COPIED_VALUES, Step
from netinnet.frameworks.jax_layers import MODULES
from netinnet.frameworks.jax_learner import compiler_options
from netinnet.fresh_process import answer
from netinnet.networks.layers import Dropout, Flatten, maker
from netinnet.networks.network import PlacedLayer


def measured(request: dict[str, Any]) -> dict[str, Any]:
    """Of a recipe's network: the machine's peaks, and of each layer FLOPs, bytes and seconds.

    Dropout and Flatten, which compute next to nothing, are not among them.
    """
    step = Step.of(request)
    layers = step.one_by_one(
        lambda placed, needs: _both_ways(placed, step.pictures, needs), (Dropout, Flatten)
    )
    return step.roofline("JAX", layers, multiply, _bandwidth())


def _both_ways(placed: PlacedLayer, pictures: int, needs_gradient: bool) -> float:
    """Seconds of a layer forward and backward, in training, compiled as a step is."""
    module = maker(MODULES, placed.layer, "JAX")(placed.layer, placed.input, nnx.Rngs(0))
    graph, state = nnx.split(module)
    channels, *side = placed.input
    key = jax.random.key(0)
    x = jax.random.normal(key, (pictures, *side, channels))

    def forward(state: Any, x: jax.Array) -> Any:
        return nnx.merge(graph, state)(x)

    def run(state: Any, x: jax.Array, gradient: jax.Array) -> Any:
        if needs_gradient:
            y, back = jax.vjp(forward, state, x)
        else:
            y, back = jax.vjp(lambda own: forward(own, x), state)
        return y, back(gradient)

    gradient = jax.random.normal(key, jax.eval_shape(forward, state, x).shape)
    compiled = jax.jit(run, compiler_options=compiler_options("cpu"))
    return median_seconds(lambda: jax.block_until_ready(compiled(state, x, gradient)))


def _bandwidth() -> float:
    """Bytes read and written a second where nothing is computed, in arrays that fit no cache."""
    values = jnp.ones(COPIED_VALUES)
    negative = jax.jit(jnp.negative)
    seconds = median_seconds(lambda: jax.block_until_ready(negative(values)))
    return 2 * 4 * COPIED_VALUES / seconds


if __name__ == "__main__":
    answer(measured)
