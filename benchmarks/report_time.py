"""Processor time of a run's report, and how much of it its pictures take.

    python benchmarks/report_time.py RUN

The report is written five times into a copy of the finished run, and five times into one that has
no metrics yet, as while it trains; medians are printed.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from netinnet.data import datasets
from netinnet.reports import html, samples
from netinnet.training.run import Run
from netinnet.training.splits import splits


def seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(6):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return statistics.median(times[1:])  # the first one imports


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(shutil.copytree(sys.argv[1], Path(temporary, "run")))
        run = Run(folder)
        recipe, network = run.recipe(), run.network()
        data = datasets.load(recipe.dataset, **recipe.reading).sized(
            network.input, preprocessing=network.preprocessing
        )
        train, evaluated = splits(recipe, data)
        judged = evaluated[recipe.judged]
        newest = [e for e in run.events() if e["event"] == "evaluation"][-1][recipe.judged]
        for state in ("finished", "running"):
            whole = seconds(lambda: html.write(folder, judged, train))
            shown = samples.of_run(run, network, newest, judged, train)
            count = sum(map(len, shown.values()))
            part = seconds(lambda: samples.of_run(run, network, newest, judged, train))
            print(f"{state}: {whole:.3f} s, of which {count} pictures {part:.3f} s")
            run.metrics_file.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
