"""Batch order, augmentation and dropout seeds: pure functions of (seed, epoch, step).

Nothing random is kept between steps, so a resumed run continues with the same bits. Each use has
its own stream: the last number of the seed sequence says which.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from netinnet.data.source import Indices, Labels, Source
from netinnet.data.source import Pictures as Images
from netinnet.errors import DataError
from netinnet.networks.network import Preprocessing
from netinnet.preprocessing import Array, normalise

Batch = tuple[Array, Labels]
"""Pictures (float32, n×h×w×c) and labels."""

ORDER, AUGMENT, STEP, SPLIT = range(4)


@dataclass(frozen=True)
class TrainingBatches:
    """The batch of each training step, as the network takes it: a pure function of the step."""

    source: Source
    preprocessing: Preprocessing
    batch_size: int
    seed: int
    horizontal_flip: bool = False
    crop_padding: int = 0

    @property
    def per_epoch(self) -> int:
        return math.ceil(len(self.source) / self.batch_size)

    def __call__(self, step: int) -> Batch:
        """The batch of a step, numbered from 0 over all epochs."""
        epoch, index = divmod(step, self.per_epoch)
        first = index * self.batch_size
        chosen = order(len(self.source), self.seed, epoch)[first : first + self.batch_size]
        images = augment(
            self.source.pictures(chosen),
            (self.seed, epoch, index),
            horizontal_flip=self.horizontal_flip,
            crop_padding=self.crop_padding,
        )
        return normalise(images, self.preprocessing), self.source.labels[chosen]


@lru_cache(maxsize=2)
def order(count: int, seed: int, epoch: int) -> Indices:
    """The order of an epoch: a permutation of 0 … count - 1."""
    drawn = np.random.default_rng([seed, epoch, ORDER]).permutation(count).astype(np.int64)
    drawn.setflags(write=False)  # it is kept
    return drawn


def step_seed(seed: int, step: int) -> int:
    """A seed of 31 bits for what a framework draws itself in a step, such as dropout."""
    return int(np.random.SeedSequence([seed, step, STEP]).generate_state(1)[0]) >> 1


def augment(
    images: Images, key: tuple[int, int, int], *, horizontal_flip: bool, crop_padding: int
) -> Images:
    """Return new pictures n×h×w×c, each flipped with probability 1/2 and shifted.

    `key` is (seed, epoch, step). `crop_padding` zeros are put around a picture and a window of its
    own size is cut out at random, so it moves by up to that many pixels each way.
    """
    rng = np.random.default_rng([*key, AUGMENT])
    count, height, width, _ = images.shape
    # Drawn whether used or not, so the flips don't change when cropping is switched on.
    flipped = rng.random((count,)) < 0.5
    changed = np.array(images, order="C")
    if crop_padding:
        corners = rng.integers(0, 2 * crop_padding + 1, size=(2, count))
        margin = (crop_padding, crop_padding)
        padded = np.pad(images, ((0, 0), margin, margin, (0, 0)))
        for i, (top, left) in enumerate(corners.T):
            changed[i] = padded[i, top : top + height, left : left + width]
    if horizontal_flip:
        changed[flipped] = changed[flipped, :, ::-1]
    return changed


def split(count: int, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Split 0 … count - 1 at random into training and validation indices, both sorted.

    The validation part is round(count·fraction). Raises DataError for a fraction outside 0 ≤ f < 1
    or one that leaves no picture to train on, or holds out none.
    """
    held_out = round(count * fraction) if 0 <= fraction < 1 else count
    if held_out >= count:
        raise DataError(
            f"a validation split of {fraction:g} of {count} pictures leaves none to train on;"
            " take a fraction from 0 to below 1"
        )
    if fraction and not held_out:
        raise DataError(
            f"a validation split of {fraction:g} of {count} pictures holds out none;"
            " take a larger fraction"
        )
    shuffled = np.random.default_rng([seed, SPLIT]).permutation(count).astype(np.int64)
    return np.sort(shuffled[held_out:]), np.sort(shuffled[:held_out])
