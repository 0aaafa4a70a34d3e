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
    same: bool = False

    def pads(self, shape: tuple[int, int, int]) -> Pads:
        """Padding with which whole windows only are left."""
        _, height, width = shape
        if self.same:
            return self._tensorflows(height), self._tensorflows(width)
        plain = (self.padding, self.padding)
        return (self._caffes(height), self._caffes(width)) if self.ceil else (plain, plain)

    def _tensorflows(self, size: int) -> tuple[int, int]:
        """As many windows as strides begin in the map; an odd pixel is added at the end."""
        last = (size - 1) // self.stride * self.stride
        total = max(last + self.kernel - size, 0)
        return total // 2, total - total // 2

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

        What of a window is beyond the padding does not count, and with `same` no padding does.
        """
        found = self.factors(shape)
        if found is None:
            return None
        rows, columns = found
        return tuple(tuple(row * column for column in columns) for row in rows)

    def factors(self, shape: tuple[int, int, int]) -> tuple[list[float], list[float]] | None:
        """The factors of `correction`, of the rows and of the columns."""
        if not self.ceil and not self.same:
            return None
        rows, columns = (
            self._factors(size, before if self.same else self.padding, count)
            for size, (before, _), count in zip(
                shape[1:], self.pads(shape), self.counts(shape), strict=True
            )
        )
        return rows, columns

    def _factors(self, size: int, before: int, count: int) -> list[float]:
        """The kernel over how many of its pixels count, for each window of an axis."""
        first, end = (0, size) if self.same else (-before, size + before)
        starts = (i * self.stride - before for i in range(count))
        return [self.kernel / (min(s + self.kernel, end) - max(s, first)) for s in starts]
