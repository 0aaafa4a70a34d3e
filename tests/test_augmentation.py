"""Augmentation of photographs: resized crops, colour, erasing; balanced sampling."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netinnet.data.augmentation import ERASED, Augmentation
from netinnet.data.batches import TrainingBatches
from netinnet.data.source import Arrays
from netinnet.networks.network import Preprocessing

KINDS = {
    "resized_crop": Augmentation(resized_crop=0.3),
    "color_jitter": Augmentation(color_jitter=0.4),
    "random_erasing": Augmentation(random_erasing=0.7),
    "all": Augmentation(True, 2, 0.3, 0.4, 0.7),
}


def photographs(count: int, height: int = 9, width: int = 7, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, height, width, channels), np.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_pure_function_of_the_key(kind: str, channels: int) -> None:
    images = photographs(12, channels=channels)
    images.setflags(write=False)
    first = KINDS[kind](images, (1, 2, 3))
    np.testing.assert_array_equal(first, KINDS[kind](images, (1, 2, 3)))
    assert (first != KINDS[kind](images, (1, 2, 4))).any()
    assert first.shape == images.shape
    assert first.dtype == np.uint8
    assert first.flags.writeable


def test_the_numbers_are_written_down() -> None:
    """So that they are the same with every NumPy that a framework needs."""
    images = (np.arange(2 * 4 * 4 * 3) * 7 % 256).astype(np.uint8).reshape(2, 4, 4, 3)
    sums = {kind: int(augment(images, (1, 2, 3)).sum()) for kind, augment in KINDS.items()}
    assert sums == SUMS


SUMS = {"resized_crop": 9968, "color_jitter": 8925, "random_erasing": 10725, "all": 2970}


@pytest.mark.parametrize("kind", ["resized_crop", "color_jitter", "random_erasing"])
def test_switching_one_on_changes_no_draw_of_the_others(kind: str) -> None:
    """A picture of one value shows nothing of crops; an erased place nothing of colours."""
    images = np.full((64, 6, 6, 3), 100, np.uint8)
    images[:, :, 3:] = 200
    mirrored = Augmentation(horizontal_flip=True)(images, (5, 6, 7))[:, 3, 0, 0] == 200
    augmented = dataclasses.replace(KINDS[kind], horizontal_flip=True)(images, (5, 6, 7))
    left, right = augmented[:, :, 0].mean((1, 2)), augmented[:, :, 5].mean((1, 2))
    seen = left != right  # a crop may lie on one side of the edge
    assert seen.mean() > 0.5
    agreement = ((left > right) == mirrored)[seen].mean()
    assert agreement > (0.7 if kind == "random_erasing" else 0.99)


@given(value=st.integers(0, 255), smallest=st.floats(0.05, 1), size=st.integers(1, 12))
def test_a_crop_of_one_colour_has_that_colour(value: int, smallest: float, size: int) -> None:
    images = np.full((3, size, size + 2, 3), value, np.uint8)
    cropped = Augmentation(resized_crop=smallest)(images, (0, 0, 0))
    np.testing.assert_array_equal(cropped, images)


def test_a_crop_is_a_window_enlarged() -> None:
    """Of a picture whose values are its columns, rows are equal and values rise."""
    images = np.tile(np.arange(0, 250, 10, np.uint8)[None, None, :, None], (40, 25, 1, 1))
    cropped = Augmentation(resized_crop=0.2)(images, (1, 0, 0)).astype(int)[..., 0]
    assert (cropped == cropped[:, :1]).all()
    steps = np.diff(cropped[:, 0], axis=1)
    assert (steps >= 0).all()
    width = (cropped[:, 0, -1] - cropped[:, 0, 0]) / 10 + 1
    assert 8 < width.min() < 14  # √.2 of 25 is 11, at an aspect of 3:4 less
    assert 23 < width.max() <= 25


def test_the_whole_picture_stays_as_it_is() -> None:
    images = photographs(5, 8, 8)
    whole = dataclasses.replace(KINDS["resized_crop"], resized_crop=1.0)(images, (0, 0, 0))
    # An aspect other than 1 still cuts one side; none is ever enlarged beyond the picture.
    assert whole.min() >= images.min()
    assert whole.max() <= images.max()


def test_color_jitter_keeps_the_mean_brightness_on_average() -> None:
    images = np.full((4000, 2, 2, 3), 100, np.uint8)
    changed = Augmentation(color_jitter=0.3)(images, (0, 0, 0)).astype(float)
    assert changed.mean() == pytest.approx(100, abs=1.5)
    assert 69 <= changed.min() < 75
    assert 125 < changed.max() <= 130
    assert (changed == changed[..., :1]).all()  # grey stays grey


def test_erasing_fills_rectangles_of_its_share_of_the_pictures() -> None:
    images = np.zeros((2000, 20, 20, 1), np.uint8)
    erased = Augmentation(random_erasing=0.4)(images, (0, 0, 0))[..., 0] > 0
    touched = erased.any((1, 2))
    assert touched.mean() == pytest.approx(0.4, abs=0.04)
    for picture in erased[touched][:50]:
        rows, columns = np.flatnonzero(picture.any(1)), np.flatnonzero(picture.any(0))
        box = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.mean() > 0.9  # a rectangle, but for zeros of the noise
        assert box.size <= ERASED[1] * 400 * 1.3


@pytest.mark.parametrize("batch_size", [4, 7])
def test_balanced_sampling_draws_every_class_equally_often(batch_size: int) -> None:
    labels = np.repeat([0, 1, 3], [40, 15, 5])  # no picture of class 2
    images = np.arange(60, dtype=np.uint8).reshape(60, 1, 1, 1)
    make = TrainingBatches(
        Arrays(images, labels),
        Preprocessing((0.0,), (1 / 255,)),
        batch_size,
        3,
        sampling="balanced",
    )
    epochs = []
    for epoch in range(3):
        steps = range(epoch * make.per_epoch, (epoch + 1) * make.per_epoch)
        drawn = np.concatenate([make(step)[0].ravel() for step in steps]).round().astype(int)
        got = np.concatenate([make(step)[1] for step in steps])
        np.testing.assert_array_equal(labels[drawn], got)
        assert np.bincount(got).tolist() == [20, 20, 0, 20]
        epochs.append(drawn)
    assert set(np.concatenate(epochs[:2])) == set(range(60))  # two epochs go through the largest
