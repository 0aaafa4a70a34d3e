"""Batch order and dropout seeds: pure functions of (seed, epoch, step), as augmentation is.

Nothing random is kept between steps, so a resumed run continues with the same bits. Each use has
its own stream: the last number of the seed sequence says which.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from netinnet.data.augmentation import ALTERNATING, Augmentation, Key, Mirrored, alternating
from netinnet.data.source import Indices, Source
from netinnet.data.targets import Batch, SoftTargets
from netinnet.errors import DataError
from netinnet.networks.network import Preprocessing
from netinnet.preprocessing import normalise

NONE = Augmentation()
ORDER, STEP, SPLIT = 0, 2, 3  # data/augmentation.py and data/mixing.py have the others


@dataclass(frozen=True)
class TrainingBatches:
    """The batch of each training step, as the network takes it: a pure function of the step."""

    source: Source
    preprocessing: Preprocessing
    batch_size: int
    seed: int
    augmentation: Augmentation = NONE
    sampling: str | None = None
    """"balanced": every class is drawn equally often, instead of every picture once an epoch."""
    soft: SoftTargets | None = None
    """What makes targets of the labels; the labels are learnt as they are if None."""

    @property
    def per_epoch(self) -> int:
        return math.ceil(len(self.source) / self.batch_size)

    def __call__(self, step: int) -> Batch:
        """The batch of a step, numbered from 0 over all epochs."""
        chosen, key, mirrored = self.chosen(step)
        pictures = self.augmentation(self.source.pictures(chosen), key, mirrored)
        images, labels = normalise(pictures, self.preprocessing), self.source.labels[chosen]
        if self.soft is None:
            return Batch(images, labels, labels)
        return self.soft(pictures, images, labels, key)

    def chosen(self, step: int) -> tuple[Indices, Key, Mirrored | None]:
        """A step's pictures, its key, and where flips alternate, which are mirrored."""
        epoch, index = divmod(step, self.per_epoch)
        first = index * self.batch_size
        chosen = order(len(self.source), self.seed, epoch)[first : first + self.batch_size]
        if self.sampling == "balanced":
            chosen = self._balanced(chosen, epoch)
        key = (self.seed, epoch, index)
        mirrored = None
        if self.augmentation.flips == ALTERNATING:
            mirrored = alternating(len(self.source), self.seed, epoch)[chosen]
        return chosen, key, mirrored

    @cached_property
    def _by_class(self) -> tuple[Indices, Indices, Indices]:
        """The pictures in the order of their classes, where each class begins, and its number."""
        _, starts, counts = np.unique(np.sort(self.source.labels), True, return_counts=True)
        return np.argsort(self.source.labels, kind="stable"), starts, counts

    def _balanced(self, chosen: Indices, epoch: int) -> Indices:
        """As many of each class: the classes by turns, each going on where an epoch left it."""
        pictures, starts, counts = self._by_class
        turn, of = np.divmod(chosen, len(counts))
        turn += epoch * math.ceil(len(self.source) / len(counts))
        balanced: Indices = pictures[starts[of] + turn % counts[of]]
        return balanced


@lru_cache(maxsize=2)
def order(count: int, seed: int, epoch: int) -> Indices:
    """The order of an epoch: a permutation of 0 … count - 1."""
    drawn = np.random.default_rng([seed, epoch, ORDER]).permutation(count).astype(np.int64)
    drawn.setflags(write=False)  # it is kept
    return drawn


def step_seed(seed: int, step: int) -> int:
    """A seed of 31 bits for what a framework draws itself in a step, such as dropout."""
    return int(np.random.SeedSequence([seed, step, STEP]).generate_state(1)[0]) >> 1


def split(
    count: int, fraction: float, seed: int, groups: Indices | None = None
) -> tuple[Indices, Indices]:
    """Split 0 … count - 1 at random into training and validation indices, both sorted.

    The validation part is round(count·fraction), and the rest of a group that this would cut;
    `groups` has a number for each picture: those of one stay together. Raises DataError for a
    fraction outside 0 ≤ f < 1 or one that leaves no picture to train on, or holds out none.
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
    if groups is not None and held_out:
        _, first, of = np.unique(groups[shuffled], return_index=True, return_inverse=True)
        shuffled = shuffled[np.argsort(first[of], kind="stable")]
        held_out += int((groups[shuffled[held_out:]] == groups[shuffled[held_out - 1]]).sum())
        if held_out >= count:
            raise DataError(
                f"a validation split of {fraction:g} of {count} pictures leaves none to train on, "
                f"since groups of pictures stay together; take a smaller fraction"
            )
    return np.sort(shuffled[held_out:]), np.sort(shuffled[:held_out])
