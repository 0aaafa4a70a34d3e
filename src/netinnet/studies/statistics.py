"""The little statistics that studies need: means, Student's t, shares, paired differences.

Written out here, because SciPy would be a large dependency for four functions.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from netinnet.metrics import wilson


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (n - 1) of some values; `sd` is None for one value."""

    count: int
    mean: float
    sd: float | None
    minimum: float
    median: float
    maximum: float


def summary(values: Sequence[float]) -> Summary | None:
    """The summary of the values, None where there is none."""
    if not values:
        return None
    sd = statistics.stdev(values) if len(values) > 1 else None
    smallest, median, largest = min(values), statistics.median(values), max(values)
    return Summary(len(values), statistics.fmean(values), sd, smallest, median, largest)


def t_quantile(probability: float, degrees: int) -> float:
    """The value that Student's t with `degrees` of freedom stays below with that probability.

    For probabilities from .5 to below 1; found by bisection of `t_distribution`.
    """
    if not 0.5 <= probability < 1 or degrees < 1:
        raise ValueError(f"no such quantile: {probability} with {degrees} degrees of freedom")
    low, high = 0.0, 1.0
    while t_distribution(high, degrees) < probability:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if t_distribution(middle, degrees) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def t_distribution(t: float, degrees: int) -> float:
    """The probability that Student's t with `degrees` of freedom is below `t`.

    For whole degrees of freedom it is a finite sum (Abramowitz and Stegun, 26.7.3 and 26.7.4), with
    theta = arctan(t / sqrt(degrees)).
    """
    theta = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(theta), math.cos(theta)
    odd = degrees % 2
    term, total = cosine if odd else 1.0, 0.0
    for k in range(odd, degrees - 1, 2):
        total += term
        term *= cosine**2 * (k + 1) / (k + 2)
    inside = 2 / math.pi * (theta + sine * total) if odd else sine * total
    return 0.5 + inside / 2


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % confidence interval; without an interval for one value."""

    estimate: float
    low: float | None
    high: float | None
    count: int


def mean_interval(values: Sequence[float]) -> Interval | None:
    """The mean with Student's 95 % interval, None for no values."""
    spread = summary(values)
    if spread is None:
        return None
    if spread.sd is None:
        return Interval(spread.mean, None, None, 1)
    half = t_quantile(0.975, spread.count - 1) * spread.sd / math.sqrt(spread.count)
    return Interval(spread.mean, spread.mean - half, spread.mean + half, spread.count)


def paired_difference(own: Mapping[int, float], baseline: Mapping[int, float]) -> Interval | None:
    """Mean of value - baseline over the seeds that both have, with Student's 95 % interval."""
    return mean_interval([own[seed] - baseline[seed] for seed in own if seed in baseline])


def share_interval(count: int, total: int) -> Interval | None:
    """A share with Wilson's 95 % interval (1927), right for few runs and shares near 0 or 1 too.

    None for no runs.
    """
    if not total:
        return None
    return Interval(count / total, *wilson(count / total, total), total)
