"""Mixing each training picture of a batch with another one of it, by NumPy.

- `mixup` (Zhang et al. 2018): a weighted mean of both pictures.
- `cutmix` (Yun et al. 2019): a rectangle of the other picture in the place of the own.

A step has one share for all its pictures, as in both papers' programs, drawn from Beta(α, α).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netinnet.data.augmentation import Key
from netinnet.data.source import Indices
from netinnet.preprocessing import Array

MIXING = 7  # data/augmentation.py and data/batches.py have the other streams


@dataclass(frozen=True)
class Mixture:
    """What one step mixes: picture i with picture `partners[i]` of the batch."""

    partners: Indices
    share: float
    """Of the own picture, from 0 to 1: of its values (mixup), or of its area (cutmix)."""
    window: tuple[slice, slice] | None = None
    """Rows and columns taken from the other picture; None: all of both are mixed."""

    def images(self, images: Array) -> Array:
        """The mixed pictures n×h×w×c."""
        if self.window is None:
            return self.rows(images)
        mixed = images.copy()
        place = (slice(None), *self.window)
        mixed[place] = images[self.partners][place]
        return mixed

    def rows(self, values: Array) -> Array:
        """The weighted mean of values n×… with those of the partners."""
        own = np.float32(self.share)
        mixed: Array = own * values + (1 - own) * values[self.partners]
        return mixed


@dataclass(frozen=True)
class Mixing:
    """Which mixing a training has; fields are those of a recipe: the α of the beta distribution.

    If both are given, a step has either with probability 1/2.
    """

    mixup: float | None = None
    cutmix: float | None = None

    def draw(self, count: int, height: int, width: int, key: Key) -> Mixture | None:
        """What the step that `key` names mixes, of so many pictures; None without any mixing."""
        if self == Mixing():
            return None
        rng = np.random.default_rng([*key, MIXING])
        cuts = rng.random() < 0.5 if self.mixup and self.cutmix else self.cutmix is not None
        partners = rng.permutation(count).astype(np.int64)
        alpha = self.cutmix if cuts else self.mixup
        assert alpha is not None
        share = float(rng.beta(alpha, alpha))
        if not cuts:
            return Mixture(partners, share)
        # A window of the picture's shape around a point of it; what lies outside is cut off.
        side = (1 - share) ** 0.5
        window = tuple(
            slice(max(0, middle - half), min(length, middle + half))
            for length, middle, half in (
                (length, int(rng.integers(length)), int(length * side) // 2)
                for length in (height, width)
            )
        )
        taken = (window[0].stop - window[0].start) * (window[1].stop - window[1].start)
        return Mixture(partners, 1 - taken / (height * width), (window[0], window[1]))
