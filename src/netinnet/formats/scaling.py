"""What a network from elsewhere does to picture values, as `Preprocessing`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from netinnet.errors import ModelError, NetworkError
from netinnet.networks.network import Preprocessing

Array = npt.NDArray[np.float64]

WIDEST = 100.0
"""Largest range of values that 0…255 may become: beyond it, it was made for 0…1."""


@dataclass(frozen=True)
class Scaling:
    """x · factor + offset, one pair a channel or one for all, as a file's first layers do it."""

    factor: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)
    layers: tuple[str, ...] = ()
    """The layers that do it; none where the file says nothing."""
    takes_bytes: bool = False
    """Whether the file says that its pictures are whole numbers from 0 to 255."""

    def then(self, factor: npt.ArrayLike, offset: npt.ArrayLike, layer: str) -> Scaling:
        """This scaling, and another behind it."""
        a, b = (np.asarray(x, np.float64).reshape(-1) for x in (factor, offset))
        factors = np.asarray(self.factor) * a
        offsets = np.asarray(self.offset) * a + b
        factors, offsets = np.broadcast_arrays(factors, offsets)
        return Scaling(
            tuple(factors.tolist()),
            tuple(offsets.tolist()),
            (*self.layers, layer),
            self.takes_bytes,
        )

    def of_bytes(self) -> Scaling:
        """This scaling of pictures that the file says are whole numbers from 0 to 255."""
        return dataclasses.replace(self, takes_bytes=True)

    @property
    def is_said(self) -> bool:
        """Whether the file says what is done to picture values."""
        return bool(self.layers) or self.takes_bytes

    def preprocessing(
        self, where: str, mean: Sequence[float] | None, std: Sequence[float] | None
    ) -> Preprocessing:
        """What `Preprocessing` does the same to values from 0 to 255.

        `mean` and `std` are what the user says. Raises ModelError where the file says something
        else, or scales values that do not go from 0 to 255.
        """
        given = None
        if mean is not None or std is not None:
            count = len(mean or std or ())
            given = preprocessing(mean or (0.0,) * count, std or (1.0,) * count)
        if not self.is_said:
            return given or Preprocessing()
        factors, offsets = np.asarray(self.factor), np.asarray(self.offset)
        names = " and ".join(self.layers) or "its input"
        if factors.min() <= 0:
            raise ModelError(f"{where}: {names} inverts pictures (factor {factors.min():g})")
        is_bytes = self.takes_bytes or 255 * factors.max() <= WIDEST
        stds = 1 / (factors * (255 if is_bytes else 1))
        own = preprocessing(_rounded(-offsets * stds), _rounded(stds))
        flags = f"--mean {_text(own.mean)} --std {_text(own.std)}"
        if given is None and not is_bytes:
            raise ModelError(
                f"{where}: {names} scales values by {factors.max():g}, which is not the scaling of "
                f"pictures from 0 to 255; if it was made for values from 0 to 1, say {flags}"
            )
        if given is not None and not _alike(given, own):
            raise ModelError(
                f"{where}: {names} says {flags}; give these, or leave out --mean and --std"
            )
        return own


def preprocessing(mean: Sequence[float], std: Sequence[float]) -> Preprocessing:
    """Raises ModelError where it can't be."""
    if len(mean) != len(std):
        wide = max(len(mean), len(std))
        mean, std = (tuple(x) * wide if len(x) == 1 else tuple(x) for x in (mean, std))
    try:
        return Preprocessing(tuple(mean), tuple(std))
    except NetworkError as error:
        raise ModelError(f"--mean, --std: {error}") from None


def _alike(a: Preprocessing, b: Preprocessing) -> bool:
    pairs = ((a.mean, b.mean), (a.std, b.std))
    return all(
        len({len(x), len(y), 1}) <= 2 and np.allclose(x, y, rtol=1e-3, atol=1e-4) for x, y in pairs
    )


def _rounded(values: Array) -> tuple[float, ...]:
    """Numbers as they were meant: 1 for 255 · 0.00392156862745098."""
    short = [float(f"{value:.7g}") + 0.0 for value in values.tolist()]
    return (short[0],) if len({*short}) == 1 else tuple(short)


def _text(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)
