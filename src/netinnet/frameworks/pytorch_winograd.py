"""Convolutions in training on a CPU with fewer multiplications (`winograd.c`).

A 3×3 or 5×5 convolution of many channels, forward and both gradients, takes half to three quarters
of the time of PyTorch's. Its results are the same but for the last digits: errors are 3 to 8 in a
million of the largest value, where the sum itself loses 1. That is far below what training notices,
but more than two frameworks should differ by: predictions are computed by PyTorch's own.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from netinnet.frameworks import pytorch_compiled
from netinnet.frameworks.compiled import Compiled, NotCompiled, at
from netinnet.networks.tiles import TILE

SOURCE = Path(__file__).with_name("winograd.c")


@functools.cache
def functions(*defines: str) -> Compiled | NotCompiled:
    """The compiled functions, or why there are none."""
    rooms = ("convolve_room", "weight_gradient_room")
    return pytorch_compiled.for_vectors(SOURCE, _Sizes, rooms, *defines)


class WinogradConv(nn.Conv2d):
    """A convolution that is computed by the compiled functions in training.

    By PyTorch's own in prediction, in other types than float32, on other devices, where nothing is
    compiled, and where a tool watches PyTorch's operators, as those that count FLOPs do.
    """

    def forward(self, x: Tensor) -> Tensor:
        found = functions() if self.training and self._takes(x) else None
        if not isinstance(found, Compiled):
            return super().forward(x)
        y = _Convolve.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, cast(int, self.padding[0]), found.functions
        )
        return cast(Tensor, y)

    def _takes(self, x: Tensor) -> bool:
        """Whether it is what C would take it for. PyTorch says what is wrong with the rest."""
        return (
            pytorch_compiled.takes(x, self.weight)
            and (x.dim() == 4 and x.shape[1] == self.in_channels)
            and min(x.shape[2:]) + 2 * cast(int, self.padding[0]) >= self.kernel_size[0]
        )


class _Sizes(ctypes.Structure):
    """`sizes` of the C source."""

    _fields_ = [
        (name, ctypes.c_long)
        for name in (
            *("count", "height", "width", "channels"),
            *("out_height", "out_width", "out_channels"),
            *("window", "padding", "threads"),
        )
    ]

    @classmethod
    def of(cls, x: Tensor, outputs: int, window: int, padding: int) -> _Sizes:
        """Of a convolution of n×c×h×w to as many output channels."""
        count, channels, *side = x.shape
        out = (length + 2 * padding - window + 1 for length in side)
        threads = torch.get_num_threads()
        return cls(count, *side, channels, *out, outputs, window, padding, threads)

    def scratch(self, room: Any) -> npt.NDArray[np.float32]:
        """Room for what the threads work on."""
        return np.empty(cast(int, self.threads) * room(ctypes.byref(self)), np.float32)


class _Convolve(torch.autograd.Function):
    """A convolution of x; weights are outputs×channels×window×window."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        padding: int,
        library: ctypes.CDLL,
    ) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.library, ctx.has_bias = padding, library, bias is not None
        weight = weight.permute(2, 3, 1, 0).contiguous()
        return _convolved(x, weight, bias, padding, library)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        pytorch_compiled.refuse_second("a convolution")
        x, weight = ctx.saved_tensors
        library, window = ctx.library, weight.shape[2]
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _convolved(gradient, _turned(weight), None, window - 1 - ctx.padding, library)
        if ctx.needs_input_grad[1]:
            of_weight = _weight_gradient(x, gradient, window, ctx.padding, library)
        if ctx.has_bias and ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3))
        return of_x, of_weight, of_bias, None, None


def _turned(weight: Tensor) -> Tensor:
    """The window turned by half a circle, channels and outputs exchanged, for `_convolved`.

    So each output's gradient goes back to the pixels that the output was made from.
    """
    return weight.flip(2, 3).permute(2, 3, 0, 1).contiguous()


def _convolved(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, library: ctypes.CDLL
) -> Tensor:
    """The convolution of x; weights are window×window×channels×outputs, in this order in memory."""
    window, outputs = weight.shape[0], weight.shape[3]
    sizes = _Sizes.of(x, outputs, window, padding)
    transformed = torch.empty(TILE**2 * x.shape[1] * outputs, dtype=torch.float32, device="cpu")
    library.transform_weights(at(weight), ctypes.byref(sizes), at(transformed))
    shape = (x.shape[0], outputs, sizes.out_height, sizes.out_width)
    y = torch.empty(shape, dtype=torch.float32, device="cpu", memory_format=torch.channels_last)
    scratch = sizes.scratch(library.convolve_room)
    library.convolve(
        *(at(x), ctypes.byref(sizes), at(transformed)),
        *(None if bias is None else at(bias), at(y), scratch.ctypes.data_as(ctypes.c_void_p)),
    )
    return y


def _weight_gradient(
    x: Tensor, gradient: Tensor, window: int, padding: int, library: ctypes.CDLL
) -> Tensor:
    """The gradient of the weights, outputs×channels×window×window, channels-last in memory."""
    channels, outputs = x.shape[1], gradient.shape[1]
    sizes = _Sizes.of(x, outputs, window, padding)
    found = torch.empty((window, window, channels, outputs), dtype=torch.float32, device="cpu")
    scratch = sizes.scratch(library.weight_gradient_room)
    library.weight_gradient(
        *(at(x), at(gradient), ctypes.byref(sizes)),
        *(at(found), scratch.ctypes.data_as(ctypes.c_void_p)),
    )
    return found.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
