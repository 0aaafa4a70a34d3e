"""What decoding in a child process costs, beside decoding in this one.

    PYTHONPATH=. python benchmarks/decoding_children.py [ROUNDS]

prints, for each body of benchmarks/serve_load.py, the milliseconds of a request by the clock (the
lowest) and of processor time (the mean, the child's included). Both ways alternate in one run.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.serve_load import RAW, bodies
from netinnet.serve.children import Children
from netinnet.serve.decoding import Part, decode
from netinnet.serve.limits import Limits


def seconds(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(rounds: int) -> None:
    # Once a large block has been freed, glibc keeps what is freed: else each picture's memory would
    # be asked of the system anew, two milliseconds for a photograph. A child has freed one.
    bytearray(20_000_000)
    limits = Limits()
    pool = Children(limits)
    for name, (kind, body) in bodies().items():
        if kind == RAW:
            continue
        parts = [Part(kind, body)]
        ways: dict[str, Callable[[], object]] = {
            "here": lambda parts=parts: decode(parts, 1, limits),
            "child": lambda parts=parts: pool._decode_in_child(parts, 1),
        }
        for way in ways.values():
            way()
        pids = [os.getpid(), pool._idle[0].process.pid]
        clock, processor = dict.fromkeys(ways, 1e9), dict.fromkeys(ways, 0.0)
        for _ in range(rounds):
            for label, way in ways.items():
                before = sum(map(seconds, pids))
                for _time in range(100):
                    began = time.perf_counter()
                    way()
                    clock[label] = min(clock[label], time.perf_counter() - began)
                processor[label] += sum(map(seconds, pids)) - before
        for label in ways:
            mean = processor[label] / rounds / 100
            print(
                f"{name:14}{label:6} {clock[label] * 1e3:7.3f} ms, {mean * 1e3:7.3f} ms processor"
            )
    pool.close()


if __name__ == "__main__":
    main(int((sys.argv[1:] or ["30"])[0]))
