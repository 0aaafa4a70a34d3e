"""Training with TensorFlow: the rewritten network as one compiled step over plain variables.

The layers are those of `tensorflow_layers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy.typing as npt
import tensorflow as tf

from netinnet.data.targets import Targets, as_rows
from netinnet.frameworks.learner import Learner, LearnerSettings
from netinnet.frameworks.tensorflow_layers import Tensor, TrainingMode, forward
from netinnet.networks.rewrite import activation_behind_pool, fold_resize
from netinnet.optimizer import ArrayFunctions
from netinnet.preprocessing import resize
from netinnet.weights import Array


class TensorFlowLearner(Learner):
    """Trains the rewritten network: same function, same weights, less work."""

    framework = "tensorflow"
    functions = ArrayFunctions(tf.reduce_sum, tf.reshape, tf.transpose)

    def __init__(
        self, settings: LearnerSettings, weights: Mapping[str, Array], device: str, threads: int
    ) -> None:
        folded = fold_resize(settings.network, settings.source)
        self._network = activation_behind_pool(folded or settings.network)
        with tf.device(device):
            super().__init__(settings, weights, device, threads)
            channels, height, width = settings.source
            # Any batch size: the last, smaller batch of an epoch needs no new graph.
            images = tf.TensorSpec((None, height, width, channels), tf.float32)
            classes = len(settings.network.classes)
            targets = tf.TensorSpec((None, classes), tf.float32)
            number = tf.TensorSpec((), tf.float32)
            seed = tf.TensorSpec((), tf.int64)
            self._trained = _compiled(self._train, images, targets, number, number, seed)
            self._predict = _compiled(self._forward, images)
            self._average = _compiled(super().average, number) if settings.averages else None

    def _made(self, weights: Mapping[str, Array]) -> dict[str, Tensor]:
        return {n: tf.Variable(t.to_native(weights[n])) for n, t in self.tensors.items()}

    def _native(self, array: npt.NDArray[Any]) -> Tensor:
        return array  # what a variable takes

    def _zeros(self, native: Tensor) -> Tensor:
        return tf.Variable(tf.zeros(native.shape))

    def _numpy(self, native: Tensor) -> npt.NDArray[Any]:
        return cast(Array, native.numpy().copy())

    def _put(self, native: Tensor, value: Tensor) -> Tensor:
        native.assign(value)
        return native

    def _step(self, images: Array, targets: Targets, rate: float, step: int, seed: int) -> Array:
        with tf.device(self.device):
            numbers = tf.constant(rate), tf.constant(float(step)), tf.constant(seed, tf.int64)
            rows = tf.constant(as_rows(targets, len(self.settings.network.classes)))
            logits = self._trained(tf.constant(images), rows, *numbers)
            return cast(Array, logits.numpy())

    def average(self, decay: float) -> None:
        if self._average is not None:
            with tf.device(self.device):
                self._average(tf.constant(decay))

    def logits(self, images: Array) -> Array:
        with tf.device(self.device):
            return cast(Array, self._predict(tf.constant(images)).numpy())

    def _forward(self, images: Tensor) -> Tensor:
        return forward(self._network, self.values, self._resized(images))

    def _resized(self, images: Tensor) -> Tensor:
        """The pictures in the size the network takes."""
        _, height, width = self._network.input
        return resize(images, height, width, tf.einsum, self._network.preprocessing.fit)

    def _train(
        self, images: Tensor, targets: Tensor, rate: Tensor, step: Tensor, seed: Tensor
    ) -> Tensor:
        """The graph of one step; returns the logits it was made from."""
        trained = {name: self.values[name] for name in self.roles}
        training = TrainingMode(seed, on_cpu=self.device == "cpu")
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trained)
            logits = forward(self._network, self.values, self._resized(images), training)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
        gradients = tape.gradient(loss, trained)
        for name, value, state in self.update(trained, gradients, self.state, rate, step):
            self._put(trained[name], value)
            for old, new in zip(self.state[name], state, strict=True):
                self._put(old, new)
        for name, value in training.statistics.items():
            self._put(self.values[name], value)
        return logits


def _compiled(function: Any, *arguments: tf.TensorSpec) -> Any:
    """The function as one graph. Its Python runs once, here; AutoGraph has nothing to rewrite."""
    return tf.function(function, autograph=False).get_concrete_function(*arguments)
