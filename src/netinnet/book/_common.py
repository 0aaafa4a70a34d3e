"""Shared by the chapter's four modules: batches, environment variables.

Imports no framework.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from netinnet.data import fashion_mnist
from netinnet.data.source import Source
from netinnet.errors import NetinnetError
from netinnet.networks.layers import Shape
from netinnet.networks.network import LARGEST_INPUT, Preprocessing
from netinnet.preprocessing import prepare

EPOCHS, EXAMPLES = "NETINNET_BOOK_EPOCHS", "NETINNET_BOOK_EXAMPLES"

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Convert = Callable[[Images, Labels], tuple[Any, Any]]
"""From NumPy (n×height×width×1 in 0…1, n) to a framework's tensors in its own layout."""
Seed = Callable[[], int]
"""Draws a number from 0 to below 2³¹ from the framework's random generator."""


def limit(variable: str) -> int | None:
    """The environment variable's number, None where it isn't set. Raises NetinnetError."""
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text)):
        raise NetinnetError(f"{variable} is '{text}'; a whole number from 1 would be right")
    return int(text)


class Batches:
    """A split in batches: iterating gives pairs (images, labels) of a framework's tensors.

    `len()` is the number of batches; the last may be smaller. With `seed`, every iteration has a
    new random order. Pictures are resized batch by batch, so only one enlarged batch is in memory.
    """

    def __init__(
        self, split: Source, batch_size: int, size: int, convert: Convert, seed: Seed | None = None
    ) -> None:
        self.split, self.batch_size, self.size = split, batch_size, size
        self.convert, self.seed = convert, seed

    def __len__(self) -> int:
        return math.ceil(len(self.split) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        count = len(self.split)
        order = np.arange(count)
        if self.seed is not None:
            order = np.random.default_rng(self.seed()).permutation(count)
        shape, as_they_are = Shape(1, self.size, self.size), Preprocessing()
        for start in range(0, count, self.batch_size):
            chosen = order[start : start + self.batch_size]
            images = prepare(self.split.pictures(chosen), shape, as_they_are)
            yield self.convert(np.ascontiguousarray(images), self.split.labels[chosen])


Loaders = tuple[Batches, Batches]


def load_data(batch_size: int, resize: int | None, convert: Convert, seed: Seed) -> Loaders:
    """Fashion-MNIST's training and test batches, found or fetched. Raises NetinnetError."""
    size = 28 if resize is None else resize
    _check_whole("batch_size", batch_size, 60_000)
    _check_whole("resize", size, LARGEST_INPUT)
    examples = limit(EXAMPLES)
    print_once = functools.cache(functools.partial(print, flush=True))
    data = fashion_mnist.DATASET.load(on_progress=lambda text, *_: print_once(text))
    data = data.limited(examples, examples)
    return (
        Batches(data.train, batch_size, size, convert, seed),
        Batches(data.test, batch_size, size, convert),
    )


def _check_whole(name: str, value: object, largest: int) -> None:
    if not isinstance(value, int | np.integer) or not 1 <= value <= largest:
        raise NetinnetError(
            f"{name} is {value!r}; a whole number from 1 to {largest:,} would be right"
        )
