"""Layers as JAX trains them on a CPU: the same functions, written for what XLA does well there.

XLA sums, pools and multiplies by small kernels several times slower than it multiplies matrices.
Each layer here has the weights and, to rounding, the outputs and gradients of the native one in
`jax_model.py`.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from netinnet.frameworks import jax_model
from netinnet.frameworks.jax_model import window_slices
from netinnet.networks.layers import BatchNorm, Conv, MaxPool, ReLU, Shape
from netinnet.networks.rewrite import ResizedConv

_SMALL = 64
"""Most products an output of a convolution whose patches are worth being written out."""


class _Conv(nnx.Module):
    """A convolution; one with a small kernel as the matrix product that it is.

    XLA's convolution with a small kernel (1×1, or few input channels) is several times slower on a
    CPU than the product of its patches.
    """

    def __init__(self, layer: Conv, shape: Shape) -> None:
        self.layer, self.pads = layer, layer.pads(shape)
        kernel, inputs = layer.kernel, shape.channels // layer.groups
        self.kernel = nnx.Param(jnp.zeros((kernel, kernel, inputs, layer.channels)))
        if layer.bias:
            self.bias = nnx.Param(jnp.zeros(layer.channels))
        small = kernel * kernel * shape.channels <= _SMALL
        self.as_product = layer.groups == 1 and (small or (kernel == 1 and layer.padding == 0))

    def __call__(self, x: jax.Array) -> jax.Array:
        layer, kernel, pads = self.layer, self.kernel[...], self.pads
        if self.as_product:
            x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
            patches = jnp.concatenate(window_slices(x, layer.kernel, layer.stride), axis=-1)
            y = patches.reshape(-1, patches.shape[-1]) @ kernel.reshape(-1, layer.channels)
            y = y.reshape(*patches.shape[:-1], -1)
        else:
            y = jax.lax.conv_general_dilated(
                *(x, kernel, (layer.stride,) * 2, pads),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=layer.groups,
            )
        return _with_bias(y, self.bias[...]) if layer.bias else y


@jax.custom_vjp
def _with_bias(y: jax.Array, bias: jax.Array) -> jax.Array:
    """y + bias, whose gradient is a matrix product: XLA's own sum takes five times as long."""
    return y + bias


def _with_bias_forward(y: jax.Array, bias: jax.Array) -> tuple[jax.Array, None]:
    return y + bias, None


def _with_bias_backward(_: None, of_y: jax.Array) -> tuple[jax.Array, jax.Array]:
    # Without the barrier XLA computes of_y twice, once for each of its uses.
    of_y = jax.lax.optimization_barrier(of_y)  # type: ignore[no-untyped-call]
    return of_y, _channel_mean(of_y) * float(of_y.size // of_y.shape[-1])


_with_bias.defvjp(_with_bias_forward, _with_bias_backward)


@jax.custom_vjp
def _relu(x: jax.Array) -> jax.Array:
    """A ReLU whose gradient asks its output, which the next layer keeps, not its input."""
    return jnp.maximum(x, 0)


def _relu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = jnp.maximum(x, 0)
    return y, y


def _relu_backward(y: jax.Array, of_y: jax.Array) -> tuple[jax.Array]:
    return (jnp.where(y > 0, of_y, 0),)


_relu.defvjp(_relu_forward, _relu_backward)


class _MaxPool(jax_model.MaxPool):
    """A max pool that keeps each window's winner instead of its input for the gradient."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return _largest(self.padded(x), self.kernel, self.stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _largest(x: jax.Array, kernel: int, stride: int) -> jax.Array:
    return functools.reduce(jnp.maximum, window_slices(x, kernel, stride))


def _largest_forward(x: jax.Array, kernel: int, stride: int) -> Any:
    y = _largest(x, kernel, stride)
    places = (
        jnp.where(part == y, np.uint16(place), _NO_PLACE)
        for place, part in enumerate(window_slices(x, kernel, stride))
    )
    # Of equal values the first one gets the gradient, as in the other frameworks.
    return y, (functools.reduce(jnp.minimum, places), x.shape)


_NO_PLACE = np.uint16(2**16 - 1)


def _largest_backward(kernel: int, stride: int, saved: Any, of_y: jax.Array) -> Any:
    """Each pixel asks the windows that it is in whether it won.

    Row stride·u + a of the input is row stride·p + a of window u - p, columns alike. With axes
    (n, u, a, v, b, channel) the gradient is one sum, read from two arrays of the output's size.
    """
    winners, (n, height, width, channels) = saved
    reach = -(-kernel // stride)
    rows, columns = -(-height // stride), -(-width // stride)
    pads = [(reach - 1, rows - of_y.shape[1]), (reach - 1, columns - of_y.shape[2])]
    winners = jnp.pad(winners, ((0, 0), *pads, (0, 0)), constant_values=_NO_PLACE)
    of_y = jnp.pad(of_y, ((0, 0), *pads, (0, 0)))
    offsets = np.arange(stride)
    of_x: Any = 0
    for p, q in itertools.product(range(reach), repeat=2):
        row, column = (stride * p + offsets)[:, None], stride * q + offsets
        inside = (row < kernel) & (column < kernel)
        place = np.where(inside, row * kernel + column, _NO_PLACE - 1).astype(np.uint16)
        u, v = reach - 1 - p, reach - 1 - q
        here = (slice(None), slice(u, u + rows), None, slice(v, v + columns), None)
        of_x += jnp.where(winners[here] == place[:, None, :, None], of_y[here], 0)
    of_x = of_x.reshape(n, rows * stride, columns * stride, channels)
    return (of_x[:, :height, :width],)


_largest.defvjp(_largest_forward, _largest_backward)


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
        self.layer, self.shape, conv = layer, shape, layer.conv
        self.kernel = nnx.Param(
            jnp.zeros((conv.kernel, conv.kernel, shape.channels, conv.channels))
        )
        self.bias = nnx.Param(jnp.zeros(conv.channels)) if conv.bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        taps, phases, stride, size, steps, before, after, out = self.layer.folded(self.shape)
        # One small kernel for each output phase (p, q): rows (t, s, channel), columns (p, q, out).
        kernels = jnp.einsum("pkt,klco,qls->tscpqo", taps, self.kernel[...], taps)
        x = jnp.pad(x, ((0, 0), (before, after[0]), (before, after[1]), (0, 0)), mode="edge")
        patches = [patch[:, : steps[0], : steps[1]] for patch in window_slices(x, size, stride)]
        rows = jnp.concatenate(patches, axis=-1).reshape(-1, math.prod(kernels.shape[:3]))
        y = rows @ kernels.reshape(rows.shape[1], -1)
        y = y.reshape(-1, *steps, phases, phases, out.channels).transpose(0, 1, 3, 2, 4, 5)
        y = y.reshape(-1, steps[0] * phases, steps[1] * phases, out.channels)
        y = y[:, : out.height, : out.width]
        return y if self.bias is None else _with_bias(y, self.bias[...])


MODULES: jax_model.Table = {
    **jax_model.MODULES,
    ResizedConv: lambda o, s, rngs: _ResizedConv(o, s),
    Conv: lambda o, s, rngs: _Conv(o, s),
    BatchNorm: lambda o, s, rngs: _BatchNorm(
        s.channels, momentum=1 - o.momentum, epsilon=o.epsilon, rngs=rngs
    ),
    ReLU: lambda o, s, rngs: jax_model.Function(_relu),
    MaxPool: lambda o, s, rngs: _MaxPool(o, s),
}
"""The modules of layers in training: the native ones, or those above."""
