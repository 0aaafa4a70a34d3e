"""PyTorch's learner: the rewritten network in channels-last layout, and the layers it adds."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netinnet.data.batches import TrainingBatches
from netinnet.data.targets import Batch, Targets, as_rows
from netinnet.errors import FrameworkError
from netinnet.frameworks import (
    pytorch_batch_norm,
    pytorch_batches,
    pytorch_model,
    pytorch_pointwise,
    pytorch_winograd,
)
from netinnet.frameworks.compiled import Compiled, NotCompiled
from netinnet.frameworks.learner import OWN_FUNCTIONS, Learner, LearnerSettings
from netinnet.frameworks.pieces import piece_size, pieces
from netinnet.networks.layers import BatchNorm, Conv, GlobalAvgPool, Shape
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
    usual_threads: ClassVar[int | None] = None
    """This process's threads before shards set their number to 1."""
    functions = ArrayFunctions(torch.sum, torch.reshape, torch.t)

    def __init__(
        self, settings: LearnerSettings, weights: Mapping[str, Array], device: str
    ) -> None:
        usual = self.usual_threads if torch.get_num_threads() == 1 else None
        if threads := settings.threads or usual:
            torch.set_num_threads(threads)
        self._device = torch.device(device)
        if self._device.type == "cuda":
            # cuBLAS is deterministic only with a fixed workspace, set before its first use.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True)
            # Else convolutions in "float32" read 10 bits of each value; bfloat16 is for speed.
            torch.backends.cudnn.allow_tf32 = False
        super().__init__(settings, weights, str(self._device), torch.get_num_threads())
        self._is_mixed = settings.precision == "bfloat16"
        if self._device.type == "cpu":
            self.piece = piece_size(settings.network, KEPT)
            self._name_kernels()
        if self._is_mixed and (slow := slow_bfloat16(self._device)):
            self.cautions.append(slow)

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

    def _name_kernels(self) -> None:
        """Say which layers are computed by compiled functions, and which could be."""
        layers = [*self._model.modules()]
        dtype = torch.bfloat16 if self._is_mixed else torch.float32
        if any(isinstance(layer, pytorch_batch_norm.BatchNorm) for layer in layers):
            self._name("batch norm", pytorch_batch_norm.functions(dtype))
        if self._is_mixed:
            return
        if any(isinstance(layer, pytorch_winograd.WinogradConv) for layer in layers):
            self._name("convolution", pytorch_winograd.functions())
        if any(getattr(layer, "behind", ()) for layer in layers):
            self._name("per-pixel network", pytorch_pointwise.functions())

    def _name(self, layer: str, found: Compiled | NotCompiled) -> None:
        if isinstance(found, Compiled):
            self.kernels[layer] = f"compiled {found.digest}"
        else:
            self.kernels[layer] = OWN_FUNCTIONS
            self.cautions.append(f"{layer} is not compiled, which would be faster: {found}")

    def _native(self, array: npt.NDArray[Any]) -> Tensor:
        return torch.tensor(array, device=self._device)

    def _zeros(self, native: Tensor) -> Tensor:
        return torch.zeros_like(native)  # in the parameter's memory order, as its gradient is

    def _numpy(self, native: Tensor) -> npt.NDArray[Any]:
        return native.detach().cpu().contiguous().numpy().copy()

    @torch.no_grad()
    def _put(self, native: Tensor, value: Tensor) -> Tensor:
        return native.copy_(value)

    def batches(self, made: TrainingBatches) -> Callable[[int], Batch]:
        """On a GPU, made there, of pictures that stay there."""
        if self._device.type != "cuda":
            return made
        found = pytorch_batches.on_gpu(made, self._device)
        if not isinstance(found, str):
            return found
        self.cautions.append(f"batches are made on the CPU, not on {self.device}: {found}")
        return made

    def _tensor(self, images: Array) -> Tensor:
        return torch.from_numpy(images).to(self._device)

    def _batch(self, images: Array | Tensor) -> Tensor:
        # n×h×w×c in memory is what PyTorch calls channels-last, so this is a view.
        own = images if isinstance(images, Tensor) else self._tensor(images)
        x = own.permute(0, 3, 1, 2)
        if not self._resize:
            return x
        rows, columns = self._resize
        return rows @ x @ columns.T

    def _step(self, images: Array, targets: Targets, rate: float, step: int, seed: int) -> Array:
        logits, gradients = self._gradients(images, targets, seed)
        with torch.no_grad():
            self.apply(gradients, rate, step)
        return logits.cpu().numpy()  # at last: a GPU is waited for here

    @torch.no_grad()
    def average(self, decay: float) -> None:
        super().average(decay)

    @torch.enable_grad()  # whatever the process has set
    def _gradients(
        self, images: Array, targets: Targets, seed: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The logits of a batch, and the gradient of each trained tensor."""
        torch.manual_seed(seed)
        self._model.train()
        trained = [self.values[name] for name in self.roles]
        logits: list[Tensor] = []
        totals: tuple[Tensor, ...] | None = None
        for piece in pieces(len(images), self.piece):
            own = self._own_logits(images[piece])
            loss = F.cross_entropy(own, self._answers(targets[piece]))
            share = len(own) / len(images)
            of_piece = torch.autograd.grad(loss * share, trained)
            logits.append(own.detach())
            if totals is None:
                totals = of_piece
            else:
                torch._foreach_add_(totals, of_piece)
        assert totals is not None
        return torch.cat(logits), dict(zip(self.roles, totals, strict=True))

    def _answers(self, targets: Targets) -> Tensor:
        if self._device.type == "cuda":  # the loss of labels is not deterministic there
            targets = as_rows(targets, len(self.settings.network.classes))
        return torch.from_numpy(targets).to(self._device)

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


def slow_bfloat16(device: torch.device) -> str | None:
    """Why training in bfloat16 may be no faster than in float32 on a device."""
    if device.type == "cuda":
        has = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        known = torch.cpu.get_capabilities() if device.type == "cpu" else {}
        has = known.get("amx_bf16") or known.get("arm_bf16")
        if known.get("avx512_bf16") and not has:  # docs/performance.md
            tell = "--dry-run says what each takes"
            return f"{device} multiplies bfloat16 without AMX: float32 may be faster; {tell}"
    return None if has else f"{device} has no bfloat16 arithmetic: precision float32 is faster"


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
        _give_relus_to_batch_norm(block)
        is_residual = isinstance(block, pytorch_model.Residual)
        is_free &= not is_residual
        for module in block.children():
            if isinstance(module, nn.ReLU):
                module.inplace = is_free
            if isinstance(module, nn.ReLU | nn.Sigmoid | nn.Identity):
                is_free = False  # its backward pass, or that of batch norm's ReLU, reads its output
            elif not isinstance(module, nn.Dropout | nn.Flatten | nn.Unflatten):
                is_free = True
        is_free |= is_residual
    pytorch_pointwise.give_layers_to_norms(network, model)
    return model


def _give_relus_to_batch_norm(block: nn.Module) -> None:
    """A ReLU right behind batch norm becomes part of it."""
    for (_, norm), (name, module) in itertools.pairwise([*block.named_children()]):
        if isinstance(norm, pytorch_batch_norm.BatchNorm) and isinstance(module, nn.ReLU):
            norm.has_relu = True
            setattr(block, name, nn.Identity())


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


class _GlobalAvgPool(nn.AdaptiveAvgPool2d):
    """The mean of each map in float32, also of maps in bfloat16: these are the logits."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cuda":  # where the pool is not deterministic
            return x.float().mean((2, 3), keepdim=True)
        return super().forward(x.float())


def _conv(o: Conv, s: Shape) -> nn.Module:
    kind: type[nn.Conv2d] = nn.Conv2d
    if o.is_by_tiles(s):
        kind = pytorch_winograd.WinogradConv
    elif o.is_pointwise:
        kind = pytorch_pointwise.PointwiseConv
    return pytorch_model.conv(o, s, kind)


MODULES: pytorch_model.Table = {
    **pytorch_model.MODULES,
    ResizedConv: _ResizedConv,
    GlobalAvgPool: lambda o, s: _GlobalAvgPool(1),
    Conv: _conv,
    BatchNorm: lambda o, s: pytorch_pointwise.NetworkNorm(s.channels, o.epsilon, o.momentum),
}
"""The modules of layers in training: the native ones, or those above."""
