"""What `nin summary --measure` reads: memory and speed of one network in a fresh process.

    python -m netinnet.costs.measure < request.json

A process of its own, so that its peak memory is this network's alone. Every framework is timed and
its process's peak read. PyTorch also tells its FLOPs and every allocation of its tensors: the
profiler records each one that PyTorch's CPU allocator makes or frees, inside of operators too
(activations, what autograd stores, gradients, copies of kernels), from before the weights are
made. The batch is NumPy's memory and is added.
"""

from __future__ import annotations

import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from netinnet import frameworks, process_memory, weights
from netinnet.errors import FrameworkError
from netinnet.frameworks.learner import Learner, LearnerSettings
from netinnet.fresh_process import answer, ask, environment
from netinnet.networks.network import Network
from netinnet.optimizer import Optimizer

TIMED_SECONDS = 3.0
"""Timed calls are repeated for so long, but there is at least one and at most `TIMED_CALLS`."""
TIMED_CALLS = 20

PEAK_SIZE = 2048
"""Rows and columns of the matrices whose product is the machine's peak."""


@dataclass(frozen=True)
class Measurement:
    """Figures of one process. None: this framework or system does not tell."""

    framework: str
    version: str
    threads: int
    parameters: int
    prediction_flops: int | None
    """FLOPs of the batch's prediction, counted by the framework in the operators it ran."""
    training_flops: int | None
    """FLOPs of a training step with the batch, the update's matrix products included."""
    prediction_bytes: int | None
    """Peak of allocated tensor bytes in a prediction, the batch included."""
    training_bytes: int | None
    process_bytes: int | None
    """Peak resident memory with the framework, the weights and the batch, before any learner."""
    process_prediction_bytes: int | None
    """Peak resident memory of the process after predictions alone."""
    process_training_bytes: int | None
    prediction_images_per_second: float
    training_images_per_second: float
    peak_flops_per_second: float
    """Best of a few float32 matrix products (2048×2048) in NumPy, after the steps."""


def in_fresh_process(
    network: Network, batch: int, optimizer: Optimizer, framework: str, threads: int | None = None
) -> Measurement:
    """Measure in a new process, on the CPU, with so many threads or as many as the framework likes.

    Raises FrameworkError with one line where it fails.
    """
    title = frameworks.framework(framework).title
    request: dict[str, Any] = {"batch": batch, "framework": framework}
    request |= {"network": network.to_dict(), "optimizer": vars(optimizer)}
    try:
        return Measurement(**ask(__name__, request, environment(threads) if threads else None))
    except FrameworkError as error:
        raise FrameworkError(f"measuring {network.name} in {title}: {error}") from error


def measure(network: Network, batch: int, optimizer: Optimizer, framework: str) -> Measurement:
    """Measure in this process: predictions, training steps, PyTorch's allocations, the peak."""
    adapter = frameworks.adapter(framework)
    process_memory.keep_freed_memory()  # as a training does
    device = next(name for name in adapter.devices() if name.startswith("cpu"))
    drawn = weights.initial(network, 0)
    rng = np.random.default_rng(0)
    size = (network.input.height, network.input.width, network.input.channels)
    images = rng.random((batch, *size), np.float32)
    labels = rng.integers(0, len(network.classes), batch)

    def learner(update: Optimizer, whole: bool = False) -> Learner:
        settings = LearnerSettings(network, update, network.input, device=device)
        made = adapter.learner(settings, drawn)
        if whole:
            made.piece = None
        return made

    def prediction(whole: bool = False) -> Callable[[], object]:
        made = learner(Optimizer(), whole)  # whose state is empty: a prediction needs none
        return lambda: made.logits(images)

    def training(whole: bool = False) -> Callable[[], object]:
        made = learner(optimizer, whole)
        return lambda: made.step(images, labels, rate=1e-3, step=1, seed=0)

    process_bytes = process_memory.peak_bytes()
    predicting = _run(prediction(), framework)
    gc.collect()
    trained = _run(training(), framework)
    gc.collect()
    # What is computed from the description is for a batch that goes through as a whole.
    in_whole = {"prediction": lambda: prediction(True), "training": lambda: training(True)}
    allocated = _allocated(in_whole, framework)
    started = learner(Optimizer())
    return Measurement(
        framework=framework,
        version=adapter.version(),
        threads=started.threads,
        parameters=sum(array.size for n, array in started.weights().items() if n in started.roles),
        prediction_flops=predicting.flops,
        training_flops=trained.flops,
        prediction_bytes=allocated["prediction"] + images.nbytes if allocated else None,
        training_bytes=allocated["training"] + images.nbytes if allocated else None,
        process_bytes=process_bytes,
        process_prediction_bytes=predicting.process_bytes,
        process_training_bytes=trained.process_bytes,
        prediction_images_per_second=batch / predicting.seconds,
        training_images_per_second=batch / trained.seconds,
        peak_flops_per_second=_peak_flops_per_second(),
    )


@dataclass(frozen=True)
class _Run:
    flops: int | None
    seconds: float
    """Median time of one call."""
    process_bytes: int | None
    """Peak resident memory of the process so far."""


def _run(call: Callable[[], object], framework: str) -> _Run:
    """Call once to warm up, counting FLOPs where the framework can, then a few times timed."""
    flops = None
    if framework == "pytorch":
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            call()
        flops = counter.get_total_flops()
    else:
        call()
    seconds: list[float] = []
    while not seconds or (sum(seconds) < TIMED_SECONDS and len(seconds) < TIMED_CALLS):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return _Run(flops, statistics.median(seconds), process_memory.peak_bytes())


def _allocated(
    prepared: Mapping[str, Callable[[], Callable[[], object]]], framework: str
) -> dict[str, int] | None:
    """Peak of live bytes in PyTorch's CPU allocator during one call of each, by name.

    Each is prepared, called once and dropped under the profiler, so that all its memory is seen.
    """
    if framework != "pytorch":
        return None
    from torch.profiler import ProfilerActivity, profile, record_function

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        for name, prepare in prepared.items():
            call = prepare()
            with record_function(name):
                call()
            del call
            gc.collect()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        events = json.loads(file.read_text())["traceEvents"]
    live = [(e["ts"], e["args"]["Total Allocated"]) for e in events if e["name"] == "[memory]"]
    windows = {e["name"]: (e["ts"], e["ts"] + e["dur"]) for e in events if e["name"] in prepared}
    return {
        name: max(total for time_, total in live if start <= time_ <= end)
        for name, (start, end) in windows.items()
    }


def _peak_flops_per_second() -> float:
    matrix = np.random.default_rng(0).random((PEAK_SIZE, PEAK_SIZE), np.float32)
    seconds = []
    for _ in range(8):
        began = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - began)
    return 2 * PEAK_SIZE**3 / min(seconds)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    network, update = Network.from_dict(request["network"]), Optimizer(**request["optimizer"])
    return vars(measure(network, request["batch"], update, request["framework"]))


if __name__ == "__main__":
    answer(_answer)
