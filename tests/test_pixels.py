"""One definition of the pixels: every way from a picture to logits gives those of the oracle.

The pictures are odd in size, mode, format and orientation; `benchmarks/pixels.py` makes them, and
runs many more of them.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from benchmarks import pixels
from netinnet.data import datasets
from netinnet.data.pictures import as_channels, read
from netinnet.export import check

SLOW = ("TensorFlow", "JAX", "MXNet", "page in Chromium, float16", "HTTP")


@cache
def odd_ones(count: int = 34) -> list[pixels.Odd]:
    rng = np.random.default_rng(0)
    waves = np.sin(np.linspace(0, 9, 60))[:, None, None] * np.cos(np.linspace(0, 7, 50))[:, None]
    made = [
        (127 + 90 * waves * rng.uniform(-1, 1, 3) + rng.uniform(-30, 30, (60, 50, 3)))
        for _ in range(4)
    ]
    return pixels.odd_pictures([m.clip(0, 255).astype(np.uint8) for m in made], count)


def test_the_odd_pictures_are_odd() -> None:
    names = [odd.name for odd in pixels.odd_pictures([np.zeros((9, 9, 3), np.uint8)], 13 * 8)]
    for form, modes in pixels.FORMATS.items():
        for mode in modes:
            assert any(f" {form} {mode} " in name for name in names)
    for turned in range(1, 9):
        assert any(name.endswith(f"orientation {turned}") for name in names)
    (turned,) = [odd for odd in odd_ones() if odd.name.startswith("15: ")]
    assert turned.name == "15: PNG RGB 333×200, orientation 2"
    lying = pixels.odd_pictures([np.zeros((9, 9, 3), np.uint8)], 8 * 13)[13 * 5 + 2]
    assert lying.name == "67: PNG RGB 480×641, orientation 6"
    assert read(lying.content).shape == (641, 480, 3)


@pytest.mark.parametrize("model", pixels.models())
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in pixels.RUNTIMES]
)
def test_odd_pictures(name: str, model: str) -> None:
    runtime = pixels.RUNTIMES[name]
    if not runtime.is_there:
        pytest.skip(f"{runtime.package} is not installed")
    found = pixels.models()[model]
    # The evaluator takes 40 ms a picture; it is given those that reach every mode and format.
    odd = odd_ones()[: 13 if runtime.most else None]
    sets = pixels.arrays(odd, found.network.input.channels)
    difference, count = pixels.largest(found, sets, runtime)
    assert count == len(odd)
    assert difference <= runtime.tolerance


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in pixels.RUNTIMES]
)
def test_fashion_mnist(name: str, fashion_mnist: datasets.Dataset) -> None:
    runtime = pixels.RUNTIMES[name]
    if not runtime.is_there:
        pytest.skip(f"{runtime.package} is not installed")
    images = fashion_mnist.test.pictures(np.arange(20))
    model = pixels.models()["nin-small, trained"]
    assert pixels.largest(model, [images], runtime)[0] <= runtime.tolerance


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_read_in_the_networks_channels(channels: int) -> None:
    """The service reads it so, and gets the pixels that everybody gets."""
    for odd in odd_ones():
        want = as_channels(read(odd.content), channels)
        assert np.array_equal(read(odd.content, channels=channels), want), odd.name


def test_luma_is_rounded_from_whole_numbers() -> None:
    values = np.random.default_rng(0).integers(0, 256, (2, 300, 500, 3), np.uint8)
    want = (values.astype(int) @ [19595, 38470, 7471] + 32768) >> 16
    assert np.array_equal(as_channels(values, 1)[..., 0], want)


def test_a_shifted_pixel_is_found() -> None:
    """What this is to catch: resizing whose centres lie half a pixel elsewhere."""
    model = pixels.models()["nin-small, trained"]
    sets = pixels.arrays(odd_ones(), 1)
    shifted = pixels.Runtime(lambda m: lambda images: check.by_numpy(m)(np.roll(images, 1, 1)))
    assert pixels.largest(model, sets, shifted)[0] > 1000 * pixels.TOLERANCE
