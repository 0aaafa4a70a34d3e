"""The chapter's functions for TensorFlow: `from netinnet.book import tensorflow as d2l`."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import Any

from netinnet.book import _common, _loop
from netinnet.errors import NetinnetError
from netinnet.frameworks import unusable

# Notices of its build would stand between the chapter's outputs; errors are still shown.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
try:
    import tensorflow as tf
except Exception as error:  # a broken installation can fail in any way
    raise unusable("tensorflow", error) from error

__all__ = ["load_data_fashion_mnist", "train_ch6", "try_gpu"]


def try_gpu(i: int = 0) -> Any:
    """GPU number `i` where there is one, else the CPU, as `tf.device` gives it."""
    there = 0 <= i < len(tf.config.list_physical_devices("GPU"))
    return tf.device(f"/GPU:{i}" if there else "/CPU:0")


def load_data_fashion_mnist(batch_size: int, resize: int | None = None) -> _common.Loaders:
    """Training and test batches of Fashion-MNIST: (float32 N×H×W×1 in 0…1, int64 N).

    H and W are `resize`, or 28. The training batches come in a new order every epoch. Raises
    NetinnetError for sizes that can't be, DataError where the data set can't be had.
    """
    return _common.load_data(batch_size, resize, _tensors, _seed)


def train_ch6(
    net_fn: Callable[[], Any],
    train_iter: Collection[tuple[Any, Any]],
    test_iter: Collection[tuple[Any, Any]],
    num_epochs: int,
    lr: float,
    device: Any,
) -> Any:
    """Train the network that `net_fn` builds with plain SGD at rate `lr`, as the book does.

    `net_fn` is called on the device, and its network starts as Keras makes it: weights
    Xavier-uniform, biases zero. Returns the trained network. See `_loop.train` for what is shown.
    Raises NetinnetError.
    """
    _loop.check(num_epochs, lr)
    if not callable(net_fn) or isinstance(net_fn, tf.keras.Model):
        raise NetinnetError(
            "net_fn is a network; the function that builds it would be right: def net(): return …"
        )
    name = _name(device)
    strategy = tf.distribute.OneDeviceStrategy(name)
    with strategy.scope():
        net = net_fn()
        optimizer = tf.keras.optimizers.SGD(learning_rate=lr)
        loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def update(images: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = net(images, training=True)
            value = loss(labels, logits)
        variables = net.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(value, variables), variables, strict=True))
        return logits

    def predict_batch(images: Any) -> Any:
        return net(images, training=False)

    on_device = tf.function(lambda f, *batch: strategy.run(f, args=batch))

    def step(images: Any, labels: Any) -> _loop.Answer:
        return on_device(update, images, labels).numpy(), labels.numpy()

    def predict(images: Any, labels: Any) -> _loop.Answer:
        return on_device(predict_batch, images).numpy(), labels.numpy()

    _loop.train(step, predict, train_iter, test_iter, num_epochs, lr, name)
    return net


def _name(device: Any) -> str:
    """A device's name, such as /GPU:0: of a name, or of what `tf.device` gives."""
    with tf.device(device) if isinstance(device, str) else device:
        where = tf.DeviceSpec.from_string(tf.zeros(()).device)
    return f"/{where.device_type}:{where.device_index}"


def _tensors(images: _common.Images, labels: _common.Labels) -> tuple[Any, Any]:
    return tf.constant(images), tf.constant(labels)


def _seed() -> int:
    return int(tf.random.uniform((), maxval=2**31 - 1, dtype=tf.int32))
