"""What a step learns: labels, or rows of targets n×classes that sum to 1, all made here by NumPy.

A smoothed label, a mixture of pictures and a teacher's probabilities are the same thing to a
framework: its cross-entropy is against rows of targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np

from netinnet.data.augmentation import Key
from netinnet.data.mixing import Mixing, Mixture
from netinnet.data.source import Labels, Pictures
from netinnet.preprocessing import Array

Targets = Labels | Array
"""Labels, int64 n, or rows of targets, float32 n×classes."""


class Batch(NamedTuple):
    """The pictures of a step, and what they are."""

    images: Any
    """float32, n×h×w×c: an array, or a framework's own where it made the batch (on a GPU)."""
    labels: Labels
    """Of a mixture: the label of its larger part. The loop's loss and accuracy are against it."""
    targets: Targets
    """What is learnt."""


def rows(labels: Labels, classes: int, smoothing: float = 0.0) -> Array:
    """What the probabilities n×classes should be: the label, `smoothing` of it spread over all."""
    targets = np.full((len(labels), classes), smoothing / classes, np.float32)
    targets[np.arange(len(labels)), labels] += 1 - smoothing
    return targets


def as_rows(targets: Targets, classes: int) -> Array:
    """Rows of targets, whichever of both these are."""
    if targets.ndim == 2:
        return cast(Array, targets)
    return rows(cast(Labels, targets), classes)


@dataclass(frozen=True)
class SoftTargets:
    """How a batch's labels become rows of targets.

    First the label, smoothed; then the teacher's share (Hinton et al. 2015); then pictures and rows
    are mixed alike. So a teacher sees each picture as it was augmented, before it is mixed.
    """

    classes: int
    smoothing: float = 0.0
    mixing: Mixing = field(default_factory=Mixing)
    teacher: Callable[[Pictures], Array] | None = None
    """Probabilities n×classes of pictures (uint8)."""
    distillation: float = 0.0
    """The teacher's share of a target."""

    def __call__(self, pictures: Pictures, images: Array, labels: Labels, key: Key) -> Batch:
        """The batch of the step that `key` names; `images` are the pictures, normalised."""
        taught = None if self.teacher is None else self.teacher(pictures)
        mixture, labels, targets = self.learnt(labels, images.shape, key, taught)
        return Batch(images if mixture is None else mixture.images(images), labels, targets)

    def learnt(
        self, labels: Labels, shape: tuple[int, ...], key: Key, taught: Array | None = None
    ) -> tuple[Mixture | None, Labels, Array]:
        """How the step mixes its images n×h×w×c, their labels (of a mixture the larger part's), and
        the targets n×classes. `taught` are the teacher's probabilities."""
        targets = rows(labels, self.classes, self.smoothing)
        if taught is not None:
            own = np.float32(self.distillation)
            targets = (1 - own) * targets + own * taught
        count, height, width = shape[:3]
        mixture = self.mixing.draw(count, height, width, key)
        if mixture is None:
            return None, labels, targets
        stronger = labels if mixture.share >= 0.5 else labels[mixture.partners]
        return mixture, stronger, mixture.rows(targets)
