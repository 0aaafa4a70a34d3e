"""Windows that slide over a map: how many fit, what is around it, and what the last ones see."""

from __future__ import annotations

Pads = tuple[tuple[int, int], tuple[int, int]]
"""Padding (above, below), (left, right)."""


class DoesNotFit(Exception):
    """Raised by a layer whose window is larger than what is left of the picture."""


class Sliding:
    """The geometry of a layer with a square window. Shapes are (channels, height, width)."""

    kernel: int
    stride: int
    padding: int
    ceil: bool = False

    def pads(self, shape: tuple[int, int, int]) -> Pads:
        """Padding with which whole windows only are left."""
        plain = (self.padding, self.padding)
        return (self._caffes(shape[1]), self._caffes(shape[2])) if self.ceil else (plain, plain)

    def _caffes(self, size: int) -> tuple[int, int]:
        """It rounds up, unless the last window would start in the padding behind the picture."""
        whole, padding = size + 2 * self.padding - self.kernel, self.padding
        beyond = -whole % self.stride
        is_one_more = whole >= 0 and padding + beyond < self.kernel
        return padding, padding + (beyond if is_one_more else 0)

    def counts(self, shape: tuple[int, int, int]) -> tuple[int, int]:
        """Windows down and across. Raises DoesNotFit."""
        rows, columns = (
            (size + sum(pads) - self.kernel) // self.stride + 1
            for size, pads in zip(shape[1:], self.pads(shape), strict=True)
        )
        if rows < 1 or columns < 1:
            raise DoesNotFit
        return rows, columns

    def correction(self, shape: tuple[int, int, int]) -> tuple[tuple[float, ...], ...] | None:
        """Rows × columns of factors on means over whole windows; None where all are 1.

        What of a window is beyond the padding does not count.
        """
        if not self.ceil:
            return None
        padded = (size + 2 * self.padding for size in shape[1:])
        rows, columns = (
            [self.kernel / min(self.kernel, size - i * self.stride) for i in range(count)]
            for size, count in zip(padded, self.counts(shape), strict=True)
        )
        return tuple(tuple(row * column for column in columns) for row in rows)
