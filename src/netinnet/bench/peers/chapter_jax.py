"""The chapter in JAX: Flax NNX modules, Optax's SGD, one jitted step; JAX resizes each batch."""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from netinnet.data import datasets

BATCH = 128
SIZE = 224

XAVIER = nnx.initializers.xavier_uniform()


class Block(nnx.Module):
    def __init__(
        self, inputs: int, channels: int, kernel: int, stride: int, pad: int, rngs: nnx.Rngs
    ) -> None:
        pads = [(pad, pad)] * 2
        self.conv = nnx.Conv(
            inputs, channels, (kernel, kernel), stride, padding=pads, kernel_init=XAVIER, rngs=rngs
        )
        self.first = nnx.Conv(channels, channels, (1, 1), kernel_init=XAVIER, rngs=rngs)
        self.second = nnx.Conv(channels, channels, (1, 1), kernel_init=XAVIER, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu(self.second(nnx.relu(self.first(nnx.relu(self.conv(x))))))


class NiN(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.block1 = Block(1, 96, 11, 4, 0, rngs)
        self.block2 = Block(96, 256, 5, 1, 2, rngs)
        self.block3 = Block(256, 384, 3, 1, 1, rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.block4 = Block(384, 10, 3, 1, 1, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        for block in (self.block1, self.block2, self.block3):
            x = nnx.max_pool(block(x), (3, 3), (2, 2))
        return self.block4(self.dropout(x)).mean((1, 2))


@nnx.jit
def train_step(
    net: NiN, optimizer: nnx.Optimizer, x: jax.Array, y: jax.Array
) -> tuple[jax.Array, jax.Array]:
    def loss(net: NiN) -> tuple[jax.Array, jax.Array]:
        logits = net(x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), logits

    (value, logits), gradients = nnx.value_and_grad(loss, has_aux=True)(net)
    optimizer.update(net, gradients)
    return value, (logits.argmax(1) == y).sum()


@jax.jit
def resized(images: jax.Array) -> jax.Array:
    pixels = images.astype(jnp.float32) / 255
    return jax.image.resize(pixels, (len(images), SIZE, SIZE, 1), "bilinear")


def measure(warmup: int, steps: int) -> float:
    """Images/s of training steps: loading, resizing, forward, backward, update."""
    train = datasets.load("fashion-mnist").train
    net = NiN(nnx.Rngs(0))
    optimizer = nnx.Optimizer(net, optax.sgd(0.1), wrt=nnx.Param)
    order = np.random.default_rng(0).permutation(len(train))
    began = 0.0
    for step in range(warmup + steps):
        if step == warmup:
            began = time.perf_counter()
        chosen = order[step * BATCH : (step + 1) * BATCH]
        x, y = resized(train.pictures(chosen)), jnp.asarray(train.labels[chosen])
        value, correct = train_step(net, optimizer, x, y)
        float(value), float(correct)
    return BATCH * steps / (time.perf_counter() - began)


def multiply(n: int) -> float:
    a, b = jnp.ones((n, n)), jnp.ones((n, n))
    jax.block_until_ready(a @ b)  # compiled once
    began = time.perf_counter()
    jax.block_until_ready(a @ b)
    return time.perf_counter() - began
