"""Batch norm in training on a CPU, with exact sums, and with the ReLU behind it in one pass.

PyTorch's own adds up hundreds of thousands of float32 values one by one: its means are wrong by
2e-5, a hundred times what the other layers lose. That decides which of two equal pixels a pool
takes, so that no two frameworks would learn alike.

Batch norm and ReLU compute next to nothing and read all there is: in a step of `nin-small` they
take as long as the convolutions. Where a C compiler is, `batch_norm.c` reads each value half as
often; elsewhere PyTorch's functions do the same.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netinnet.errors import FrameworkError
from netinnet.frameworks import compiled
from netinnet.frameworks.compiled import Compiled, NotCompiled, at
from netinnet.frameworks.pytorch_compiled import refuse_second

SOURCE = Path(__file__).with_name("batch_norm.c")
DEFINES = {torch.float32: (), torch.bfloat16: ("BFLOAT16",)}
"""The types of values there are functions for, and what makes the C source be about them."""
LONG_ROW = 128
"""Of fewer channels, several rows are taken together."""


@functools.cache
def functions(dtype: torch.dtype) -> Compiled | NotCompiled:
    """The compiled functions for values of a type, or why there are none."""
    try:
        return compiled.load(SOURCE, *DEFINES[dtype])
    except NotCompiled as error:
        return error


class BatchNorm(nn.BatchNorm2d):
    """Batch norm, and where `has_relu`, the ReLU of what it makes."""

    has_relu = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or x.device.type != "cpu" or x.dtype not in DEFINES:
            return self._activated(super().forward(x))
        self._check_input_dim(x)
        if x.numel() == x.shape[1]:
            raise FrameworkError("batch norm needs more than one value a channel in training")
        found = functions(x.dtype)
        if isinstance(found, Compiled) and self.weight.dtype == torch.float32:
            y, mean, variance = _Compiled.apply(  # type: ignore[no-untyped-call]
                x, self.weight, self.bias, self.eps, self.has_relu, found.functions
            )
        elif x.dtype == torch.float32:
            y, mean, variance = _Normalise.apply(  # type: ignore[no-untyped-call]
                x, self.weight, self.bias, self.eps
            )
            y = self._activated(y)
        else:  # PyTorch's own takes bfloat16 and adds it up in float32
            return self._activated(super().forward(x))
        track(self, mean, variance, x.numel() // x.shape[1])
        return cast(Tensor, y)

    def _activated(self, y: Tensor) -> Tensor:
        return F.relu_(y) if self.has_relu else y


class _Compiled(torch.autograd.Function):
    """Normalised x, its ReLU, and the mean and (biased) variance of each channel."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        epsilon: float,
        has_relu: bool,
        library: ctypes.CDLL,
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = x.contiguous(memory_format=torch.channels_last)
        mean, variance = statistics(x, library)
        line = Line.of(mean, variance, weight, bias, epsilon)
        ctx.save_for_backward(x, *line)
        ctx.mark_non_differentiable(mean, variance)
        ctx.has_relu, ctx.library = has_relu, library
        return normalise(x, line, has_relu, library), mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second("batch norm")
        x, line = ctx.saved_tensors[0], Line(*ctx.saved_tensors[1:])
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        found = sums(x, gradient, line, ctx.has_relu, ctx.library)
        back = line.back(*found, x.numel() // x.shape[1])
        of_x = torch.empty_like(x)
        write_input_gradient(x, gradient, line, back, ctx.has_relu, ctx.library, of_x)
        return of_x, back.of_weight, back.of_bias, None, None, None


class Line(NamedTuple):
    """What batch norm is for a batch, of each channel: y = x * scale + offset."""

    mean: Tensor
    inverse: Tensor
    """Of the standard deviation."""
    scale: Tensor
    offset: Tensor

    @classmethod
    def of(
        cls, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, epsilon: float
    ) -> Line:
        inverse = (variance + epsilon).rsqrt()
        scale = inverse * weight
        return cls(mean, inverse, scale, bias - mean * scale)

    def back(self, of_y: Tensor, of_products: Tensor, count: int) -> Back:
        """From the sums of y's gradient and of it * (x - mean), over `count` values a channel."""
        of_weight = of_products * self.inverse
        slope = -self.scale * self.inverse * of_weight / count
        return Back(of_weight, of_y, slope, -self.scale * of_y / count - self.mean * slope)


class Back(NamedTuple):
    """The way back: the gradients of weight and bias, and that of x, g * scale + x * slope + shift.

    g is the gradient of y.
    """

    of_weight: Tensor
    of_bias: Tensor
    slope: Tensor
    shift: Tensor


def statistics(x: Tensor, library: ctypes.CDLL) -> tuple[Tensor, Tensor]:
    """Mean and (biased) variance of each channel of n×c×h×w, channels-last."""
    size = _Size.of(x)
    mean, variance = (torch.empty(x.shape[1], device="cpu") for _ in range(2))
    scratch = size.scratch(library)
    library.statistics(at(x), *size, torch.get_num_threads(), at(scratch), at(mean), at(variance))
    return mean, variance


def normalise(x: Tensor, line: Line, has_relu: bool, library: ctypes.CDLL) -> Tensor:
    size, y = _Size.of(x), torch.empty_like(x)
    own = size.each(line.scale, line.offset)
    library.normalise(at(x), at(y), *size[:2], torch.get_num_threads(), *map(at, own), has_relu)
    return y


def sums(
    x: Tensor, gradient: Tensor, line: Line, has_relu: bool, library: ctypes.CDLL
) -> tuple[Tensor, Tensor]:
    """What `Line.back` takes."""
    size = _Size.of(x)
    of_y, of_products = torch.empty_like(line.mean), torch.empty_like(line.mean)
    scratch, own = size.scratch(library), size.each(line.mean, line.scale, line.offset)
    library.sums(
        *(at(x), at(gradient), *size, torch.get_num_threads(), at(scratch), *map(at, own)),
        *(has_relu, at(of_y), at(of_products)),
    )
    return of_y, of_products


def write_input_gradient(
    x: Tensor,
    gradient: Tensor,
    line: Line,
    back: Back,
    has_relu: bool,
    library: ctypes.CDLL,
    of_x: Tensor,
) -> None:
    """Write the gradient of x into `of_x`, which may be `gradient`."""
    size = _Size.of(x)
    own = size.each(line.scale, line.offset, back.slope, back.shift)
    library.input_gradient(
        *(at(x), at(gradient), at(of_x), *size[:2], torch.get_num_threads(), *map(at, own)),
        has_relu,
    )


class _Size(NamedTuple):
    """What the functions take n×c×h×w for. They take a C long where there is a c_long."""

    rows: ctypes.c_long
    channels: ctypes.c_long
    times: ctypes.c_long

    @classmethod
    def of(cls, x: Tensor) -> _Size:
        channels = x.shape[1]
        rows, turns = x.numel() // channels, 1
        while channels * turns < LONG_ROW and rows % 2 == 0:
            rows, turns = rows // 2, turns * 2
        return cls(*map(ctypes.c_long, (rows, channels * turns, turns)))

    def each(self, *of_channels: Tensor) -> list[Tensor]:
        """What there is of each channel, as often as rows count as one."""
        return [*torch.stack(of_channels).tile(self.times.value)]

    def scratch(self, library: ctypes.CDLL) -> Tensor:
        """Room for what the functions find of each block of rows."""
        library.scratch_size.restype = ctypes.c_long
        return torch.empty(library.scratch_size(*self[:2]), dtype=torch.float32, device="cpu")


class _Normalise(torch.autograd.Function):
    """Normalised x, and the mean and (biased) variance of each channel.

    Within, arrays are n×positions×channels, as channels-last memory is.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        own = rows(x)
        mean = own.mean(1).mean(0)
        # The squared differences in one pass, without the differences in memory.
        squares = F.mse_loss(own, mean.expand_as(own), reduction="none")
        variance = squares.mean(1).mean(0)
        scale = (variance + epsilon).rsqrt()
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.mark_non_differentiable(mean, variance)
        return normalised(x, weight, bias, mean, scale), mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, scale = ctx.saved_tensors
        of_y = rows(gradient)
        count = of_y.shape[0] * of_y.shape[1]
        of_bias = of_y.sum(1).sum(0)
        products = rows(x) * of_y
        of_weight = (products.sum(1).sum(0) - mean * of_bias) * scale
        of_x = input_gradient(x, gradient, products, weight, mean, scale, of_weight, of_bias, count)
        return of_x, of_weight, of_bias, None


@torch.no_grad()
def track(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int | Tensor) -> None:
    """Move the running statistics towards those of a batch of `count` values a channel."""
    momentum = cast(float, norm.momentum)
    cast(Tensor, norm.running_mean).lerp_(mean, momentum)
    cast(Tensor, norm.running_var).lerp_(variance * (count / (count - 1)), momentum)


def normalised(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """What batch norm makes of x, by its mean and the inverse of its standard deviation."""
    # No view of another tensor: the ReLU behind it works in place.
    y = torch.empty_like(x, memory_format=torch.channels_last)
    offset = bias - mean * scale * weight
    torch.addcmul(offset, rows(x), scale * weight, out=rows(y))
    return y


def input_gradient(
    x: Tensor,
    gradient: Tensor,
    products: Tensor,
    weight: Tensor,
    mean: Tensor,
    scale: Tensor,
    of_weight: Tensor,
    of_bias: Tensor,
    count: int | Tensor,
) -> Tensor:
    """The gradient of batch norm's input, of `count` values a channel. Overwrites `products`."""
    # x - mean stands for the normalised x here; both sums are over it.
    slope = -weight * scale * scale * of_weight / count
    offset = -weight * scale * of_bias / count - mean * slope
    of_x = torch.addcmul(offset, rows(x), slope, out=products)
    of_x.addcmul_(rows(gradient), weight * scale)
    n, channels, height, width = x.shape
    return of_x.reshape(n, height, width, channels).permute(0, 3, 1, 2)


def rows(x: Tensor) -> Tensor:
    """n×c×h×w to n×positions×c: a view of channels-last memory."""
    n, channels, height, width = x.shape
    return x.permute(0, 2, 3, 1).reshape(n, height * width, channels)
