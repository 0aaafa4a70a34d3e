"""A batch in shards, computed by one thread each and added up in one order.

A sum of float32 values depends on who adds what. Here each shard of a batch is always computed by
one thread, and what shards share (the sums of batch norm, the gradients) is added up in a tree over
their numbers. So 1, 2, 4 or 8 processes of any number of threads make the same bytes on a CPU.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netinnet.data.targets import Targets
from netinnet.errors import FrameworkError
from netinnet.frameworks import pytorch_learner, pytorch_model
from netinnet.frameworks.learner import LearnerSettings
from netinnet.frameworks.processes import ALONE, Processes, check_shares
from netinnet.frameworks.pytorch_batch_norm import input_gradient, normalised, rows, track
from netinnet.fresh_process import cores
from netinnet.networks.layers import BatchNorm, Dropout
from netinnet.weights import Array

Made = TypeVar("Made")
Add = Callable[[Tensor, Tensor], Tensor]


class Shards:
    """The shards of a step: which are this process's, its threads, and where they meet."""

    def __init__(self, count: int, threads: int, processes: Processes = ALONE) -> None:
        check_shares(count, processes.count)
        self.count, self.processes = count, processes
        share = count // processes.count
        self.mine = range(processes.rank * share, (processes.rank + 1) * share)
        self._turn = threading.Semaphore(min(threads, share))
        self._pool = ThreadPoolExecutor(share, "netinnet-shard")
        self._own = threading.local()

    def run(self, compute: Callable[[int], Made], seed: int = 0) -> list[Made]:
        """`compute(shard)` of each of this process's shards; they may meet in `together`."""
        self._barrier = threading.Barrier(len(self.mine), self._meet)
        self._values: dict[int, Tensor] = {}
        waiting = [self._pool.submit(self._one, compute, shard, seed) for shard in self.mine]
        errors = [error for made in waiting if (error := made.exception()) is not None]
        # One that fails leaves the others waiting for it, which is not what went wrong.
        for error in sorted(errors, key=lambda e: isinstance(e, threading.BrokenBarrierError)):
            raise error
        return [made.result() for made in waiting]

    def _one(self, compute: Callable[[int], Made], shard: int, seed: int) -> Made:
        self._own.shard = shard
        self._own.generator = torch.Generator().manual_seed(seed * self.count + shard)
        with self._turn:
            try:
                return compute(shard)
            except BaseException:
                self._barrier.abort()
                raise

    @property
    def generator(self) -> torch.Generator:
        """Random numbers of the shard that this thread computes, in this step."""
        return cast(torch.Generator, self._own.generator)

    @property
    def is_first(self) -> bool:
        """Whether this thread has the first shard of this process."""
        return bool(self._own.shard == self.mine.start)

    def together(self, value: Tensor, add: Add = torch.add) -> Tensor:
        """All shards' values added up, the same for all; each calls it at the same place."""
        self._values[self._own.shard] = value
        self._add = add
        self._turn.release()  # another shard may compute while this one waits
        try:
            self._barrier.wait()
        finally:
            self._turn.acquire()
        return self._total

    def _meet(self) -> None:
        """Add up what each shard has brought; one thread does it, the others wait."""
        own = _tree([self._values[shard] for shard in self.mine], self._add)
        gathered = self.processes.gather(own.numpy())
        self._total = _tree([torch.from_numpy(array) for array in gathered], self._add)


def _tree(values: Sequence[Tensor], add: Add) -> Tensor:
    """The sum of values, two halves at a time: a process that has one half adds it as all do."""
    if len(values) == 1:
        return values[0]
    half = len(values) // 2
    return add(_tree(values[:half], add), _tree(values[half:], add))


class ShardedLearner(pytorch_learner.PyTorchLearner):
    """PyTorch's learner, a batch in shards. Each process is given whole batches."""

    def __init__(
        self, settings: LearnerSettings, weights: Mapping[str, Array], device: str
    ) -> None:
        picked, device = device, "cpu" if settings.device == "auto" else device
        if device != "cpu":
            raise FrameworkError(f"shards are computed on the CPU, not on {device}")
        processes = settings.processes
        threads = settings.threads or max(1, cores() // processes.on_this_machine)
        assert settings.shards is not None
        self.shards = Shards(settings.shards, threads, processes)
        if torch.get_num_threads() > 1:
            pytorch_learner.PyTorchLearner.usual_threads = torch.get_num_threads()
        super().__init__(settings, weights, device)
        torch.set_num_threads(1)  # of each shard; how many are computed at once changes no sum
        self.threads = threads
        self.piece = None  # shards are small already
        if picked != device:
            self.cautions.append(f"shards are computed on the CPU: {picked} is not used")

    def _name_kernels(self) -> None:
        super()._name_kernels()
        if any(isinstance(layer, _BatchNorm) for layer in self._model.modules()):
            self.cautions.append(
                "batch norm and the 1×1 convolutions between are not compiled, which would be "
                "faster: shards do without"
            )

    def _table(self) -> pytorch_model.Table:
        shards = self.shards
        return {
            **pytorch_learner.MODULES,
            BatchNorm: lambda o, s: _BatchNorm(shards, s.channels, o.epsilon, o.momentum),
            Dropout: lambda o, s: _Dropout(shards, o.rate),
        }

    def _tensor(self, images: Array) -> Tensor:
        # A copy that begins where PyTorch's tensors do: that decides how its sums are made.
        return torch.from_numpy(images).clone()

    def _gradients(
        self, images: Array, targets: Targets, seed: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        trained = [self.values[name] for name in self.roles]
        pictures = np.array_split(images, self.shards.count)
        answers = np.array_split(targets, self.shards.count)
        self._model.train()

        @torch.enable_grad()
        def compute(shard: int) -> tuple[Array, Tensor]:
            logits = self._model(self._batch(pictures[shard]))
            loss = F.cross_entropy(logits, torch.from_numpy(answers[shard]), reduction="sum")
            own = torch.autograd.grad(loss / len(images), trained)
            total = self.shards.together(torch.cat([gradient.reshape(-1) for gradient in own]))
            return logits.detach().numpy(), total

        made = self.shards.run(compute, seed)
        logits = self.shards.processes.concatenated(np.concatenate([logits for logits, _ in made]))
        flat = torch.split(made[0][1], [tensor.numel() for tensor in trained])
        gradients = {
            name: gradient.view(tensor.shape)
            for name, gradient, tensor in zip(self.roles, flat, trained, strict=True)
        }
        return torch.from_numpy(logits), gradients

    def logits(self, images: Array) -> Array:
        """Logits in prediction mode, of pictures that this process alone is given."""
        self._model.eval()
        parts = dict(
            zip(self.shards.mine, np.array_split(images, len(self.shards.mine)), strict=True)
        )

        @torch.inference_mode()
        def compute(shard: int) -> Array:
            return cast(Array, self._model(self._batch(parts[shard])).numpy())

        return np.concatenate(self.shards.run(compute))


class _Dropout(nn.Dropout):
    """Dropout by the shard's own random numbers, whichever thread has it."""

    def __init__(self, shards: Shards, rate: float) -> None:
        super().__init__(rate)
        self.shards = shards

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = torch.empty_like(x).bernoulli_(1 - self.p, generator=self.shards.generator)
        return x * kept.div_(1 - self.p)


class _BatchNorm(nn.BatchNorm2d):
    """Batch norm by the mean and variance of the whole batch, over all shards."""

    def __init__(self, shards: Shards, channels: int, epsilon: float, momentum: float) -> None:
        super().__init__(channels, epsilon, momentum)
        self.shards = shards

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        y, mean, variance, count = _Normalise.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, self.eps, self.shards
        )
        if self.shards.is_first:
            track(self, mean, variance, count)
        return cast(Tensor, y)


class _Normalise(torch.autograd.Function):
    """`pytorch_batch_norm._Normalise` over all shards; weight and bias get the shard's gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, shards: Shards
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        own = rows(x)
        positions = own.shape[0] * own.shape[1]
        count = weight.new_full(weight.shape, positions)
        mean = own.sum(1).sum(0) / max(positions, 1)
        squares = F.mse_loss(own, mean.expand_as(own), reduction="none").sum(1).sum(0)
        count, mean, squares = shards.together(torch.stack([count, mean, squares]), _moments)
        variance = squares / count
        scale = (variance + epsilon).rsqrt()
        ctx.save_for_backward(x, weight, mean, scale, count)
        ctx.shards = shards
        ctx.mark_non_differentiable(mean, variance, count)
        return normalised(x, weight, bias, mean, scale), mean, variance, count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale, count = ctx.saved_tensors
        of_y = rows(gradient)
        products = rows(x) * of_y
        of_bias = of_y.sum(1).sum(0)
        of_weight = (products.sum(1).sum(0) - mean * of_bias) * scale
        sums = ctx.shards.together(torch.stack([of_weight, of_bias]))
        of_x = input_gradient(x, gradient, products, weight, mean, scale, sums[0], sums[1], count)
        return of_x, of_weight, of_bias, None, None


def _moments(a: Tensor, b: Tensor) -> Tensor:
    """Count, mean and sum of squared differences from it of two parts together (Chan 1979)."""
    count = a[0] + b[0]
    share = b[0] / count.clamp(min=1)
    apart = b[1] - a[1]
    return torch.stack([count, a[1] + apart * share, a[2] + b[2] + apart * apart * a[0] * share])
