"""A teacher: a trained model whose probabilities are a share of what is learnt.

(Hinton, Vinyals and Dean 2015.) It runs in the loader's thread, on onnxruntime, and sees each
picture as it was augmented, before it is mixed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netinnet.data.source import Pictures
from netinnet.errors import ModelError
from netinnet.inference import onnx_graph
from netinnet.inference.predictor import Predictor
from netinnet.metrics import softmax
from netinnet.networks.network import Network
from netinnet.preprocessing import Array
from netinnet.training.recipe import Recipe
from netinnet.weights import Model


@dataclass(frozen=True)
class Teacher:
    """What a trained model says of pictures, made softer by a temperature."""

    predictor: Predictor
    temperature: float

    def __call__(self, pictures: Pictures) -> Array:
        """Probabilities n×classes of pictures (uint8, n×h×w×c)."""
        return softmax(self.predictor.logits(pictures) / np.float32(self.temperature))


def teacher(recipe: Recipe, model: Model, threads: int | None) -> Teacher:
    """The recipe's teacher. With shards it has one thread, so that no number depends on theirs."""
    return Teacher(
        Predictor(model, 1 if recipe.shards else threads),
        1.0 if recipe.teacher_temperature is None else recipe.teacher_temperature,
    )


def check(network: Network, model: Model, name: str) -> None:
    """Raise ModelError where a model can't teach a network."""
    if model.network.classes != network.classes:
        raise ModelError(
            f"teacher {name}: its classes ({', '.join(model.network.classes)}) are not those that "
            f"are learnt ({', '.join(network.classes)})"
        )
    if model.network.input != network.input:
        raise ModelError(
            f"teacher {name}: it takes {model.network.takes}, {network.name} {network.takes}; "
            f"both must be the same: image_size changes it"
        )
    if reason := onnx_graph.too_large(model.network):
        raise ModelError(f"teacher {name}: not for onnxruntime, which would run it ({reason})")
