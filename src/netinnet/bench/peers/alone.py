"""Measures one module in a process of its own: `python -m netinnet.bench.peers.alone < request`."""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable
from typing import Any

from netinnet.fresh_process import answer

PEAK_SIZE, PEAK_TRIES = 2048, 6
SECONDS = 0.25
"""How long something is repeated; the median counts."""


def _peer(name: str) -> Any:
    return importlib.import_module(f"netinnet.bench.peers.{name}")


def _measured(request: dict[str, Any]) -> dict[str, float | None]:
    peer = _peer(request["module"])
    value = peer.measure(**request["options"])
    from netinnet import process_memory

    peak = None if getattr(peer, "IS_ELSEWHERE", False) else process_memory.peak_bytes()
    return {"value": value, "memory": peak, "peak": flops(_peer(request["library"]).multiply)}


def flops(multiply: Callable[[int], float]) -> float:
    """FLOP/s of a library's product of two matrices of that size, which takes so many seconds."""
    return 2 * PEAK_SIZE**3 / min(multiply(PEAK_SIZE) for _ in range(PEAK_TRIES))


def median_seconds(run: Callable[[], object]) -> float:
    """Of several calls, behind a first one that warms up."""
    times: list[float] = []
    run()
    while sum(times) < SECONDS or len(times) < 3:
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


if __name__ == "__main__":
    answer(_measured)
