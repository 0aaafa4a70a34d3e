"""Shared by the chapter's four modules: batches, environment variables.

Imports no framework.
"""

from __future__ import annotations

import functools
import math
import operator
import os
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from netinnet.data import fashion_mnist
from netinnet.data.source import Dataset, Indices, Source
from netinnet.errors import NetinnetError
from netinnet.networks.layers import Shape
from netinnet.networks.network import LARGEST_INPUT, Preprocessing
from netinnet.preprocessing import prepare

EPOCHS, EXAMPLES = "NETINNET_BOOK_EPOCHS", "NETINNET_BOOK_EXAMPLES"

LARGEST_BATCH = 60_000

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Size = tuple[int, int]
"""Height and width in pixels."""
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
        raise NetinnetError(f"{variable} must be a whole number from 1, got '{text}'")
    return int(text)


class Loader(Protocol):
    """Batches that can be gone through again and again."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...


class Examples:
    """A split picture by picture: `len()`, and (image, label) at an index from 0.

    The image is a framework's tensor, resized to `size` (height, width); the label is an int.
    """

    def __init__(self, split: Source, size: Size, convert: Convert) -> None:
        self.split, self.size, self.convert = split, size, convert

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        # range knows of negative indices, and raises IndexError, which ends an iteration.
        images, labels = self.tensors(np.array([range(len(self))[operator.index(index)]]))
        return images[0], int(labels[0])

    def tensors(self, indices: Indices) -> tuple[Any, Any]:
        """Images and labels of those pictures, in the framework's layout."""
        images = prepare(self.split.pictures(indices), Shape(1, *self.size), Preprocessing())
        return self.convert(np.ascontiguousarray(images), self.split.labels[indices])


class Batches:
    """A split in batches: iterating gives pairs (images, labels) of a framework's tensors.

    `len()` is the number of batches; the last may be smaller. With `seed`, every iteration has a
    new random order. Pictures are resized batch by batch, so only one enlarged batch is in memory.
    """

    def __init__(self, examples: Examples, batch_size: int, seed: Seed | None = None) -> None:
        self.examples, self.batch_size, self.seed = examples, batch_size, seed

    def __len__(self) -> int:
        return math.ceil(len(self.examples) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        count = len(self.examples)
        order = np.arange(count)
        if self.seed is not None:
            order = np.random.default_rng(self.seed()).permutation(count)
        for start in range(0, count, self.batch_size):
            yield self.examples.tensors(order[start : start + self.batch_size])


Loaders = tuple[Batches, Batches]


def load_data(batch_size: int, resize: int | None, convert: Convert, seed: Seed) -> Loaders:
    """Fashion-MNIST's training and test batches, found or fetched. Raises NetinnetError."""
    size = 28 if resize is None else resize
    check_whole("batch_size", batch_size, LARGEST_BATCH)
    check_whole("resize", size, LARGEST_INPUT)
    train, test = load_examples((size, size), convert)
    return Batches(train, batch_size, seed), Batches(test, batch_size)


def load_examples(size: Size, convert: Convert) -> tuple[Examples, Examples]:
    """Fashion-MNIST's training and test pictures, found or fetched. Raises NetinnetError."""
    examples = limit(EXAMPLES)
    data = _fashion_mnist().limited(examples, examples)
    return Examples(data.train, size, convert), Examples(data.test, size, convert)


@functools.cache  # a notebook asks for it again for every network; to read and check it takes .5 s
def _fashion_mnist() -> Dataset:
    print_once = functools.cache(functools.partial(print, flush=True))
    return fashion_mnist.DATASET.load(on_progress=lambda text, *_: print_once(text))


def check_whole(name: str, value: object, largest: int | None = None, smallest: int = 1) -> None:
    """Raise NetinnetError where the value is no whole number in that range."""
    whole = isinstance(value, int | np.integer) and value >= smallest
    if not whole or (largest is not None and value > largest):  # type: ignore[operator]
        to = "" if largest is None else f" to {largest:,}"
        raise NetinnetError(f"{name} must be a whole number from {smallest}{to}, got {value!r}")
