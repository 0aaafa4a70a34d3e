"""How long a study will still take, from the steps that were watched or timed before it began."""

from __future__ import annotations

import heapq
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from netinnet.studies.plan import Job
from netinnet.studies.workload import Workload

LEAST_SECONDS = 5.0
"""So long steps must have been watched before anything is said."""


@dataclass
class _Watched:
    """A stretch of one run: shares of its steps done at two times, and the time around them."""

    arm: str
    first: float
    began: float
    last: float
    now: float
    before: float = 0.0
    """Seconds from the start of the process to the first step that was seen."""
    after: float = 0.0
    """Seconds from the last step that was seen to the end of the process."""


class Estimate:
    """Learns each arm's speed; an arm neither seen nor timed is judged by its work.

    `work` is what one run of each arm costs, in any one unit; `timed` are the seconds of one run
    of the arms that were timed before, all in all. Other times are seconds of a steady clock.
    """

    def __init__(self, work: Mapping[str, float], timed: Mapping[str, float]) -> None:
        self.work, self.timed = work, timed
        self._watched: dict[Path, _Watched] = {}
        self._started: dict[Path, float] = {}

    @classmethod
    def of(cls, workloads: Iterable[Workload], timed: Mapping[str, float]) -> Estimate:
        """An estimate by the multiply-accumulates of each arm."""
        return cls({load.arm: float(load.training_macs) for load in workloads}, timed)

    def know(self, job: Job, seconds: float) -> None:
        """A finished run is known to have taken so long."""
        self._watched[job.folder] = _Watched(job.arm, 0.0, 0.0, 1.0, seconds)

    def started(self, job: Job, now: float) -> None:
        """The process of a run has been started."""
        self._started[job.folder] = now

    def saw(self, job: Job, share: float, now: float) -> None:
        """A run has done this share of its steps."""
        stretch = self._watched.get(job.folder)
        if stretch is None or share < stretch.last:
            before = now - self._started.get(job.folder, now)
            self._watched[job.folder] = _Watched(job.arm, share, now, share, now, before)
        else:
            stretch.last, stretch.now = share, now

    def ended(self, job: Job, now: float) -> None:
        """The process of a run has ended."""
        if job.folder in self._watched:
            self._watched[job.folder].after = now - self._watched[job.folder].now

    def seconds_left(self, unfinished: Iterable[Job], workers: int) -> float | None:
        """Seconds until all are done, None where too little has been seen."""
        done: dict[str, float] = defaultdict(float)
        spent: dict[str, float] = defaultdict(float)
        for stretch in self._watched.values():
            done[stretch.arm] += (stretch.last - stretch.first) * self.work[stretch.arm]
            spent[stretch.arm] += stretch.now - stretch.began
        all_work = sum(done.values()) + sum(self.work[arm] for arm in self.timed)
        all_seconds = sum(spent.values()) + sum(self.timed.values())
        if not all_work or (all_seconds < LEAST_SECONDS and not self.timed):
            return None
        around = [s.before + s.after for s in self._watched.values() if s.before]
        ends = [0.0] * workers  # when each worker is free again; runs are begun in their order
        for job in unfinished:
            seen = self._watched.get(job.folder)
            share = seen.last if seen else 0.0
            outside = statistics.fmean(around) if seen is None and around else 0.0
            if spent[job.arm] >= LEAST_SECONDS and done[job.arm] > 0:
                whole = self.work[job.arm] * spent[job.arm] / done[job.arm]
            elif job.arm in self.timed:
                whole, outside = self.timed[job.arm], 0.0
            else:
                whole = self.work[job.arm] * all_seconds / all_work
            seconds = (1 - share) * whole + outside
            heapq.heapreplace(ends, ends[0] + seconds)
        return max(ends)
