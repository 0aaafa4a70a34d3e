"""Does a folder that is larger than memory train like arrays in memory? Memory, start, step time.

    python benchmarks/large_folder.py FOLDER_OF_FEW FOLDER_OF_MANY

Each start is a process of its own; the first one of each folder looks at it and decodes it. What
is compared: anonymous memory (RssAnon, Linux) behind a few steps, seconds until the first step, and
processor seconds of a step from the memory-mapped store against the same pictures as an array.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

STEPS, WARM_UP = 60, 10
SIZE, BATCH = 64, 128


def anonymous_megabytes() -> float:
    status = Path("/proc/self/status").read_text("utf-8")
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else float("nan")


def one(folder: str, in_memory: bool) -> dict[str, float]:
    """A start in this process, and some steps."""
    began = time.monotonic()
    import numpy as np

    from netinnet.data.loader import ahead
    from netinnet.data.source import Arrays
    from netinnet.training import choice, parts, prepared
    from netinnet.training.splits import splits, training_batches

    changes = {"dataset": folder, "image_size": SIZE, "width": 0.5, "epochs": 1, "threads": 1}
    ready = prepared.prepare(choice.wish("pictures", changes))
    data = ready.data.sized(ready.network.input, preprocessing=ready.network.preprocessing)
    train, _ = splits(ready.recipe, data)
    if in_memory:
        train = Arrays(train.pictures(np.arange(len(train))), train.labels)
    learner = parts.learner_for(ready.recipe, ready.network, data.facts)
    batches = training_batches(ready.recipe, ready.network, train)
    processor = first = 0.0
    for step, (images, _, targets) in enumerate(ahead(batches, range(STEPS))):
        if step == WARM_UP:
            processor = time.process_time()
        learner.step(images, targets, 1e-3, step + 1, 0)
        if step == 0:
            first = time.monotonic() - began
    processor = (time.process_time() - processor) / (STEPS - WARM_UP)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "pictures": len(train),
        "anonymous MB": round(anonymous_megabytes(), 1),
        "peak MB, pages of files included": round(peak, 1),
        "seconds to the first step": round(first, 2),
        "processor seconds a step": round(processor, 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--in-memory", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(arguments.folders[0], arguments.in_memory)))
        return
    runs = [("first start", f, False) for f in arguments.folders]
    for folder in arguments.folders:
        runs += [("from the store", folder, False), ("in memory", folder, True)] * 2
    for what, folder, in_memory in runs:
        command = [sys.executable, __file__, folder, "--one", *["--in-memory"] * in_memory]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        print(f"{Path(folder).name}, {what}: {done.stdout.strip()}", flush=True)


if __name__ == "__main__":
    main()
