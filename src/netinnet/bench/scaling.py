"""Time and memory against batch, width, picture size, threads, number of pictures and processes,
beside what is computed from the description (costs/): if the model is right, FLOP/s hardly change,
and bytes agree.

The first four are a training step in a fresh process, and the bytes are PyTorch's allocations. The
last two are whole trainings by `nin train`, and the bytes are those of the process that leads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netinnet.bench import kept as results
from netinnet.bench import whole_training
from netinnet.costs import measure, table
from netinnet.errors import FrameworkError
from netinnet.fresh_process import cores
from netinnet.networks.network import Network
from netinnet.networks.zoo import describe
from netinnet.optimizer import Optimizer

NETWORK, FRAMEWORK = "nin-small", "pytorch"
BATCH, WIDTH, SIZE = 128, 1.0, 28
STEPS = {
    "batch": (1, 8, 32, 128, 512),
    "width": (0.25, 0.5, 1.0, 2.0),
    "image_size": (14, 28, 56, 112),
    "threads": (1, 2, 4, 8, 16, 32, 64),
    "pictures": (2_000, 10_000, 50_000),
    "processes": (1, 2, 4, 8),
}
"""What is varied, one thing at a time; threads and processes as far as there are cores."""
PICTURES, SHARDS = 10_000, 8
"""Of a training by some processes."""


@dataclass(frozen=True)
class Point:
    """A training step, or a training's steps, measured and computed."""

    varied: str
    value: float
    images_per_second: float
    flops_per_second: float
    """The computed FLOPs of training, at the measured speed."""
    peak_flops_per_second: float
    """Of a matrix product in the same process."""
    bytes_measured: int | None
    """Peak of PyTorch's allocations in a training step, or of a training's process in all."""
    bytes_computed: int | None


def points() -> Iterator[tuple[str, float]]:
    """What is varied and its values, in order."""
    for varied, values in STEPS.items():
        most = cores() if varied in ("threads", "processes") else max(values)
        yield from ((varied, value) for value in values if value <= most)


def kept(file: Path, here: dict[str, Any]) -> list[Point]:
    """What was measured before on the machine `here`. Raises NetinnetError, as `results.read`."""
    return results.read(file, Point, here)


def run(file: Path, listener: Callable[[str, float, str], object], here: dict[str, Any]) -> None:
    """Measure the points that the file lacks; each is written at once."""
    done = kept(file, here)
    have = {(point.varied, point.value) for point in done}
    for varied, value in points():
        if (varied, value) in have:
            continue
        listener(varied, value, "")
        try:
            done.append(measured(varied, value))
        except FrameworkError as error:
            listener(varied, value, f"left out: {error}")
            continue
        results.write(file, done, here)


def measured(varied: str, value: float) -> Point:
    """One point, in fresh processes. Raises FrameworkError where it can't be measured."""
    if varied in ("pictures", "processes"):
        return _of_training(varied, int(value))
    settings: dict[str, float] = {"batch": BATCH, "width": WIDTH, "image_size": SIZE, varied: value}
    batch, size = int(settings["batch"]), int(settings["image_size"])
    network = describe(NETWORK).network(image_size=size, width=settings["width"])
    threads = int(settings["threads"]) if "threads" in settings else None
    found, computed = _of_step(network, batch, threads)
    speed = next(s for s in computed.speeds(found) if s.phase == "training")
    return Point(
        varied,
        value,
        speed.images_per_second,
        speed.flops_per_second,
        found.peak_flops_per_second,
        found.training_bytes,
        computed.total.training_bytes,
    )


def _of_training(varied: str, value: int) -> Point:
    """One training of an epoch.

    Processes have a thread each and compute shards, which one process does, too, to be compared.
    """
    network = describe(NETWORK).network(image_size=SIZE, width=WIDTH)
    if varied == "processes":
        count, shards, threads, processes = PICTURES, SHARDS, 1, value
    else:
        count, shards, threads, processes = value, None, cores(), 1
    trained = whole_training.run(
        network.input, count, BATCH, threads=threads, processes=processes, shards=shards
    )
    batch = BATCH // (shards or 1)
    found, computed = _of_step(network, batch, threads * processes)
    step = trained.picture_bytes + computed.total.training_bytes
    return Point(
        varied,
        value,
        trained.images_per_second,
        trained.images_per_second * computed.total.training_flops / batch,
        found.peak_flops_per_second,
        trained.peak_bytes,
        None if found.process_bytes is None else found.process_bytes + step,
    )


def _of_step(
    network: Network, batch: int, threads: int | None
) -> tuple[measure.Measurement, table.Costs]:
    """A training step, measured in a fresh process, and computed."""
    update = Optimizer("sgd", 0.9)
    found = measure.in_fresh_process(network, batch, update, FRAMEWORK, threads)
    return found, table.costs(network, batch, update)
