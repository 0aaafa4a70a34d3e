"""What the rounds of a contest say: medians, ratios within a round, and whether that is clear."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from netinnet.bench.contests import Contest
from netinnet.bench.turns import Results


@dataclass(frozen=True)
class Spread:
    """Median and range."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    @property
    def is_clear(self) -> bool:
        """For ratios: whether all rounds say the same of which is faster."""
        return self.low > 1 or self.high < 1


@dataclass(frozen=True)
class Row:
    """One contestant. The ratio says how many times as fast it is as the fastest peer."""

    name: str
    is_ours: bool
    value: Spread
    rounds: int
    memory: float | None
    """Largest peak of the process in bytes."""
    peak: float
    """Median of the matrix product's FLOP/s in the same processes."""
    ratio: Spread | None
    """None for peers, and where no peer was measured in the same rounds."""


@dataclass(frozen=True)
class Verdict:
    """One contest's rows in its order, and the fastest peer's name."""

    contest: Contest
    rows: tuple[Row, ...]
    fastest_peer: str | None
    left_out: dict[str, str]


def judged(contest: Contest, results: Results) -> Verdict:
    """Medians over the rounds; a ratio is of two measurements of one round.

    The verdict's contest is of the results' size.
    """
    contest = replace(contest, size=results.size)
    values = {
        who.name: [r[who.name]["value"] or 0.0 for r in results.rounds if who.name in r]
        for who in contest.contestants
    }
    measured = [who for who in contest.contestants if values[who.name]]
    peers = [who.name for who in measured if not who.is_ours]
    best = min if contest.less_is_better else max
    fastest = best(peers, key=lambda name: statistics.median(values[name])) if peers else None
    rows = []
    for who in measured:
        taken = [r[who.name] for r in results.rounds if who.name in r]
        memory = [one["memory"] for one in taken if one["memory"] is not None]
        rows.append(
            Row(
                who.name,
                who.is_ours,
                Spread.of(values[who.name]),
                len(taken),
                max(memory, default=None),
                statistics.median(one["peak"] or 0.0 for one in taken),
                _ratio(contest, results, who.name, fastest) if who.is_ours else None,
            )
        )
    return Verdict(contest, tuple(rows), fastest, results.left_out)


def _ratio(contest: Contest, results: Results, ours: str, peer: str | None) -> Spread | None:
    """How many times as fast, round by round."""
    pairs = [
        (round_[ours]["value"] or 0.0, round_[peer]["value"] or 0.0)
        for round_ in results.rounds
        if peer is not None and ours in round_ and peer in round_
    ]
    ratios = [b / a if contest.less_is_better else a / b for a, b in pairs]
    return Spread.of(ratios) if ratios else None
