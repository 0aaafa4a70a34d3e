"""Time and memory against batch, width, picture size and threads, beside what is computed from the
description (costs/): if the model is right, FLOP/s hardly change, and bytes agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netinnet.bench import kept as results
from netinnet.costs import measure, table
from netinnet.fresh_process import cores
from netinnet.networks.zoo import describe
from netinnet.optimizer import Optimizer

NETWORK, FRAMEWORK = "nin-small", "pytorch"
BATCH, WIDTH, SIZE = 128, 1.0, 28
STEPS = {
    "batch": (1, 8, 32, 128, 512),
    "width": (0.25, 0.5, 1.0, 2.0),
    "image_size": (14, 28, 56, 112),
    "threads": (1, 2, 4, 8, 16, 32, 64),
}
"""What is varied, one thing at a time; threads as far as there are cores."""


@dataclass(frozen=True)
class Point:
    """One training step, measured and computed."""

    varied: str
    value: float
    images_per_second: float
    flops_per_second: float
    """The computed FLOPs of training, at the measured speed."""
    peak_flops_per_second: float
    """Of a matrix product in the same process."""
    bytes_measured: int | None
    """Peak of PyTorch's allocations in a training step."""
    bytes_computed: int


def points() -> Iterator[tuple[str, float]]:
    """What is varied and its values, in order."""
    for varied, values in STEPS.items():
        yield from ((varied, v) for v in values if varied != "threads" or v <= cores())


def kept(file: Path, here: dict[str, Any]) -> list[Point]:
    """What was measured before on the machine `here`. Raises NetinnetError, as `results.read`."""
    return results.read(file, Point, here)


def run(file: Path, listener: Callable[[str, float], object], here: dict[str, Any]) -> None:
    """Measure the points that the file lacks; each is written at once."""
    done = kept(file, here)
    have = {(point.varied, point.value) for point in done}
    for varied, value in points():
        if (varied, value) in have:
            continue
        listener(varied, value)
        done.append(measured(varied, value))
        results.write(file, done, here)


def measured(varied: str, value: float) -> Point:
    """One point, in a fresh process. Raises FrameworkError where it can't be measured."""
    settings: dict[str, float] = {"batch": BATCH, "width": WIDTH, "image_size": SIZE, varied: value}
    batch, size = int(settings["batch"]), int(settings["image_size"])
    network = describe(NETWORK).network(image_size=size, width=settings["width"])
    update = Optimizer("sgd", 0.9)
    threads = int(settings["threads"]) if "threads" in settings else None
    found = measure.in_fresh_process(network, batch, update, FRAMEWORK, threads)
    computed = table.costs(network, batch, update)
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
