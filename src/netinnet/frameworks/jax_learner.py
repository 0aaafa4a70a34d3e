"""JAX's learner: the rewritten network in jitted functions, over pieces of a batch."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax
from flax import nnx

from netinnet.data.targets import Targets, as_rows
from netinnet.frameworks import jax_layers
from netinnet.frameworks.jax_model import assemble, variable
from netinnet.frameworks.learner import Learner, LearnerSettings
from netinnet.frameworks.pieces import piece_size, pieces
from netinnet.layout import native_weights
from netinnet.networks.rewrite import activation_behind_pool, fold_resize
from netinnet.optimizer import ArrayFunctions, State
from netinnet.preprocessing import resize
from netinnet.weights import Array

Tensors = dict[str, jax.Array]
"""Arrays in JAX's axis orders by canonical name."""


class JaxLearner(Learner):
    """Trains the rewritten network: same function, same weights, less work.

    A step adds up the gradient over pieces of the batch that fit a CPU's cache (pieces.py),
    then updates the weights.
    """

    framework = "jax"
    functions = ArrayFunctions(jnp.sum, jnp.reshape, jnp.transpose)

    def __init__(
        self, settings: LearnerSettings, weights: Mapping[str, Array], device: str, threads: int
    ) -> None:
        platform, _, index = device.partition(":")
        self._device = jax.devices(platform)[int(index or 0)]
        super().__init__(settings, weights, device, threads)
        self.piece = piece_size(settings.network, _CACHED) if platform == "cpu" else None
        folded = fold_resize(settings.network, settings.source)
        self._model = activation_behind_pool(folded or settings.network)
        self._graph, state = nnx.split(assemble(self._model, jax_layers.MODULES))
        self._variables: dict[Any, Any] = dict(nnx.to_flat_state(state))
        self._gradient = {name: self._zeros(self.values[name]) for name in self.roles}
        jit = functools.partial(jax.jit, compiler_options=compiler_options(platform))
        self._add_gradient = jit(self._pure_gradient, donate_argnums=1)
        self._update = jit(self._pure_update, donate_argnums=(0, 1, 2))
        self._predict = jit(self._pure_logits)
        self._mean = jit(self._pure_mean, donate_argnums=0)

    def _made(self, weights: Mapping[str, Array]) -> Tensors:
        native = native_weights(self.settings.network, "jax", weights)
        return {name: self._native(array) for name, array in native.items()}

    def _native(self, array: npt.NDArray[Any]) -> Any:
        # A copy: a donated argument must not share memory with NumPy.
        return jax.device_put(array.copy(), self._device)

    def _zeros(self, native: jax.Array) -> jax.Array:
        return jnp.zeros_like(native)

    def _numpy(self, native: jax.Array) -> npt.NDArray[Any]:
        return np.array(native)

    def _put(self, native: jax.Array, value: jax.Array) -> jax.Array:
        return value

    def _step(self, images: Array, targets: Targets, rate: float, step: int, seed: int) -> Array:
        logits = []
        targets = as_rows(targets, len(self.settings.network.classes))
        with jax.default_device(self._device):
            for piece in pieces(len(images), self.piece):
                pictures, own = images[piece], targets[piece]
                numbers = np.float32(len(images)), np.uint32(seed), np.uint32(piece.start)
                self._gradient, statistics, of_piece = self._add_gradient(
                    self.values, self._gradient, pictures, own, *numbers
                )
                logits.append(of_piece)
            values, now = {**self.values, **statistics}, (np.float32(rate), np.float32(step))
            self.values, self.state, self._gradient = self._update(
                values, self.state, self._gradient, *now
            )
        return np.concatenate(logits)

    def _pure_gradient(
        self,
        values: Tensors,
        total: Tensors,
        images: jax.Array,
        targets: jax.Array,
        count: jax.Array,
        seed: jax.Array,
        start: jax.Array,
    ) -> tuple[Tensors, Tensors, jax.Array]:
        """`total` and the gradient of these pictures' share in the mean loss over `count`.

        Beside it the running statistics behind them, and their logits.
        """
        fixed = {name: value for name, value in values.items() if name not in self.roles}
        key = jax.random.fold_in(jax.random.key(seed), start)

        def loss(trained: Tensors) -> tuple[jax.Array, Any]:
            logits, statistics = self._forward({**fixed, **trained}, images, key)
            losses = optax.softmax_cross_entropy(logits, targets)
            return losses.sum() / count, (logits, statistics)

        trained = {name: values[name] for name in self.roles}
        gradient, (logits, statistics) = jax.grad(loss, has_aux=True)(trained)
        return jax.tree.map(jnp.add, total, gradient), statistics, logits

    def _pure_update(
        self,
        values: Tensors,
        state: dict[str, State],
        gradient: Tensors,
        rate: jax.Array,
        step: jax.Array,
    ) -> tuple[Tensors, dict[str, State], Tensors]:
        """Values and optimiser state after the step, and zeros for the next gradient."""
        updates = list(self.update(values, gradient, state, rate, step))
        values = {**values, **{name: value for name, value, _ in updates}}
        after = {name: own for name, _, own in updates}
        return values, after, jax.tree.map(jnp.zeros_like, gradient)

    def average(self, decay: float) -> None:
        self.averages = self._mean(self.averages, self.values, np.float32(1 - decay))

    def _pure_mean(self, averages: Tensors, values: Tensors, rest: jax.Array) -> Tensors:
        """The averages a step on; `rest` is what a value weighs."""
        return {name: old + rest * (values[name] - old) for name, old in averages.items()}

    def _resized(self, images: jax.Array) -> Any:
        _, height, width = self._model.input
        return resize(images, height, width, jnp.einsum, self._model.preprocessing.fit)

    def _pure_logits(self, values: Tensors, images: jax.Array) -> Any:
        chain = self._chain(values)
        chain.eval()
        return chain(self._resized(images))

    def _forward(self, values: Tensors, images: jax.Array, key: jax.Array) -> tuple[Any, Any]:
        """Logits, and the running statistics behind this batch."""
        chain = self._chain(values)
        chain.train()
        logits = chain(self._resized(images), key)
        return logits, self._statistics(chain)

    def _chain(self, values: Tensors) -> Any:
        """The modules with these values, to be called within a traced function."""
        variables = dict(self._variables)
        for name, tensor in self.tensors.items():
            path = (*tensor.layer.split("."), tensor.name)
            variables[path] = variables[path].replace(values[name])
        return nnx.merge(self._graph, nnx.from_flat_state(variables))

    def _statistics(self, chain: Any) -> Tensors:
        """The running statistics that a call in training left behind."""
        return {
            name: variable(chain, tensor)[...]
            for name, tensor in self.tensors.items()
            if tensor.role is None
        }

    def logits(self, images: Array) -> Array:
        with jax.default_device(self._device):
            return np.concatenate(
                [
                    self._predict(self.values, images[piece])
                    for piece in pieces(len(images), self.piece)
                ]
            )


_CACHED = 2**24
"""float32 values that are kept near: 64 MB, the size of a CPU's last cache."""


@functools.cache
def compiler_options(platform: str) -> dict[str, str]:
    """Options of XLA that make a step faster: on a CPU, no fusions for YNNPACK.

    JAX 0.10 hands it convolutions and products by default; the chapter's step is a quarter faster
    without (docs/log.md). Other versions may not know the option.
    """
    options = {"xla_cpu_experimental_ynn_fusion_type": ""}
    if platform != "cpu":
        return {}
    try:
        jax.jit(lambda x: x, compiler_options=options)(0.0)
    except jax.errors.JaxRuntimeError:
        return {}
    return options
