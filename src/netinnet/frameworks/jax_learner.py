"""JAX's learner: the rewritten network in one jitted step, and the layers it adds."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax
from flax import nnx

from netinnet.errors import FrameworkError
from netinnet.frameworks import jax as jax_adapter
from netinnet.frameworks.jax import assemble, window_slices
from netinnet.frameworks.layout import native_tensors, native_weights
from netinnet.frameworks.learner import LearnerSettings, pick_device
from netinnet.network import BatchNorm, Conv, Layer, Shape
from netinnet.optimizer import ArrayFunctions
from netinnet.preprocessing import resize_matrix
from netinnet.rewrite import ResizedConv, activation_behind_pool, fold_resize
from netinnet.weights import Array, Weights

FUNCTIONS = ArrayFunctions(sum=jnp.sum, reshape=jnp.reshape, transpose=jnp.transpose)

Tensors = dict[str, jax.Array]
"""Arrays in JAX's axis orders by canonical name."""


class JaxLearner:
    """Trains the rewritten network: same function, same weights, less work."""

    def __init__(self, settings: LearnerSettings, weights: Mapping[str, Array]) -> None:
        self.threads = _use_threads(settings.threads)
        self.device = pick_device("JAX", settings.device, jax_adapter.devices())
        platform, _, index = self.device.partition(":")
        self._device = jax.devices(platform)[int(index or 0)]
        self._settings = settings
        self._network = settings.network
        self._tensors = native_tensors(settings.network, "jax")
        self._roles = {name: t.role for name, t in self._tensors.items() if t.role}
        folded = fold_resize(settings.network, settings.source)
        self._model = activation_behind_pool(folded or settings.network)
        self._graph, state = nnx.split(assemble(self._model, _module))
        self._variables: dict[Any, Any] = dict(nnx.to_flat_state(state))
        self._values = self._native(weights)
        self._state = {
            name: tuple(
                jnp.zeros_like(self._values[name])
                for _ in range(settings.optimizer.state_size(role))
            )
            for name, role in self._roles.items()
        }
        options = _compiler_options(platform)
        self._step = jax.jit(self._pure_step, donate_argnums=(0, 1), compiler_options=options)
        self._predict = jax.jit(self._pure_logits, compiler_options=options)

    def _chain(self, values: Tensors) -> Any:
        """The modules with these values, to be called within a traced function."""
        variables = dict(self._variables)
        for name, tensor in self._tensors.items():
            path = (*tensor.layer.split("."), tensor.name)
            variables[path] = variables[path].replace(values[name])
        return nnx.merge(self._graph, nnx.from_flat_state(variables))

    def _forward(self, values: Tensors, images: jax.Array, key: jax.Array) -> tuple[Any, Any]:
        """Logits, and the running statistics behind this batch."""
        chain = self._chain(values)
        chain.train()
        logits = chain(_resized(images, self._model.input), key)
        return logits, self._statistics(chain)

    def _statistics(self, chain: Any) -> Tensors:
        """The running statistics that a call in training left behind."""
        return {
            name: getattr(functools.reduce(getattr, tensor.layer.split("."), chain), tensor.name)[
                ...
            ]
            for name, tensor in self._tensors.items()
            if tensor.role is None
        }

    def _pure_step(
        self,
        values: Tensors,
        state: dict[str, tuple[jax.Array, ...]],
        images: jax.Array,
        labels: jax.Array,
        rate: jax.Array,
        step: jax.Array,
        seed: jax.Array,
    ) -> tuple[Tensors, dict[str, tuple[jax.Array, ...]], jax.Array]:
        settings = self._settings
        fixed = {name: value for name, value in values.items() if name not in self._roles}

        def loss(trained: Tensors) -> tuple[jax.Array, Any]:
            logits, statistics = self._forward({**fixed, **trained}, images, jax.random.key(seed))
            targets = optax.smooth_labels(
                jax.nn.one_hot(labels, logits.shape[1]), settings.label_smoothing
            )
            return optax.softmax_cross_entropy(logits, targets).mean(), (logits, statistics)

        trained = {name: values[name] for name in self._roles}
        gradients, (logits, statistics) = jax.grad(loss, has_aux=True)(trained)
        updated: Tensors = {}
        after: dict[str, tuple[jax.Array, ...]] = {}
        for name, role in self._roles.items():
            updated[name], after[name] = settings.optimizer.update(
                FUNCTIONS, role, values[name], gradients[name], state[name], rate, step
            )
        return {**fixed, **updated, **statistics}, after, logits

    def _pure_logits(self, values: Tensors, images: jax.Array) -> Any:
        chain = self._chain(values)
        chain.eval()
        return chain(_resized(images, self._model.input))

    def step(
        self, images: Array, labels: npt.NDArray[np.int64], rate: float, step: int, seed: int
    ) -> Array:
        with jax.default_device(self._device):
            self._values, self._state, logits = self._step(
                self._values,
                self._state,
                images,
                labels.astype(np.int32),
                np.float32(rate),
                np.float32(step),
                np.uint32(seed),
            )
        return np.array(logits)

    def logits(self, images: Array) -> Array:
        with jax.default_device(self._device):
            return np.array(self._predict(self._values, images))

    def weights(self) -> Weights:
        return {
            name: tensor.to_canonical(np.array(self._values[name]))
            for name, tensor in self._tensors.items()
        }

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        self._values = self._native(weights)

    def _native(self, weights: Mapping[str, Array]) -> Tensors:
        native = native_weights(self._network, "jax", weights)
        return {name: self._put(array) for name, array in native.items()}

    def optimizer_state(self) -> dict[str, Array]:
        return {
            f"{i}/{name}": self._tensors[name].to_canonical(np.array(array))
            for name, arrays in self._state.items()
            for i, array in enumerate(arrays)
        }

    def set_optimizer_state(self, state: Mapping[str, Array]) -> None:
        self._state = {
            name: tuple(
                self._put(self._tensors[name].to_native(state[f"{i}/{name}"]))
                for i in range(len(arrays))
            )
            for name, arrays in self._state.items()
        }

    def _put(self, array: npt.NDArray[Any]) -> Any:
        # A copy: a donated argument must not share memory with NumPy.
        return jax.device_put(array.copy(), self._device)


@functools.cache
def _compiler_options(platform: str) -> dict[str, str]:
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


_threads: int | None = None


def _use_threads(wanted: int | None) -> int:
    """Number of CPU threads; XLA fixes it when it starts. Raises FrameworkError if too late."""
    global _threads  # noqa: PLW0603
    if _threads is None:
        if wanted:
            os.environ["NPROC"] = str(wanted)
        _threads = int(os.environ.get("NPROC") or len(os.sched_getaffinity(0)))
    if wanted and wanted != _threads:
        raise FrameworkError(
            f"JAX has started with {_threads} threads in this process and can't change to {wanted};"
            f" start another process"
        )
    return _threads


def _module(layer: Layer, shape: Shape, rngs: nnx.Rngs) -> Any:
    """The module of one layer in training: the native one, or one that is faster on a CPU.

    XLA's convolution with a small kernel (1×1, or few input channels) is several times slower there
    than the matrix product that it is.
    """
    match layer:
        case ResizedConv():
            return _ResizedConv(layer, shape)
        case Conv(kernel=kernel, padding=padding) if _is_small(kernel, padding, shape.channels):
            return jax_adapter.module(layer, shape, rngs, conv_general_dilated=_matrix_product)
        case BatchNorm(epsilon, momentum):
            return _BatchNorm(shape.channels, momentum=1 - momentum, epsilon=epsilon, rngs=rngs)
    return jax_adapter.module(layer, shape, rngs)


def _is_small(kernel: int, padding: int, channels: int) -> bool:
    return (kernel == 1 and padding == 0) or kernel * kernel * channels <= _SMALL


_SMALL = 64
"""Most products an output of a convolution whose patches are worth being written out."""


def _matrix_product(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Any, **_: Any
) -> jax.Array:
    """A convolution as one matrix product over patches; takes XLA's place in `nnx.Conv`."""
    size = kernel.shape[0]
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    patches = jnp.concatenate(window_slices(x, size, strides[0]), axis=-1)
    product = patches.reshape(-1, patches.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
    return product.reshape(*patches.shape[:-1], -1)


class _BatchNorm(nnx.BatchNorm):
    """Flax's, with the unbiased running variance, and a gradient written out.

    The derived gradient goes over the pictures twice as often.
    """

    def __call__(self, x: jax.Array, *_: Any, **__: Any) -> jax.Array:
        assert self.scale is not None
        assert self.bias is not None
        if self.use_running_average:
            slope = self.scale[...] * jax.lax.rsqrt(self.var[...] + self.epsilon)
            return (x - self.mean[...]) * slope + self.bias[...]
        y, mean, variance = _normalised(x, self.scale[...], self.bias[...], self.epsilon)
        n = x.size // x.shape[-1]
        for running, latest in ((self.mean, mean), (self.var, variance * (n / (n - 1)))):
            running[...] = self.momentum * running[...] + (1 - self.momentum) * latest
        return y


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _normalised(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalised x, and the mean and (biased) variance of each channel."""
    y, mean, variance = _normalised_forward(x, scale, bias, epsilon)[0]
    return y, mean, variance


def _normalised_forward(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float) -> Any:
    mean = _channel_mean(x)
    difference = x - mean
    variance = _channel_mean(difference * difference)
    inverse = jax.lax.rsqrt(variance + epsilon)
    y = difference * (inverse * scale) + bias
    return (y, mean, variance), (x, mean, inverse, scale)


def _normalised_backward(_epsilon: float, saved: Any, gradients: Any) -> Any:
    x, mean, inverse, scale = saved
    of_y = gradients[0]
    normal = (x - mean) * inverse
    of_bias = _channel_mean(of_y)
    of_scale = _channel_mean(of_y * normal)
    of_x = (scale * inverse) * (of_y - of_bias - normal * of_scale)
    n = x.size // x.shape[-1]
    return of_x, of_scale * n, of_bias * n


_normalised.defvjp(_normalised_forward, _normalised_backward)


def _channel_mean(x: jax.Array) -> jax.Array:
    """Mean over pictures and positions, as a matrix product with ones for each picture."""
    n, height, width, channels = x.shape
    ones = jnp.full((n, 1, height * width), 1 / (height * width), x.dtype)
    return jnp.matmul(ones, x.reshape(n, height * width, channels))[:, 0].mean(0)


class _ResizedConv(nnx.Module):
    """`rewrite.ResizedConv` as one matrix product over patches of the small picture."""

    def __init__(self, layer: ResizedConv, shape: Shape) -> None:
        self.layer, self.out = layer, layer.output(shape)
        size = (layer.kernel, layer.kernel, shape.channels, layer.channels)
        self.kernel = nnx.Param(jnp.zeros(size))
        if layer.bias:
            self.bias = nnx.Param(jnp.zeros(layer.channels))

    def __call__(self, x: jax.Array) -> jax.Array:
        layer = self.layer
        taps, first = layer.taps()
        phases, stride, size = layer.phases, layer.source_stride, taps.shape[2]
        # One small kernel for each output phase (p, q): rows (t, s, channel), columns (p, q, out).
        kernels = jnp.einsum("pkt,klco,qls->tscpqo", taps, self.kernel[...], taps)
        steps = [-(-n // phases) for n in self.out[1:]]
        after = [
            max(0, (count - 1) * stride + size + first - n)
            for count, n in zip(steps, x.shape[1:3], strict=True)
        ]
        x = jnp.pad(x, ((0, 0), (-first, after[0]), (-first, after[1]), (0, 0)), mode="edge")
        patches = [patch[:, : steps[0], : steps[1]] for patch in window_slices(x, size, stride)]
        rows = jnp.concatenate(patches, axis=-1).reshape(-1, math.prod(kernels.shape[:3]))
        y = rows @ kernels.reshape(rows.shape[1], -1)
        y = y.reshape(-1, *steps, phases, phases, layer.channels).transpose(0, 1, 3, 2, 4, 5)
        y = y.reshape(-1, steps[0] * phases, steps[1] * phases, layer.channels)
        y = y[:, : self.out.height, : self.out.width]
        if layer.bias:
            y = y + self.bias[...]
        return y


def _resized(images: jax.Array, shape: Shape) -> jax.Array:
    """Bilinear resizing as two matrix products (see `preprocessing.resize_matrix`)."""
    if images.shape[1:3] == (shape.height, shape.width):
        return images
    rows = resize_matrix(images.shape[1], shape.height)
    columns = resize_matrix(images.shape[2], shape.width)
    return jnp.einsum("yi,nijc,xj->nyxc", rows, images, columns)
