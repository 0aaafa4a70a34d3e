"""Every layer of the description as TensorFlow operations, in channels-last layout.

The learner's forward pass, in training and prediction. Keras has no part in it: its batch norm
keeps the biased variance, and its graph in training has more operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from netinnet.networks import layers
from netinnet.networks.layers import Layer, Shape, maker
from netinnet.networks.network import Network
from netinnet.networks.ranks import turns
from netinnet.networks.rewrite import ResizedConv

Tensor = Any
"""`tf.Tensor` or `tf.Variable`; TensorFlow has no types."""
Tensors = Mapping[str, Tensor]
Normalised = tuple[Tensor, Tensor, Tensor]
"""The values, and what each channel's mean and variance are."""


@dataclass
class TrainingMode:
    """Asks `forward` for a pass in training: dropout drawn from the seed, batch statistics."""

    seed: Tensor
    on_cpu: bool = True
    statistics: dict[str, Tensor] = field(default_factory=dict)
    """The running statistics after this pass, by canonical name; `forward` fills them in."""


def forward(
    network: Network, tensors: Tensors, images: Tensor, training: TrainingMode | None = None
) -> Tensor:
    """Logits n×classes for images n×h×w×c; `tensors` by canonical name, in TensorFlow's layout."""
    x = images
    start, turned = x, turns(network)
    for number, placed in enumerate(network.placed_layers()):
        start = x if placed.opens else start
        if turn := turned.get(placed.name):
            x = tf.reshape(x, (-1, x.shape[-1]) if turn == "flat" else (-1, 1, 1, x.shape[-1]))
        own = {
            tensor.name: tensors[f"{placed.name}.{tensor.name}"]
            for tensor in placed.layer.tensors(placed.input)
        }
        layer = placed.layer
        if training and isinstance(layer, layers.BatchNorm):
            normalise = _normalise_exactly if training.on_cpu else _normalise
            x, mean, variance = normalise(x, own["weight"], own["bias"], layer.epsilon)
            for name, newest in (("running_mean", mean), ("running_var", variance)):
                running = own[name] + layer.momentum * (newest - own[name])
                training.statistics[f"{placed.name}.{name}"] = running
        elif training and isinstance(layer, layers.Dropout):
            seed = tf.stack([training.seed, number])
            x = tf.nn.experimental.stateless_dropout(x, layer.rate, seed)
        else:
            x = maker(OPERATIONS, layer, "TensorFlow")(layer, own, x)
        if placed.closes:
            x += tf.reshape(start, (-1, *x.shape[1:]))
    return tf.reshape(x, (-1, len(network.classes)))


def _padded(x: Tensor, layer: layers.Conv | layers.Pool, value: float = 0.0) -> Tensor:
    """The layer's padding in front of it: TensorFlow's own has no fast kernels on CPUs."""
    pads = layer.pads(shape_of(x))
    return tf.pad(x, [(0, 0), *pads, (0, 0)], constant_values=value) if any(map(any, pads)) else x


def shape_of(x: Tensor) -> Shape:
    return Shape(x.shape[3], x.shape[1], x.shape[2])


def is_same(layer: Layer) -> bool:
    """Whether the layer's padding is what TensorFlow calls "same", for pictures of any size.

    With a stride that one pads by need, more at the end than at the start; and it leaves padding
    out of an average.
    """
    if getattr(layer, "same", False):
        return True
    return (
        isinstance(layer, layers.Conv | layers.MaxPool)
        and layer.stride == 1
        and 0 < 2 * layer.padding == layer.kernel - 1
    )


def _biased(x: Tensor, own: Tensors) -> Tensor:
    return tf.nn.bias_add(x, own["bias"]) if "bias" in own else x


def _normalise(x: Tensor, scale: Tensor, offset: Tensor, epsilon: float) -> Normalised:
    """Batch norm in training: the output, and the mean and unbiased variance of each channel."""
    unused = tf.zeros_like(scale)
    result = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=scale, offset=offset, mean=unused, variance=unused, epsilon=epsilon
    )
    return result.y, result.batch_mean, result.batch_variance


def _normalise_exactly(x: Tensor, scale: Tensor, offset: Tensor, epsilon: float) -> Normalised:
    """`_normalise` on a CPU, whose kernel adds up a batch's many float32 values one by one.

    Its variances are wrong by 1e-5, a hundred times what the other layers lose. That decides for
    many a pixel on which side of a ReLU it falls, so that no two frameworks would learn alike.
    """
    mean, variance = _exact_statistics(tf.stop_gradient(x))
    count = tf.cast(tf.size(x) / x.shape[3], tf.float32)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def normalise(x: Tensor, scale: Tensor, offset: Tensor) -> Any:
        known = {"x": x, "scale": scale, "epsilon": epsilon}
        y = tf.raw_ops.FusedBatchNormV3(
            **known, offset=offset, mean=mean, variance=variance, is_training=False
        ).y

        def gradient(of_y: Tensor) -> tuple[Tensor, ...]:
            saved = {"reserve_space_1": mean, "reserve_space_2": variance}
            slopes = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=of_y, **known, **saved, reserve_space_3=tf.zeros(0)
            )
            return slopes.x_backprop, slopes.scale_backprop, slopes.offset_backprop

        return y, gradient

    y = normalise(x, tf.convert_to_tensor(scale), tf.convert_to_tensor(offset))
    return y, mean, variance * (count / (count - 1))


def _exact_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel, to 3e-7.

    The same kernel, but with each column of the pictures as channels of its own: a sum of sums.
    """
    _, _, columns, channels = x.shape
    rows = tf.reshape(x, (-1, 1, 1, columns * channels))
    zero = tf.zeros(columns * channels)
    _, means, variances = _normalise(rows, zero, zero, 1.0)
    count = tf.cast(tf.shape(rows)[0], tf.float32)
    means = tf.reshape(means, (columns, channels))
    variances = tf.reshape(variances, (columns, channels)) * ((count - 1) / count)
    mean = tf.reduce_mean(means, 0)
    return mean, tf.reduce_mean(variances + tf.math.squared_difference(means, mean), 0)


def _conv(layer: layers.Conv, own: Tensors, x: Tensor) -> Tensor:
    same = is_same(layer)
    x = x if same else _padded(x, layer)
    padding, kernel = "SAME" if same else "VALID", own["weight"]
    if layer.groups == 1:
        y = tf.nn.conv2d(x, kernel, layer.stride, padding)
    else:  # TensorFlow has no gradient of groups on CPUs
        parts = zip(*(tf.split(a, layer.groups, axis=3) for a in (x, kernel)), strict=True)
        y = tf.concat([tf.nn.conv2d(*part, layer.stride, padding) for part in parts], axis=3)
    return _biased(y, own)


def _resized_conv(layer: ResizedConv, own: Tensors, x: Tensor) -> Tensor:
    """`rewrite.ResizedConv` as one matrix product over patches of the small picture."""
    taps, phases, stride, size, steps, before, _, out = layer.folded(shape_of(x))
    # One small kernel for each output phase (p, q): rows (t, s, channel), columns (p, q, out).
    kernels = tf.einsum("pkt,klco,qls->tscpqo", taps, own["weight"], taps)
    for axis, count in enumerate(steps, start=1):
        # Beyond the border the border repeats.
        places = tf.range(-before, (count - 1) * stride + size - before)
        x = tf.gather(x, tf.clip_by_value(places, 0, x.shape[axis] - 1), axis=axis)
    window, strides = [1, size, size, 1], [1, stride, stride, 1]
    patches = tf.image.extract_patches(x, window, strides, [1, 1, 1, 1], "VALID")
    products = tf.reshape(kernels, (patches.shape[3], -1))
    y = tf.reshape(patches, (-1, patches.shape[3])) @ products
    if "bias" in own:
        y = tf.nn.bias_add(y, tf.tile(own["bias"], [phases**2]))
    y = tf.reshape(y, (-1, *steps, phases**2 * out.channels))
    if phases > 1:
        y = tf.nn.depth_to_space(y, phases)
    if y.shape[1:3] != (out.height, out.width):
        y = y[:, : out.height, : out.width]
    return y


def _batch_norm(layer: layers.BatchNorm, own: Tensors, x: Tensor) -> Tensor:
    scale = own["weight"] * tf.math.rsqrt(own["running_var"] + layer.epsilon)
    return x * scale + (own["bias"] - own["running_mean"] * scale)


def _max_pool(layer: layers.MaxPool, own: Tensors, x: Tensor) -> Tensor:
    return tf.nn.max_pool2d(_padded(x, layer, -np.inf), layer.kernel, layer.stride, "VALID")


def _avg_pool(layer: layers.AvgPool, own: Tensors, x: Tensor) -> Tensor:
    y = tf.nn.avg_pool2d(_padded(x, layer), layer.kernel, layer.stride, "VALID")
    correction = layer.correction(shape_of(x))
    return y if correction is None else y * np.asarray(correction, np.float32)[..., None]


OPERATIONS: dict[type[Layer], Callable[[Any, Tensors, Tensor], Tensor]] = {
    layers.Conv: _conv,
    ResizedConv: _resized_conv,
    layers.BatchNorm: _batch_norm,
    layers.ReLU: lambda o, own, x: tf.nn.relu(x),
    layers.LeakyReLU: lambda o, own, x: tf.nn.leaky_relu(x, o.slope),
    layers.GELU: lambda o, own, x: tf.nn.gelu(x, approximate=True),
    layers.Sigmoid: lambda o, own, x: tf.sigmoid(x),
    layers.MaxPool: _max_pool,
    layers.AvgPool: _avg_pool,
    layers.GlobalAvgPool: lambda o, own, x: tf.reduce_mean(x, (1, 2), keepdims=True),
    layers.Dropout: lambda o, own, x: x,
    layers.Flatten: lambda o, own, x: tf.reshape(x, (-1, x.shape[1:].num_elements())),
    layers.Linear: lambda o, own, x: _biased(x @ own["weight"], own),
}
"""What each layer computes from its tensors and its input; in prediction, where that differs."""
