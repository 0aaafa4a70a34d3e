"""Training with TensorFlow: the rewritten network as one compiled step over plain variables.

The layers are those of `tensorflow_layers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from netinnet.frameworks.learner import LearnerSettings
from netinnet.frameworks.tensorflow_layers import Tensor, TrainingMode, forward
from netinnet.layout import native_tensors
from netinnet.networks.rewrite import activation_behind_pool, fold_resize
from netinnet.optimizer import ArrayFunctions
from netinnet.preprocessing import resize_matrix
from netinnet.weights import Array, Weights

FUNCTIONS = ArrayFunctions(sum=tf.reduce_sum, reshape=tf.reshape, transpose=tf.transpose)


class TensorFlowLearner:
    """Trains the rewritten network: same function, same weights, less work."""

    def __init__(
        self, settings: LearnerSettings, weights: Mapping[str, Array], device: str, threads: int
    ) -> None:
        self.device, self.threads = device, threads
        self._settings = settings
        folded = fold_resize(settings.network, settings.source)
        self._network = activation_behind_pool(folded or settings.network)
        self._tensors = native_tensors(settings.network, "tensorflow")
        with tf.device(device):
            self._variables = {
                name: tf.Variable(tensor.to_native(weights[name]))
                for name, tensor in self._tensors.items()
            }
            self._state = {
                f"{i}/{name}": tf.Variable(tf.zeros(tensor.shape))
                for name, tensor in self._tensors.items()
                if tensor.role
                for i in range(settings.optimizer.state_size(tensor.role))
            }
            channels, height, width = settings.source
            # Any batch size: the last, smaller batch of an epoch needs no new graph.
            images = tf.TensorSpec((None, height, width, channels), tf.float32)
            labels, number = tf.TensorSpec((None,), tf.int64), tf.TensorSpec((), tf.float32)
            seed = tf.TensorSpec((), tf.int64)
            self._step = _compiled(self._train, images, labels, number, number, seed)
            self._predict = _compiled(self._forward, images)

    def step(
        self, images: Array, labels: npt.NDArray[np.int64], rate: float, step: int, seed: int
    ) -> Array:
        with tf.device(self.device):
            numbers = tf.constant(rate), tf.constant(float(step)), tf.constant(seed, tf.int64)
            logits = self._step(tf.constant(images), tf.constant(labels), *numbers)
            return cast(Array, logits.numpy())

    def logits(self, images: Array) -> Array:
        with tf.device(self.device):
            return cast(Array, self._predict(tf.constant(images)).numpy())

    def weights(self) -> Weights:
        return {name: self._read(name, variable) for name, variable in self._variables.items()}

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        for name, variable in self._variables.items():
            variable.assign(self._tensors[name].to_native(weights[name]))

    def optimizer_state(self) -> dict[str, Array]:
        return {
            key: self._read(key.partition("/")[2], variable)
            for key, variable in self._state.items()
        }

    def set_optimizer_state(self, state: Mapping[str, Array]) -> None:
        for key, variable in self._state.items():
            variable.assign(self._tensors[key.partition("/")[2]].to_native(state[key]))

    def _read(self, name: str, variable: Tensor) -> Array:
        return cast(Array, self._tensors[name].to_canonical(variable.numpy()).copy())

    def _forward(self, images: Tensor) -> Tensor:
        return forward(self._network, self._variables, self._resized(images))

    def _resized(self, images: Tensor) -> Tensor:
        """The pictures in the size the network takes; see `preprocessing.resize_matrix`."""
        source, target = self._settings.source, self._network.input
        if self._network.input == source:
            return images
        rows = resize_matrix(source.height, target.height)
        columns = resize_matrix(source.width, target.width)
        return tf.einsum("yi,nijc,xj->nyxc", rows, images, columns)

    def _train(
        self, images: Tensor, labels: Tensor, rate: Tensor, step: Tensor, seed: Tensor
    ) -> Tensor:
        """The graph of one step; returns the logits it was made from."""
        roles = {name: tensor.role for name, tensor in self._tensors.items() if tensor.role}
        trained = {name: self._variables[name] for name in roles}
        training = TrainingMode(seed, on_cpu=self.device == "cpu")
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trained)
            logits = forward(self._network, self._variables, self._resized(images), training)
            loss = _loss(logits, labels, self._settings.label_smoothing)
        gradients = tape.gradient(loss, trained)
        optimizer = self._settings.optimizer
        for name, role in roles.items():
            state = [self._state[f"{i}/{name}"] for i in range(optimizer.state_size(role))]
            updated, news = optimizer.update(
                FUNCTIONS, role, trained[name], gradients[name], tuple(state), rate, step
            )
            trained[name].assign(updated)
            for old, new in zip(state, news, strict=True):
                old.assign(new)
        for name, value in training.statistics.items():
            self._variables[name].assign(value)
        return logits


def _loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Mean cross-entropy; `smoothing` of each target is spread over all classes."""
    classes = logits.shape[1]
    rest = smoothing / classes
    targets = tf.one_hot(labels, classes, on_value=1 - smoothing + rest, off_value=rest)
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))


def _compiled(function: Any, *arguments: tf.TensorSpec) -> Any:
    """The function as one graph. Its Python runs once, here; AutoGraph has nothing to rewrite."""
    return tf.function(function, autograph=False).get_concrete_function(*arguments)
