"""The update rules, written once over any framework's arrays, so that all frameworks step alike.

Only `+ - * / **` and `@` on arrays are used, and the three functions in `ArrayFunctions`. State is
a tuple of arrays per tensor, all zero at the start.

- `sgd`: weight decay is added to the gradient; velocity = momentum·velocity + gradient; with
  Nesterov the step is gradient + momentum·velocity (PyTorch's convention).
- `adamw` (Loshchilov and Hutter 2019): decoupled weight decay, bias-corrected moments.
- `muon` (Jordan et al. 2024): every weight matrix but the logits layer's moves by its Nesterov
  momentum made orthogonal (five Newton–Schulz steps); all other tensors move by `sgd`.

Weight decay is for the weights of convolutions and linear layers; biases and batch norm have none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from netinnet.errors import NetinnetError, check_name

Array = Any
State = tuple[Array, ...]

KINDS = ("sgd", "adamw", "muon")

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8
MUON_MOMENTUM = 0.95
MUON_RATE = 1 / 3
"""A matrix step of Muon has spectral norm 1, so it wants a smaller rate than the biases' SGD."""
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration that drives all singular values towards 1."""


@dataclass(frozen=True)
class ArrayFunctions:
    """What an update needs beyond operators; each framework names its own."""

    sum: Callable[[Array], Array]
    reshape: Callable[[Array, tuple[int, ...]], Array]
    transpose: Callable[[Array], Array]


@dataclass(frozen=True)
class TensorRole:
    """What an update must know of a tensor: its shape, where its outputs are, what it is for."""

    shape: tuple[int, ...]
    output_axis: int = 0
    is_logits: bool = False

    @property
    def is_matrix(self) -> bool:
        return len(self.shape) > 1


@dataclass(frozen=True)
class Optimizer:
    """One optimiser with its fixed settings; the learning rate comes with each step.

    Args:
        kind: one of KINDS.
        momentum: of SGD, and of what Muon leaves to SGD; from 0 to below 1. AdamW, whose moments
            are its own, has no use for it.
        nesterov: whether that momentum is Nesterov's; needs one above 0.
        weight_decay: of the weights of convolutions and linear layers; from 0.

    Raises:
        NetinnetError: for an unknown kind or a value out of range.

    Example:
        >>> Optimizer("muon", momentum=0.9, nesterov=True, weight_decay=5e-4)
    """

    kind: str = "sgd"
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_name("optimizer", self.kind, KINDS)
        if not 0 <= self.momentum < 1:
            raise NetinnetError(f"momentum must be at least 0 and below 1, got {self.momentum:g}")
        if not 0 <= self.weight_decay < math.inf:
            raise NetinnetError(f"weight_decay must be at least 0, got {self.weight_decay:g}")
        if self.nesterov and not self.momentum:
            raise NetinnetError("nesterov needs a momentum above 0")

    def state_size(self, role: TensorRole) -> int:
        """How many arrays of the tensor's shape the optimiser keeps for it."""
        if self.kind == "adamw":
            return 2
        return 1 if self.momentum or self._uses_muon(role) else 0

    def _uses_muon(self, role: TensorRole) -> bool:
        return self.kind == "muon" and role.is_matrix and not role.is_logits

    def update(
        self,
        functions: ArrayFunctions,
        role: TensorRole,
        parameter: Array,
        gradient: Array,
        state: State,
        rate: Array,
        step: Array,
    ) -> tuple[Array, State]:
        """The tensor and its state after one step; `step` counts from 1."""
        decay = self.weight_decay if role.is_matrix else 0.0
        if self.kind == "adamw":
            return _adamw(parameter, gradient, state, rate, step, decay)
        if self._uses_muon(role):
            return _muon(functions, role, parameter, gradient, state, rate, decay)
        return self._sgd(parameter, gradient, state, rate, decay)

    def _sgd(
        self, parameter: Array, gradient: Array, state: State, rate: Array, decay: float
    ) -> tuple[Array, State]:
        if decay:
            gradient = gradient + decay * parameter
        if not self.momentum:
            return parameter - rate * gradient, ()
        velocity = self.momentum * state[0] + gradient
        direction = gradient + self.momentum * velocity if self.nesterov else velocity
        return parameter - rate * direction, (velocity,)


def _adamw(
    parameter: Array, gradient: Array, state: State, rate: Array, step: Array, decay: float
) -> tuple[Array, State]:
    beta1, beta2 = ADAM_BETAS
    mean = beta1 * state[0] + (1 - beta1) * gradient
    square = beta2 * state[1] + (1 - beta2) * gradient * gradient
    unbiased_mean = mean / (1 - beta1**step)
    unbiased_square = square / (1 - beta2**step)
    parameter = parameter * (1 - rate * decay)
    return parameter - rate * unbiased_mean / (unbiased_square**0.5 + ADAM_EPSILON), (mean, square)


def _muon(
    functions: ArrayFunctions,
    role: TensorRole,
    parameter: Array,
    gradient: Array,
    state: State,
    rate: Array,
    decay: float,
) -> tuple[Array, State]:
    velocity = MUON_MOMENTUM * state[0] + gradient
    direction = gradient + MUON_MOMENTUM * velocity
    outputs = role.shape[role.output_axis]
    inputs = math.prod(role.shape) // outputs
    matrix = (outputs, inputs) if role.output_axis == 0 else (inputs, outputs)
    direction = functions.reshape(direction, matrix)
    direction = functions.reshape(_orthogonal(functions, direction, matrix), role.shape)
    # Jordan's scale: tall matrices take longer steps, so that outputs change by like amounts.
    rate = rate * (MUON_RATE * max(1.0, outputs / inputs) ** 0.5)
    return parameter * (1 - rate * decay) - rate * direction, (velocity,)


def _orthogonal(functions: ArrayFunctions, matrix: Array, shape: tuple[int, ...]) -> Array:
    """The nearest (semi-)orthogonal matrix, roughly: singular values between about 0.7 and 1.2."""
    tall = shape[0] > shape[1]
    if tall:
        matrix = functions.transpose(matrix)
    matrix = matrix / (functions.sum(matrix * matrix) ** 0.5 + 1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(5):
        gram = matrix @ functions.transpose(matrix)
        matrix = a * matrix + (b * gram + c * (gram @ gram)) @ matrix
    return functions.transpose(matrix) if tall else matrix
