"""Batch order, augmentation, dropout seeds and the validation split."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netinnet.data import batches
from netinnet.data.augmentation import Augmentation
from netinnet.errors import DataError

seeds = st.integers(0, 2**63)
steps = st.integers(0, 10**7)
keys = st.tuples(seeds, steps, steps)


def pictures(count: int, height: int, width: int, channels: int = 1) -> np.ndarray:
    """Pictures without a zero, each pixel unlike its neighbours."""
    shape = (count, height, width, channels)
    return np.random.default_rng(0).integers(1, 256, shape, dtype=np.uint8)


@given(count=st.integers(0, 300), seed=seeds, epoch=steps)
def test_order_is_a_permutation_and_repeats(count: int, seed: int, epoch: int) -> None:
    order = batches.order(count, seed, epoch)
    assert order.dtype == np.int64
    assert sorted(order) == list(range(count))
    np.testing.assert_array_equal(order, batches.order(count, seed, epoch))


def test_order_differs_by_seed_and_epoch() -> None:
    orders = {tuple(batches.order(50, seed, epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_order_is_the_same_on_every_numpy() -> None:
    """Written down, because frameworks that need different NumPys are compared on equal batches."""
    assert batches.order(10, seed=1, epoch=2).tolist() == [8, 5, 6, 0, 9, 1, 4, 3, 7, 2]
    assert batches.step_seed(1, 2) == 1_933_120_797
    count = 8
    images = np.tile(np.arange(1, 4, dtype=np.uint8), (count, 3, 1))[..., np.newaxis]
    augmented = Augmentation(True, 1)(images, (1, 2, 3))
    assert augmented[:, 1, :, 0].tolist() == [
        [2, 3, 0],
        [1, 2, 3],
        [1, 2, 3],
        [2, 3, 0],
        [2, 3, 0],
        [2, 1, 0],
        [2, 3, 0],
        [3, 2, 1],
    ]


@given(seed=seeds, step=steps)
def test_step_seed_has_31_bits(seed: int, step: int) -> None:
    assert 0 <= batches.step_seed(seed, step) < 2**31
    assert batches.step_seed(seed, step) == batches.step_seed(seed, step)


def test_step_seeds_differ() -> None:
    assert len({batches.step_seed(seed, step) for seed in range(10) for step in range(100)}) == 1000


@given(key=keys, count=st.integers(1, 20), channels=st.sampled_from([1, 3]))
def test_flip_gives_the_picture_or_its_mirror_image(
    key: tuple[int, int, int], count: int, channels: int
) -> None:
    images = pictures(count, 4, 5, channels)
    before = images.copy()
    flipped = Augmentation(True, 0)(images, key)
    np.testing.assert_array_equal(images, before)
    assert flipped.dtype == np.uint8
    for new, old in zip(flipped, images, strict=True):
        assert (new == old).all() or (new == old[:, ::-1]).all()


@given(
    key=keys,
    padding=st.integers(0, 4),
    flip=st.booleans(),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
)
def test_crop_gives_a_window_of_the_padded_picture(
    key: tuple[int, int, int], padding: int, flip: bool, size: tuple[int, int]
) -> None:
    images = pictures(5, *size, 3)
    height, width = size
    new = Augmentation(flip, padding)(images, key)
    assert new.shape == images.shape
    for augmented, image in zip(new, images, strict=True):
        padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
        windows = [
            padded[y : y + height, x : x + width]
            for y in range(2 * padding + 1)
            for x in range(2 * padding + 1)
        ]
        candidates = windows + [window[:, ::-1] for window in windows if flip]
        assert any((augmented == candidate).all() for candidate in candidates)


@given(key=keys, padding=st.integers(0, 3), flip=st.booleans())
def test_augment_repeats_and_returns_a_new_array(
    key: tuple[int, int, int], padding: int, flip: bool
) -> None:
    images = pictures(6, 5, 5)
    images.setflags(write=False)
    first = Augmentation(flip, padding)(images, key)
    again = Augmentation(flip, padding)(images, key)
    np.testing.assert_array_equal(first, again)
    assert not np.shares_memory(first, images)
    assert first.flags.writeable
    assert first.flags.c_contiguous


def test_half_are_flipped_and_every_shift_occurs() -> None:
    images = np.tile(pictures(1, 6, 6), (4000, 1, 1, 1))
    flipped = Augmentation(True, 0)(images, (0, 0, 0))
    assert (flipped != images).any(axis=(1, 2, 3)).mean() == pytest.approx(0.5, abs=0.03)
    shifted = Augmentation(False, 1)(images, (0, 0, 0))
    kinds, counts = np.unique(shifted, axis=0, return_counts=True)
    assert len(kinds) == 9
    assert counts / 4000 == pytest.approx(np.full(9, 1 / 9), abs=0.03)


def test_cropping_does_not_change_which_are_flipped() -> None:
    images = np.zeros((64, 3, 9, 1), np.uint8)
    images[:, :, 6:] = 200  # bright on the right: a shift by one keeps the side
    plain, cropped = (
        Augmentation(True, padding)(images, (1, 2, 3))[:, 1, 1, 0] for padding in (0, 1)
    )
    assert set(plain.tolist()) == {0, 200}
    np.testing.assert_array_equal(plain, cropped)


@given(count=st.integers(2, 300), fraction=st.floats(0, 0.5), seed=seeds)
def test_split_parts_are_sorted_and_disjoint(count: int, fraction: float, seed: int) -> None:
    if fraction and not round(count * fraction):
        with pytest.raises(DataError, match="holds out none; take a larger fraction"):
            batches.split(count, fraction, seed)
        return
    train, validation = batches.split(count, fraction, seed)
    assert len(validation) == round(count * fraction)
    assert train.dtype == validation.dtype == np.int64
    assert sorted([*train, *validation]) == list(range(count))
    assert (np.diff(train) > 0).all()
    assert (np.diff(validation) > 0).all()
    np.testing.assert_array_equal(train, batches.split(count, fraction, seed)[0])


def test_split_depends_on_the_seed() -> None:
    parts = {tuple(batches.split(100, 0.1, seed)[1]) for seed in range(10)}
    assert len(parts) == 10


@pytest.mark.parametrize(("count", "fraction"), [(10, 1.0), (10, -0.1), (2, 0.9), (10, np.nan)])
def test_split_that_leaves_nothing(count: int, fraction: float) -> None:
    message = (
        f"a validation split of {fraction:g} of {count} pictures leaves none to train on; take a"
        " fraction from 0 to below 1"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        batches.split(count, fraction, 0)
