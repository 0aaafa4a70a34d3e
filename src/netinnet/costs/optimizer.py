"""What one update of all weights takes, in memory and matrix products.

Nothing is known here of the rules: `optimizer.Optimizer.update` itself runs on arrays that have a
shape and no content, and that count what is alive. It counts right as long as arrays go when the
last name for them does, as they do in CPython, here and in PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from netinnet.optimizer import Array, ArrayFunctions, Optimizer, State, TensorRole


class _Tally:
    """Values alive, their peak, and the FLOPs of matrix products."""

    def __init__(self) -> None:
        self.alive = self.peak = self.flops = 0

    def add(self, values: int) -> None:
        self.alive += values
        self.peak = max(self.peak, self.alive)


class _Counted:
    """An array of a shape, without content, whose making and end are counted.

    A view has no values of its own and holds its base.
    """

    def __init__(self, tally: _Tally, shape: tuple[int, ...], base: _Counted | None = None) -> None:
        self.tally, self.shape, self.base = tally, shape, base
        self.values = 0 if base else math.prod(shape)
        tally.add(self.values)

    def __del__(self) -> None:
        self.tally.alive -= self.values

    def view(self, shape: tuple[int, ...]) -> _Counted:
        return _Counted(self.tally, shape, self)

    def _elementwise(self, other: object) -> _Counted:
        larger = isinstance(other, _Counted) and math.prod(other.shape) > math.prod(self.shape)
        return _Counted(self.tally, other.shape if larger else self.shape)  # type: ignore[attr-defined]

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _elementwise
    __truediv__ = __rtruediv__ = __pow__ = _elementwise

    def __matmul__(self, other: _Counted) -> _Counted:
        (rows, inner), columns = self.shape, other.shape[1]
        self.tally.flops += 2 * rows * inner * columns
        return _Counted(self.tally, (rows, columns))


_FUNCTIONS = ArrayFunctions(
    sum=lambda array: _Counted(array.tally, ()),
    reshape=lambda array, shape: array.view(shape),
    transpose=lambda array: array.view(array.shape[::-1]),
)


@dataclass(frozen=True)
class Update:
    """What the update of one tensor takes."""

    name: str
    values: int
    """Values that are alive at its peak beside all weights, gradients and state."""
    flops: int
    """FLOPs of its matrix products."""


def updates(optimizer: Optimizer, roles: Mapping[str, TensorRole]) -> Iterator[Update]:
    """Update each tensor once, in order, as the learner's loop does.

    As there, the new value of the tensor before is alive until this one's is made.
    """
    tally = _Tally()

    def made(role: TensorRole) -> Array:
        return _Counted(tally, role.shape)

    weights = {name: made(role) for name, role in roles.items()}
    gradients = {name: made(role) for name, role in roles.items()}
    states: dict[str, State] = {
        name: tuple(made(role) for _ in range(optimizer.state_size(role)))
        for name, role in roles.items()
    }
    resting = tally.alive
    for name, role in roles.items():
        tally.peak, before = 0, tally.flops
        updated, states[name] = optimizer.update(
            _FUNCTIONS, role, weights[name], gradients[name], states[name], 0.1, 1
        )
        assert updated.shape == role.shape
        yield Update(name, tally.peak - resting, tally.flops - before)
