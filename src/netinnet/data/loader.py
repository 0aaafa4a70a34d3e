"""Preparing ahead: the next batches are made in a thread while the step of this one runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from netinnet.data.source import CHUNK, Pictures, Source, chunks

Item = TypeVar("Item")
Made = TypeVar("Made")
AHEAD = 2
"""Items ready or being made beside the one in use, for each thread."""


def ahead(make: Callable[[Item], Made], items: Iterable[Item], workers: int = 1) -> Generator[Made]:
    """`make(item)` of each item, in order, the next ones made in `workers` threads meanwhile.

    What `make` raises is raised here, in its turn. The threads end with the iteration: close it
    (`contextlib.closing`) where it may be left before its end.
    """
    rest = iter(items)
    pool = ThreadPoolExecutor(workers, "netinnet-loader")
    try:
        waiting = deque(pool.submit(make, item) for item in islice(rest, AHEAD * workers))
        while waiting:
            made = waiting.popleft().result()
            waiting.extend(pool.submit(make, item) for item in islice(rest, 1))
            yield made
    finally:
        pool.shutdown(cancel_futures=True)


def logits_of(
    source: Source,
    compute: Callable[[Any], npt.NDArray[np.float32]],
    prepare: Callable[[Pictures], Any] = np.ascontiguousarray,
    size: int = CHUNK,
) -> npt.NDArray[np.float32]:
    """`compute(prepare(pictures))` of a whole source, `size` pictures at a time, in its order."""
    parts = chunks(len(source), size)
    with closing(ahead(lambda part: prepare(source.pictures(part)), parts)) as batches:
        return np.concatenate([compute(batch) for batch in batches])
