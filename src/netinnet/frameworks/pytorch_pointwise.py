"""The per-pixel network of a NiN block in training on a CPU, in one pass a layer (`pointwise.c`).

Layer by layer, batch norm, ReLU and a 1×1 convolution read or write each value fourteen times in a
step. Here a convolution reads what the one before it has written; what batch norm and ReLU make of
it is never in memory, it is made again where it is needed.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netinnet.frameworks import pytorch_batch_norm, pytorch_compiled
from netinnet.frameworks.compiled import Compiled, NotCompiled, at
from netinnet.frameworks.pytorch_batch_norm import Back, BatchNorm, Line, track
from netinnet.networks.network import Network
from netinnet.networks.pixel_networks import MOST_CHANNELS, PARTS, ROWS, pixel_networks

SOURCE = Path(__file__).with_name("pointwise.c")


@functools.cache
def functions(*defines: str) -> Compiled | NotCompiled:
    """The compiled functions, or why there are none."""
    given = (f"BLOCK={ROWS}", f"PARTS={PARTS}", f"MOST={MOST_CHANNELS}")
    rooms = ("forward_room", "backward_room")
    return pytorch_compiled.for_vectors(SOURCE, _Sizes, rooms, *given, *defines)


class PointwiseConv(nn.Conv2d):
    """A 1×1 convolution; where a batch norm before it has computed it, it leaves x as it is."""

    first: tuple[NetworkNorm, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        return x if any(norm.computes_all for norm in self.first) else super().forward(x)


class NetworkNorm(BatchNorm):
    """Batch norm. In training, the first one of a per-pixel network computes all its layers."""

    first: tuple[NetworkNorm, ...] = ()
    """The batch norm that computes this one; in a tuple, so that it is no part of this module."""
    behind: tuple[tuple[PointwiseConv, NetworkNorm], ...] = ()

    @property
    def norms(self) -> list[NetworkNorm]:
        """This one and those behind it."""
        return [self, *(norm for _, norm in self.behind)]

    @property
    def computes_all(self) -> bool:
        """Not in prediction: a layer's input would stay in memory until all are done."""
        return bool(self.behind) and all(norm.training for norm in self.norms)

    def forward(self, x: Tensor) -> Tensor:
        if any(norm.computes_all for norm in self.first):
            return x
        if not self.computes_all:
            return super().forward(x)
        own, of_norm = functions(), pytorch_batch_norm.functions(torch.float32)
        if self._takes(x) and isinstance(own, Compiled) and isinstance(of_norm, Compiled):
            return self._together(x, own.functions, of_norm.functions)
        y = super().forward(x)
        for conv, norm in self.behind:
            y = BatchNorm.forward(norm, nn.Conv2d.forward(conv, y))
        return y

    def _takes(self, x: Tensor) -> bool:
        """Whether it is what C would take it for. `BatchNorm` says what is wrong with the rest."""
        is_map = x.dim() == 4 and x.shape[1] == self.num_features and x.numel() > x.shape[1]
        weights = [*(n.weight for n in self.norms), *(conv.weight for conv, _ in self.behind)]
        return is_map and all(pytorch_compiled.takes(x, weight) for weight in weights)

    def _together(self, x: Tensor, own: ctypes.CDLL, of_norm: ctypes.CDLL) -> Tensor:
        norms = self.norms
        y, *found = _Network.apply(  # type: ignore[no-untyped-call]
            *(x, [norm.eps for norm in norms], norms[-1].has_relu, own, of_norm),
            *(conv.weight for conv, _ in self.behind),
            *itertools.chain.from_iterable((norm.weight, norm.bias) for norm in norms),
        )
        for norm, mean, variance in zip(norms, found[::2], found[1::2], strict=True):
            track(norm, mean, variance, x.numel() // x.shape[1])
        return cast(Tensor, y)


def give_layers_to_norms(network: Network, model: nn.Module) -> None:
    """The first batch norm of each per-pixel network gets the layers behind it."""
    for run in pixel_networks(network):
        first, *layers = (cast(Any, model.get_submodule(placed.name)) for placed in run)
        if not isinstance(first, NetworkNorm):
            return  # batch norm of another kind: all are
        # Without the ReLUs, which are part of the batch norms in front of them.
        first.behind = tuple(zip(layers[1::3], layers[2::3], strict=True))
        assert all(norm.has_relu for norm in (first, *layers[2:-1:3]))
        for conv, norm in first.behind:
            conv.first = norm.first = (first,)


class _Sizes(ctypes.Structure):
    """`sizes` of the C source."""

    _fields_ = [(name, ctypes.c_long) for name in ("rows", "channels", "outputs", "threads")]

    @classmethod
    def of(cls, x: Tensor, outputs: int) -> _Sizes:
        channels = x.shape[1]
        return cls(x.numel() // channels, channels, outputs, torch.get_num_threads())

    def scratch(self, room: Any) -> Tensor:
        """Room for what the threads work on, and for what they find."""
        return torch.empty(room(ctypes.byref(self)), dtype=torch.float32, device="cpu")


class _CLine(ctypes.Structure):
    """`line` of the C source."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("scale", "offset", "mean", "slope", "shift")),
        ("low", ctypes.c_float),
    ]

    @classmethod
    def of(cls, line: Line, back: Back | None = None, *, has_relu: bool = True) -> _CLine:
        """For the way back, `back` too."""
        way_back = (back.slope, back.shift) if back else ()
        made = cls(*map(at, (line.scale, line.offset, line.mean, *way_back)))
        made.low = 0.0 if has_relu else -math.inf
        return made


class _Network(torch.autograd.Function):
    """Batch norms with 1×1 convolutions between them, and mean and variance of each batch norm.

    `tensors` are the convolutions' weights, then each batch norm's weight and bias. All batch norms
    but the last have a ReLU.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        epsilons: list[float],
        has_relu: bool,
        own: ctypes.CDLL,
        of_norm: ctypes.CDLL,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        maps = [x.contiguous(memory_format=torch.channels_last)]
        convs, norms = tensors[: len(epsilons) - 1], tensors[len(epsilons) - 1 :]
        mean, variance = pytorch_batch_norm.statistics(maps[0], of_norm)
        found, lines = [mean, variance], [Line.of(mean, variance, norms[0], norms[1], epsilons[0])]
        for i, conv in enumerate(convs, 1):
            y, mean, variance = _forward(maps[-1], lines[-1], conv, own)
            maps.append(y)
            lines.append(Line.of(mean, variance, norms[2 * i], norms[2 * i + 1], epsilons[i]))
            found += [mean, variance]
        ctx.save_for_backward(*maps, *convs, *itertools.chain.from_iterable(lines))
        ctx.mark_non_differentiable(*found)
        ctx.has_relu, ctx.libraries = has_relu, (own, of_norm)
        return pytorch_batch_norm.normalise(maps[-1], lines[-1], has_relu, of_norm), *found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        pytorch_compiled.refuse_second("a per-pixel network")
        own, of_norm = ctx.libraries
        maps, convs, lines = _saved(ctx.saved_tensors)
        count = maps[0].numel() // maps[0].shape[1]
        g = gradient.contiguous(memory_format=torch.channels_last)
        sums = pytorch_batch_norm.sums(maps[-1], g, lines[-1], ctx.has_relu, of_norm)
        back = lines[-1].back(*sums, count)
        of_convs, of_norms = list[Tensor](), [back.of_weight, back.of_bias]
        behind = _CLine.of(lines[-1], back, has_relu=ctx.has_relu)
        for i in reversed(range(len(convs))):
            g, of_conv, sums = _backward(maps[i], maps[i + 1], g, lines[i], behind, convs[i], own)
            back = lines[i].back(*sums, count)
            behind = _CLine.of(lines[i], back)
            of_convs[:0], of_norms[:0] = [of_conv], [back.of_weight, back.of_bias]
        if ctx.needs_input_grad[0]:
            # In the place of the gradient, which is this function's own by now.
            pytorch_batch_norm.write_input_gradient(maps[0], g, lines[0], back, True, of_norm, g)
        return g if ctx.needs_input_grad[0] else None, None, None, None, None, *of_convs, *of_norms


def _saved(tensors: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor], list[Line]]:
    """Maps, weights of the convolutions between them, a line for each map."""
    each = len(Line._fields)
    count = (len(tensors) + 1) // (2 + each)
    flat = tensors[2 * count - 1 :]
    lines = [Line(*flat[i : i + each]) for i in range(0, len(flat), each)]
    return [*tensors[:count]], [*tensors[count : 2 * count - 1]], lines


def _forward(
    x: Tensor, line: Line, weight: Tensor, library: ctypes.CDLL
) -> tuple[Tensor, Tensor, Tensor]:
    """A convolution of what batch norm makes of x; mean and variance of its outputs."""
    outputs, factors = weight.shape[0], _padded(weight.flatten(1).t(), library)
    sizes = _Sizes.of(x, outputs)
    y = x.new_empty((x.shape[0], *x.shape[2:], outputs)).permute(0, 3, 1, 2)  # channels-last
    mean, variance = x.new_empty(2, factors.shape[1])
    scratch = sizes.scratch(library.forward_room)
    library.forward(
        *(at(x), ctypes.byref(sizes), ctypes.byref(_CLine.of(line)), at(factors), at(y)),
        *(at(scratch), at(mean), at(variance)),
    )
    return y, mean[:outputs], variance[:outputs]


def _backward(
    x: Tensor,
    y: Tensor,
    gradient: Tensor,
    line: Line,
    behind: _CLine,
    weight: Tensor,
    library: ctypes.CDLL,
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """From the gradient of what the batch norm behind makes of y, that of what `line` makes of x.

    Also that of the weights, and the sums that `Line.back` takes.
    """
    outputs, channels = weight.shape[:2]
    sizes, factors = _Sizes.of(x, outputs), _padded(weight.flatten(1), library)
    of_z, of_weight = torch.empty_like(x), torch.empty_like(factors)
    sums = (torch.empty_like(line.mean), torch.empty_like(line.mean))
    scratch = sizes.scratch(library.backward_room)
    library.backward(
        *(at(x), at(y), at(gradient), ctypes.byref(sizes), ctypes.byref(_CLine.of(line))),
        *(ctypes.byref(behind), at(factors), at(of_z), at(of_weight)),
        *(at(scratch), *map(at, sums)),
    )
    return of_z, of_weight[:, :channels].reshape(weight.shape), sums


def _padded(matrix: Tensor, library: ctypes.CDLL) -> Tensor:
    """With columns of zeros, as many as fill the last vector."""
    return F.pad(matrix, (0, -matrix.shape[1] % library.lanes())).contiguous()
