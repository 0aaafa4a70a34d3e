"""A second view of each picture: its mirror image, whose logits are averaged with its own."""

from __future__ import annotations

import numpy as np

from netinnet.data.loader import logits_of
from netinnet.data.source import Pictures, Source
from netinnet.inference.predictor import Predictor
from netinnet.preprocessing import Array


def averaged(logits: Array, predictor: Predictor, pictures: Source) -> Array:
    """The mean of pictures' logits n×classes and those of their mirror images, left for right."""

    def of_mirrored(images: Pictures) -> Array:
        return predictor.logits(np.ascontiguousarray(images[:, :, ::-1]))

    mean: Array = (logits + logits_of(pictures, of_mirrored)) / np.float32(2)
    return mean
