"""Measures one module in a process of its own: `python -m netinnet.bench.peers.alone < request`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from netinnet.fresh_process import answer

PEAK_SIZE, PEAK_TRIES = 2048, 6


def _peer(name: str) -> Any:
    return importlib.import_module(f"netinnet.bench.peers.{name}")


def _measured(request: dict[str, Any]) -> dict[str, float | None]:
    value = _peer(request["module"]).measure(**request["options"])
    from netinnet import process_memory

    peak = process_memory.peak_bytes()
    return {"value": value, "memory": peak, "peak": flops(_peer(request["library"]).multiply)}


def flops(multiply: Callable[[int], float]) -> float:
    """FLOP/s of a library's product of two matrices of that size, which takes so many seconds."""
    return 2 * PEAK_SIZE**3 / min(multiply(PEAK_SIZE) for _ in range(PEAK_TRIES))


if __name__ == "__main__":
    answer(_measured)
