"""The chapter in TensorFlow: a Keras `Sequential`, `compile` and `fit`, `tf.data` that resizes."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import tensorflow as tf

from netinnet.data import datasets

BATCH = 128
SIZE = 224


def nin_block(channels: int, kernel: int, strides: int, padding: str) -> Any:
    layers = tf.keras.layers
    return tf.keras.models.Sequential(
        [
            layers.Conv2D(channels, kernel, strides=strides, padding=padding, activation="relu"),
            layers.Conv2D(channels, kernel_size=1, activation="relu"),
            layers.Conv2D(channels, kernel_size=1, activation="relu"),
        ]
    )


class Clock(tf.keras.callbacks.Callback):  # type: ignore[misc]
    """When each batch ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.ends.append(time.perf_counter())


def measure(warmup: int, steps: int) -> float:
    """Images/s of training steps: loading, resizing, forward, backward, update."""
    layers = tf.keras.layers
    net = tf.keras.models.Sequential(
        [
            nin_block(96, 11, 4, "valid"),
            layers.MaxPool2D(pool_size=3, strides=2),
            nin_block(256, 5, 1, "same"),
            layers.MaxPool2D(pool_size=3, strides=2),
            nin_block(384, 3, 1, "same"),
            layers.MaxPool2D(pool_size=3, strides=2),
            layers.Dropout(0.5),
            nin_block(10, 3, 1, "same"),
            layers.GlobalAveragePooling2D(),
            layers.Reshape((1, 1, 10)),
            layers.Flatten(),
        ]
    )
    net.compile(
        optimizer=tf.keras.optimizers.SGD(learning_rate=0.1),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    train = datasets.load("fashion-mnist").train
    pictures = tf.data.Dataset.from_tensor_slices(
        (train.pictures(np.arange(len(train))), train.labels)
    )
    batches = pictures.shuffle(len(train)).batch(BATCH)
    resized = batches.map(
        lambda x, y: (tf.image.resize_with_pad(tf.cast(x, tf.float32) / 255, SIZE, SIZE), y)
    )
    clock = Clock()
    net.fit(resized.take(warmup + steps), epochs=1, verbose=0, callbacks=[clock])
    return BATCH * steps / (clock.ends[-1] - clock.ends[warmup - 1])


def multiply(n: int) -> float:
    a, b = tf.random.uniform((n, n)), tf.random.uniform((n, n))
    began = time.perf_counter()
    (a @ b).numpy()
    return time.perf_counter() - began
