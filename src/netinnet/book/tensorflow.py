"""What the chapter calls, for TensorFlow: `from netinnet.book import tensorflow as d2l`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NoReturn

from netinnet.book import _common, _data, _edition1, _loop, _names
from netinnet.book._data import DataModule, show_images
from netinnet.book._edition1 import add_to_class
from netinnet.book._hyperparameters import HyperParameters
from netinnet.errors import NetinnetError
from netinnet.frameworks import unusable

# Notices of its build would stand between the chapter's outputs; errors are still shown.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
try:
    import tensorflow as tf
except Exception as error:  # a broken installation can fail in any way
    raise unusable("tensorflow", error) from error

__all__ = [
    "Classifier",
    "DataModule",
    "FashionMNIST",
    "HyperParameters",
    "Module",
    "Trainer",
    "add_to_class",
    "cpu",
    "gpu",
    "init_cnn",
    "load_data_fashion_mnist",
    "normal",
    "num_gpus",
    "show_images",
    "train_ch6",
    "try_all_gpus",
    "try_gpu",
]

normal = tf.random.normal


def __getattr__(name: str) -> NoReturn:
    raise _names.unknown("tensorflow", name, __all__)


def cpu() -> Any:
    """The CPU as `tf.device` gives it, for `with`."""
    return tf.device("/CPU:0")


def gpu(i: int = 0) -> Any:
    """GPU number `i`, whether it is there or not, as `tf.device` gives it."""
    return tf.device(f"/GPU:{i}")


def num_gpus() -> int:
    return len(tf.config.list_physical_devices("GPU"))


def try_gpu(i: int = 0) -> Any:
    """GPU number `i` where there is one, else the CPU, as `tf.device` gives it."""
    return gpu(i) if 0 <= i < num_gpus() else cpu()


def try_all_gpus() -> list[Any]:
    """All GPUs, or the CPU alone where there is none."""
    return [gpu(i) for i in range(num_gpus())] or [cpu()]


def init_cnn(layer: Any) -> None:
    """Start the kernel of a convolution or a dense layer Xavier-uniform; its bias is left.

    That is how Keras starts them anyway. A layer that has no kernel yet is left, too.
    """
    if isinstance(layer, tf.keras.layers.Conv2D | tf.keras.layers.Dense) and layer.built:
        kernel = layer.kernel
        kernel.assign(tf.keras.initializers.GlorotUniform()(kernel.shape, kernel.dtype))


# ---------------------------------------------------------------------------- edition 1.0


SEEN = "_seen"
"""Where a model keeps its outputs while it is trained: not an attribute, as Keras tracks those."""


class Module(tf.keras.Model, _edition1.Steps):  # type: ignore[misc]
    """A network in `self.net`, with its loss and how it is trained.

    `plot_train_per_epoch` and `plot_valid_per_epoch` are kept; `Trainer.fit` draws every epoch.
    """

    lr: float

    def __init__(self, plot_train_per_epoch: int = 2, plot_valid_per_epoch: int = 1) -> None:
        super().__init__()
        # Keras keeps there what `compile` is given; the method of that name is meant here.
        self.__dict__.pop("loss", None)
        self.plot_train_per_epoch = plot_train_per_epoch
        self.plot_valid_per_epoch = plot_valid_per_epoch
        self.training: bool | None = None

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """What `call` gives. Inside `Trainer.fit` it is in training or not without being asked."""
        if self.training is not None:
            options.setdefault("training", self.training)
        output = super().__call__(*inputs, **options)
        if SEEN in self.__dict__:
            self.__dict__[SEEN].append(output)
        return output

    def forward(self, X: Any, *args: Any) -> Any:  # noqa: N803
        return self.net(X, *args)

    def call(self, X: Any, *args: Any, training: bool | None = None) -> Any:  # noqa: N803
        """The output; layers such as dropout behave as in training where `training` is true.

        Keras hands `training` on to every layer that `forward` calls.
        """
        return self.forward(X, *args)

    def loss(self, Y_hat: Any, Y: Any, averaged: bool = True) -> Any:  # noqa: N803
        raise NotImplementedError(f"{type(self).__name__} has no loss(Y_hat, Y)")

    def configure_optimizers(self) -> Any:
        """Plain SGD at the rate `lr`."""
        return tf.keras.optimizers.SGD(_edition1.rate_of(self))

    def apply_init(self, inputs: Sequence[Any], init: Callable[[Any], Any] | None = None) -> None:
        """Run the inputs, so that all layers are built; then apply `init` to each layer."""
        self(*inputs)
        if init is not None:
            for layer in _all_layers(self.net):
                init(layer)


class Classifier(Module):
    """A network that gives a logit for each class: softmax cross-entropy, accuracy."""

    def loss(self, Y_hat: Any, Y: Any, averaged: bool = True) -> Any:  # noqa: N803
        """Cross-entropy of the logits (…×k) and labels, in nats: its mean, or each one's."""
        logits = tf.reshape(Y_hat, (-1, Y_hat.shape[-1]))
        labels = tf.reshape(Y, (-1,))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return tf.reduce_mean(losses) if averaged else losses

    def accuracy(self, Y_hat: Any, Y: Any, averaged: bool = True) -> Any:  # noqa: N803
        """Share of labels whose logit is the largest, or 1 and 0 for each."""
        labels = tf.reshape(Y, (-1,))
        largest = tf.argmax(tf.reshape(Y_hat, (-1, Y_hat.shape[-1])), axis=1)
        found = tf.cast(tf.cast(largest, labels.dtype) == labels, tf.float32)
        return tf.reduce_mean(found) if averaged else found

    def layer_summary(self, X_shape: Sequence[int]) -> None:  # noqa: N803
        """Print each layer of `net`, and the shape that comes out of it for that input's shape."""
        x = tf.random.normal(X_shape)
        for layer in _edition1.layers_of(self.net, "layers"):
            x = layer(x)
            print(_edition1.layer_line(layer, x.shape))


class FashionMNIST(_data.FashionMNIST):
    __doc__ = _data.FashionMNIST.__doc__

    def _convert(self, images: _common.Images, labels: _common.Labels) -> tuple[Any, Any]:
        return _tensors(images, labels)

    def _seed(self) -> int:
        return _seed()


class Trainer(_edition1.Trainer):
    __doc__ = _edition1.Trainer.__doc__

    def fit(self, model: Module, data: DataModule) -> None:
        """Train the model, with the weights that it has, and show what comes of it.

        With `num_gpus` 0 it trains where it stands, as below `with d2l.try_gpu():`. See
        `_loop.train` for what is shown. Raises NetinnetError.
        """
        rate = self._prepare(model, Module, data)
        name = "/GPU:0" if self._gpu(num_gpus()) else _name(None)
        with tf.device(name):
            model(*next(iter(self.train_dataloader))[:-1])  # layers and optimiser make variables
            if not model.trainable_variables:
                raise NetinnetError(
                    f"{type(model).__name__} has no weights to train: Keras 3 knows those of "
                    "layers and of self.add_weight(…), not a tf.Variable"
                )
            optimizer = model.configure_optimizers()
            optimizer.build(model.trainable_variables)
        seen: list[Any] = []

        def update(*batch: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = model.training_step(batch)
            variables = model.trainable_variables
            gradients = tape.gradient(loss, variables)
            if self.gradient_clip_val > 0:
                gradients, _ = tf.clip_by_global_norm(gradients, self.gradient_clip_val)
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
            return loss

        def evaluate(*batch: Any) -> Any:
            return model.validation_step(batch)

        def on_device(compute: Callable[..., Any], training: bool) -> _loop.Step:
            @tf.function  # type: ignore[untyped-decorator]
            def traced(*batch: Any) -> Any:
                with tf.device(name):
                    loss = compute(*batch)
                return _edition1.logits_in(seen), loss

            def step(*batch: Any) -> _loop.Answer:
                model.training = training
                logits, loss = traced(*batch)
                value = None if loss is None else float(loss)
                return logits.numpy(), batch[-1].numpy(), value

            return step

        model.__dict__[SEEN] = seen
        try:
            self._train(on_device(update, True), on_device(evaluate, False), rate, name)
        finally:
            del model.__dict__[SEEN]
            model.training = None


# ---------------------------------------------------------------------------- with train_ch6


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
    device: Any = None,
) -> Any:
    """Train the network that `net_fn` builds with plain SGD at rate `lr`, as the book does.

    `net_fn` is called on the device, and its network starts as Keras makes it: weights
    Xavier-uniform, biases zero. `device` is `try_gpu()` where it is left out. Returns the trained
    network. See `_loop.train` for what is shown. Raises NetinnetError.
    """
    _loop.check(num_epochs, lr)
    if not callable(net_fn) or isinstance(net_fn, tf.keras.Model):
        raise NetinnetError(
            "net_fn must be the function that builds the network: def net(): return …"
        )
    name = _name(try_gpu() if device is None else device)
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
        return on_device(update, images, labels).numpy(), labels.numpy(), None

    def predict(images: Any, labels: Any) -> _loop.Answer:
        return on_device(predict_batch, images).numpy(), labels.numpy(), None

    _loop.train(step, predict, train_iter, test_iter, num_epochs, lr, name)
    return net


def _name(device: Any) -> str:
    """A device's name, such as /GPU:0: of a name, or of what `tf.device` gives; None: this one."""
    scope = tf.device(device) if isinstance(device, str) else device or contextlib.nullcontext()
    with scope:
        where = tf.DeviceSpec.from_string(tf.zeros(()).device)
    return f"/{where.device_type}:{where.device_index}"


def _all_layers(layer: Any) -> Iterator[Any]:
    """The layer, and those inside it, as deep as they go."""
    yield layer
    for part in getattr(layer, "layers", ()):
        yield from _all_layers(part)


def _tensors(images: _common.Images, labels: _common.Labels) -> tuple[Any, Any]:
    return tf.constant(images), tf.constant(labels)


def _seed() -> int:
    return int(tf.random.uniform((), maxval=2**31 - 1, dtype=tf.int32))
