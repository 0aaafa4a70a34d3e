"""What a data set is, wherever it came from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Split:
    """Pictures (uint8, n×height×width×channels) with their labels (int64, n)."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: npt.NDArray[np.int64] | slice) -> Split:
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Dataset:
    """A named data set with a training and a test split."""

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split

    def limited(self, train: int | None, test: int | None) -> Dataset:
        """The first `train` and `test` pictures only; None keeps all."""
        return dataclasses.replace(
            self, train=self.train.take(slice(train)), test=self.test.take(slice(test))
        )
