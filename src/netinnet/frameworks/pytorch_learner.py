"""PyTorch's learner: the rewritten network in channels-last layout, and the layers it adds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netinnet.data.targets import Targets
from netinnet.errors import FrameworkError
from netinnet.frameworks import pytorch_model
from netinnet.frameworks.learner import Learner, LearnerSettings
from netinnet.frameworks.pieces import piece_size, pieces
from netinnet.networks.layers import BatchNorm, GlobalAvgPool, Shape
from netinnet.networks.network import Network
from netinnet.networks.rewrite import ResizedConv, activation_behind_pool, fold_resize
from netinnet.optimizer import ArrayFunctions
from netinnet.preprocessing import matrices
from netinnet.weights import Array

KEPT = 2**26
"""Convolutions' outputs of a piece, in values: with fewer pictures convolutions get slower, with
more the layers between them wait for memory (docs/log.md)."""


class PyTorchLearner(Learner):
    """Trains the rewritten network: same function, same weights, less work.

    A step adds up the gradient over pieces of the batch (pieces.py), then updates the weights.
    """

    framework = "pytorch"
    functions = ArrayFunctions(torch.sum, torch.reshape, torch.t)

    def __init__(
        self, settings: LearnerSettings, weights: Mapping[str, Array], device: str
    ) -> None:
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self._device = torch.device(device)
        if self._device.type == "cuda":
            # cuBLAS is deterministic only with a fixed workspace, set before its first use.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True)
        super().__init__(settings, weights, str(self._device), torch.get_num_threads())
        if self._device.type == "cpu":
            self.piece = piece_size(settings.network, KEPT)
        self._is_mixed = settings.precision == "bfloat16"
        if self._is_mixed and not computes_bfloat16(self._device):
            self.cautions.append(
                f"{self._device} has no bfloat16 arithmetic: precision float32 is faster"
            )

    def _made(self, weights: Mapping[str, Array]) -> dict[str, Any]:
        network, source = self.settings.network, self.settings.source
        folded = fold_resize(network, source)
        self._resize: list[Tensor] = []
        if folded is None and source != network.input:
            pair = matrices(source[1:], network.input[1:], network.preprocessing.fit)
            self._resize = [self._native(matrix) for matrix in pair]
        model = training_model(activation_behind_pool(folded or network), weights, self._table())
        self._model = model.to(self._device)
        native = {**dict(self._model.named_parameters()), **dict(self._model.named_buffers())}
        return {name: native[name] for name in self.tensors}

    def _table(self) -> pytorch_model.Table:
        return MODULES

    def _native(self, array: npt.NDArray[Any]) -> Tensor:
        return torch.tensor(array, device=self._device)

    def _zeros(self, native: Tensor) -> Tensor:
        return torch.zeros_like(native)  # in the parameter's memory order, as its gradient is

    def _numpy(self, native: Tensor) -> npt.NDArray[Any]:
        return native.detach().cpu().contiguous().numpy().copy()

    @torch.no_grad()
    def _put(self, native: Tensor, value: Tensor) -> Tensor:
        return native.copy_(value)

    def _tensor(self, images: Array) -> Tensor:
        return torch.from_numpy(images).to(self._device)

    def _batch(self, images: Array) -> Tensor:
        # n×h×w×c in memory is what PyTorch calls channels-last, so this is a view.
        x = self._tensor(images).permute(0, 3, 1, 2)
        if not self._resize:
            return x
        rows, columns = self._resize
        return rows @ x @ columns.T

    def step(self, images: Array, targets: Targets, rate: float, step: int, seed: int) -> Array:
        logits, gradients = self._gradients(images, targets, seed)
        with torch.no_grad():
            self.apply(gradients, rate, step)
        return logits

    @torch.no_grad()
    def average(self, decay: float) -> None:
        super().average(decay)

    @torch.enable_grad()  # whatever the process has set
    def _gradients(
        self, images: Array, targets: Targets, seed: int
    ) -> tuple[Array, dict[str, Tensor]]:
        """The logits of a batch, and the gradient of each trained tensor."""
        torch.manual_seed(seed)
        self._model.train()
        trained = [self.values[name] for name in self.roles]
        logits: list[Array] = []
        totals: tuple[Tensor, ...] | None = None
        for piece in pieces(len(images), self.piece):
            own = self._own_logits(images[piece])
            loss = F.cross_entropy(own, torch.from_numpy(targets[piece]).to(self._device))
            share = len(own) / len(images)
            of_piece = torch.autograd.grad(loss * share, trained)
            logits.append(own.detach().cpu().numpy())
            if totals is None:
                totals = of_piece
            else:
                torch._foreach_add_(totals, of_piece)
        assert totals is not None
        return np.concatenate(logits), dict(zip(self.roles, totals, strict=True))

    def _own_logits(self, images: Array) -> Tensor:
        # Only the layers: the loss and all that is behind it are float32, as the weights are.
        x = self._batch(images)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._is_mixed):
            return cast(Tensor, self._model(x).float())

    def logits(self, images: Array) -> Array:
        self._model.eval()
        with torch.inference_mode():
            return np.concatenate(
                [
                    self._model(self._batch(images[piece])).cpu().numpy()
                    for piece in pieces(len(images), self.piece)
                ]
            )


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 itself, without float32 in between."""
    if device.type == "cpu":
        has = torch.cpu.get_capabilities()
        return any(has.get(name) for name in ("avx512_bf16", "amx_bf16", "arm_bf16"))
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def training_model(
    network: Network, weights: Mapping[str, Array], table: pytorch_model.Table
) -> nn.Sequential:
    """The network of a table's modules in channels-last layout, ReLU in place.

    Raises FrameworkError where PyTorch would make tensors that hold no numbers.
    """
    if torch.get_default_device().type == "meta":
        raise FrameworkError(
            "PyTorch's default device is meta, which holds no numbers: "
            "torch.set_default_device('cpu')"
        )
    model = pytorch_model.assemble(network, table)
    pytorch_model.load(model, weights)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # In place, but not in the place of the input, of what a residual block adds later, or of what
    # another layer's backward pass reads.
    is_free = False
    for block in model.children():
        is_residual = isinstance(block, pytorch_model.Residual)
        is_free &= not is_residual
        for module in block.children():
            if isinstance(module, nn.ReLU):
                module.inplace = is_free
            if isinstance(module, nn.ReLU | nn.Sigmoid):
                is_free = False  # its backward pass reads its output
            elif not isinstance(module, nn.Dropout | nn.Flatten | nn.Unflatten):
                is_free = True
        is_free |= is_residual
    return model


class _ResizedConv(nn.Module):
    """`rewrite.ResizedConv` as one matrix product over patches of the small picture."""

    def __init__(self, layer: ResizedConv, shape: Shape) -> None:
        super().__init__()
        self.folded = layer.folded(shape)
        weight, *bias = layer.tensors(shape)
        self.weight = nn.Parameter(torch.empty(weight.shape))
        self.bias = nn.Parameter(torch.empty(bias[0].shape)) if bias else None
        self.register_buffer("taps", torch.from_numpy(self.folded.taps), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        taps = cast(Tensor, self.taps)
        _, phases, stride, size, steps, before, after, out = self.folded
        # One small kernel for each output phase (p, q): rows (channel, t, s), columns (p, q, out).
        kernels = torch.einsum("pkt,ockl,qls->ctspqo", taps, self.weight, taps)
        x = F.pad(x, (before, after[1], before, after[0]), mode="replicate")
        patches = x.unfold(2, size, stride).unfold(3, size, stride)
        patches = patches[:, :, : steps[0], : steps[1]].permute(0, 2, 3, 1, 4, 5)
        rows = patches.reshape(-1, kernels.shape[:3].numel())
        products = kernels.reshape(rows.shape[1], -1)
        if self.bias is None:
            y = rows @ products
        else:
            y = torch.addmm(self.bias.repeat(phases**2), rows, products)
        y = y.reshape(-1, *steps, phases, phases, self.weight.shape[0])
        y = y.permute(0, 1, 3, 2, 4, 5).reshape(
            y.shape[0], steps[0] * phases, steps[1] * phases, -1
        )
        return y[:, : out.height, : out.width].permute(0, 3, 1, 2)


class _BatchNorm(nn.BatchNorm2d):
    """Batch norm with exact sums in training on a CPU.

    PyTorch's own adds up hundreds of thousands of float32 values one by one: its means are wrong by
    2e-5, a hundred times what the other layers lose. That decides which of two equal pixels a pool
    takes, so that no two frameworks would learn alike. Sums of sums cost little more.
    """

    def forward(self, x: Tensor) -> Tensor:
        # PyTorch's own takes bfloat16 and adds it up in float32.
        if not self.training or x.device.type != "cpu" or x.dtype != torch.float32:
            return super().forward(x)
        y, mean, variance = _Normalise.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, self.eps
        )
        track(self, mean, variance, x.numel() // x.shape[1])
        return cast(Tensor, y)


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
    y = torch.empty(x.shape, dtype=x.dtype, memory_format=torch.channels_last)
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


class _GlobalAvgPool(nn.AdaptiveAvgPool2d):
    """The mean of each map in float32, also of maps in bfloat16: these are the logits."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float())


MODULES: pytorch_model.Table = {
    **pytorch_model.MODULES,
    ResizedConv: _ResizedConv,
    GlobalAvgPool: lambda o, s: _GlobalAvgPool(1),
    BatchNorm: lambda o, s: _BatchNorm(s.channels, o.epsilon, o.momentum),
}
"""The modules of layers in training: the native ones, or those above."""
