"""How long a study will still take, from the steps that were watched. Nothing is guessed before."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from netinnet.studies.plan import Job

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
    """Learns each arm's speed; an arm not seen yet is judged by its multiply-accumulates.

    `work` is what one run of each arm costs, in any one unit. Times are seconds of a steady clock.
    """

    def __init__(self, work: Mapping[str, float]) -> None:
        self.work = work
        self._watched: dict[Path, _Watched] = {}
        self._started: dict[Path, float] = {}

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
        if sum(spent.values()) < LEAST_SECONDS or not sum(done.values()):
            return None
        overall = sum(done.values()) / sum(spent.values())
        around = [s.before + s.after for s in self._watched.values() if s.before]
        left = []
        for job in unfinished:
            seen = self._watched.get(job.folder)
            share = seen.last if seen else 0.0
            is_known = spent[job.arm] >= LEAST_SECONDS and done[job.arm] > 0
            speed = done[job.arm] / spent[job.arm] if is_known else overall
            seconds = (1 - share) * self.work[job.arm] / speed
            if seen is None and around:
                seconds += statistics.fmean(around)
            left.append(seconds)
        return max(max(left, default=0.0), sum(left) / max(1, min(workers, len(left))))
