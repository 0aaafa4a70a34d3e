"""MXNet's learner: the rewritten network, compiled.

MXNet 1.9.1 computes in a thread of its own and keeps errors until a result is asked for; the
learner waits, so that a step that returns has happened.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator, Mapping
from typing import Any, cast

import mxnet as mx
import numpy.typing as npt
from mxnet import autograd, gluon, npx
from mxnet.base import _LIB, MXNetError, check_call

from netinnet.data.targets import Targets, as_rows
from netinnet.errors import FrameworkError
from netinnet.frameworks.learner import Learner, LearnerSettings
from netinnet.frameworks.mxnet_model import assemble, parameters
from netinnet.networks.layers import BatchNorm
from netinnet.networks.rewrite import activation_behind_pool
from netinnet.optimizer import ArrayFunctions
from netinnet.preprocessing import matrices
from netinnet.weights import Array


@mx.util.use_np
class MXNetLearner(Learner):
    """Trains the rewritten network, compiled. NumPy semantics hold within its methods only."""

    framework = "mxnet"
    functions = ArrayFunctions(mx.np.sum, mx.np.reshape, mx.np.transpose)

    def __init__(
        self, settings: LearnerSettings, weights: Mapping[str, Array], device: str
    ) -> None:
        kind, _, number = device.partition(":")
        if kind == "gpu":
            os.environ["MXNET_ENFORCE_DETERMINISM"] = "1"
        threads = _threads(settings.threads)
        self._context = mx.Context(kind, int(number or 0))
        super().__init__(settings, weights, device, threads)
        network, source = settings.network, settings.source
        # Folding the resizing into the first convolution (`rewrite.fold_resize`) gains nothing
        # here: putting the output phases in order takes longer than the convolution itself.
        rows, columns = matrices(source[1:], network.input[1:], network.preprocessing.fit)
        self._resize = self._native(rows), self._native(columns.T)
        self._loss = gluon.loss.SoftmaxCrossEntropyLoss(sparse_label=False)
        self._norms = {
            f"{p.name}.running_var": (p.layer.momentum, p.input.height * p.input.width)
            for p in network.placed_layers()
            if isinstance(p.layer, BatchNorm)
        }

    def _made(self, weights: Mapping[str, Array]) -> dict[str, Any]:
        network = self.settings.network
        with _one_line():
            self._model = assemble(activation_behind_pool(network), weights, self._context)
        self._model.hybridize(static_alloc=True, static_shape=True)
        self._parameters = parameters(network, self._model)
        return {name: parameter.data() for name, parameter in self._parameters.items()}

    def _native(self, array: npt.NDArray[Any]) -> Any:
        return mx.np.array(array, ctx=self._context)

    def _zeros(self, native: Any) -> Any:
        return mx.np.zeros(native.shape, ctx=self._context)

    def _numpy(self, native: Any) -> npt.NDArray[Any]:
        return cast(npt.NDArray[Any], native.asnumpy())

    def _put(self, native: Any, value: Any) -> Any:
        native[:] = value
        return native

    def _batch(self, images: Array) -> Any:
        x = self._native(images.transpose(0, 3, 1, 2))
        if self.settings.source == self.settings.network.input:
            return x
        rows, columns = self._resize
        return rows @ (x @ columns)

    def _step(self, images: Array, targets: Targets, rate: float, step: int, seed: int) -> Array:
        with _one_line():
            mx.random.seed(seed)
            batch = self._batch(images)
            rows = self._native(as_rows(targets, len(self.settings.network.classes)))
            with self._unbiased_variances(len(images)):
                with autograd.record():
                    logits = self._model(batch)
                    loss = self._loss(logits, rows).mean()
                loss.backward()
                # MXNet's scheduler does not know that this changes the running statistics.
                npx.waitall()
            gradients = {name: self._parameters[name].grad() for name in self.roles}
            self.apply(gradients, rate, step)
            npx.waitall()
            return cast(Array, logits.asnumpy())

    def average(self, decay: float) -> None:
        with _one_line():
            super().average(decay)
            npx.waitall()

    @contextlib.contextmanager
    def _unbiased_variances(self, examples: int) -> Iterator[None]:
        """Correct what a step does to running variances: MXNet adds the biased one, over n."""
        before = {name: self.values[name].copy() for name in self._norms}
        yield
        for name, (momentum, positions) in self._norms.items():
            variance = self.values[name]
            added = variance - (1 - momentum) * before[name]
            variance += added / (examples * positions - 1)

    def logits(self, images: Array) -> Array:
        with _one_line():
            return cast(Array, self._model(self._batch(images)).asnumpy())


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """MXNet's errors, memory that does not suffice for instance, without its own call stack."""
    try:
        yield
    except MXNetError as error:
        reason = str(error).strip().splitlines()[-1].removeprefix("MXNetError: ")
        raise FrameworkError(f"MXNet: {reason}") from error


_SETTLED: list[int] = []
"""The number of threads, once a training has begun in this process."""


def _threads(wanted: int | None) -> int:
    """Set (if wanted) and return the number of threads that MXNet computes with.

    OpenMP keeps a number for each thread, so it is MXNet's own one that must set it. Compiled
    convolutions keep what they were made with: the first training of a process decides.
    """
    counts: list[int] = []

    def work(context: object, nothing: object) -> None:
        if wanted and not _SETTLED:
            _LIB.MXSetNumOMPThreads(wanted)
        counts.append(_LIB.omp_get_max_threads())

    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(work)
    cpu = (ctypes.c_int * 2)(1, 0)  # a device of kind CPU, number 0
    check_call(_LIB.MXEnginePushSync(call, None, None, cpu, None, 0, None, 0, None, 0, None))
    npx.waitall()
    _SETTLED[:] = counts
    if wanted not in (None, counts[0]):
        raise FrameworkError(
            f"MXNet keeps the {counts[0]} threads of the first training in this process; "
            f"for {wanted}, start another process"
        )
    return counts[0]
