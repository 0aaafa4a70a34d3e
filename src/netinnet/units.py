"""How quantities are written: one formatter for each kind, in pages, tables and progress alike.

Each writes a dash for None, a quantity that is not known.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from typing import Concatenate, ParamSpec

from netinnet.errors import NetinnetError

P = ParamSpec("P")
MISSING = "–"
_PREFIXES = ("", "k", "M", "G", "T")


def _or_dash(
    form: Callable[Concatenate[float, P], str],
) -> Callable[Concatenate[float | None, P], str]:
    @functools.wraps(form)
    def written(value: float | None, /, *args: P.args, **kwargs: P.kwargs) -> str:
        return MISSING if value is None else form(value, *args, **kwargs)

    return written


def _scaled(value: float, unit: str) -> str:
    """Three significant digits and a decimal prefix; below 1,000 the number as it is."""
    number, power = float(f"{value:.3g}"), 0
    while number >= 1000 and power < len(_PREFIXES) - 1:
        number, power = number / 1000, power + 1
    text = f"{number:,.{max(0, 3 - len(str(int(number))))}f}" if power else f"{number:g}"
    return f"{text} {_PREFIXES[power]}{unit}".rstrip()


@_or_dash
def count(number: float) -> str:
    """A whole number with separators.

    >>> count(1992166)
    '1,992,166'
    """
    return f"{number:,.0f}"


def times(shape: Iterable[int]) -> str:
    """The lengths of an array's axes.

    >>> times((28, 28, 1))
    '28×28×1'
    """
    return "×".join(map(str, shape)) or "one number"


def counted(number: int, what: str) -> str:
    """How many of something, in words.

    >>> counted(1, "run"), counted(2000, "run")
    ('1 run', '2,000 runs')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"


@_or_dash
def size(number: float) -> str:
    """Bytes with three significant digits: B, kB (10³), MB, GB.

    >>> size(40), size(37632), size(999_999), size(1_013_500_000)
    ('40 B', '37.6 kB', '1.00 MB', '1.01 GB')
    """
    return _scaled(number, "B")


@_or_dash
def operations(number: float) -> str:
    """Multiply-accumulates or FLOPs with three significant digits: k (10³), M, G.

    >>> operations(416_520), operations(10_772_160)
    ('417 k', '10.8 M')
    """
    return _scaled(number, "")


@_or_dash
def duration(seconds: float) -> str:
    """A time that was measured.

    >>> duration(4.56), duration(46.8), duration(405), duration(7500)
    ('4.6 s', '47 s', '6 min 45 s', '2 h 05 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{whole} s"
    minutes, hours = whole // 60, whole // 3600
    return f"{minutes} min {whole % 60:02d} s" if not hours else f"{hours} h {minutes % 60:02d} min"


_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600}


def seconds(text: str) -> float:
    """A time as it is given: 90s, 10m, 10min, 1.5h. Raises NetinnetError for anything else.

    >>> seconds("10m"), seconds("1.5 h")
    (600.0, 5400.0)
    """
    parts = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([a-z]+)\s*", text.lower())
    value = float(parts[1]) * _SECONDS.get(parts[2], 0) if parts else 0.0
    if not 0 < value < 1e9:
        raise NetinnetError(f"a time is a number with s, m or h, as in 90s or 1.5h; got '{text}'")
    return value


@_or_dash
def estimate(seconds: float) -> str:
    """A time that is expected, with fewer digits than one that was measured.

    >>> estimate(47.2), estimate(405), estimate(36_000)
    ('47 s', '7 min', '10.0 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@_or_dash
def percent(share: float, digits: int = 1, sign: str = "%") -> str:
    """A share in per cent; the sign is "" below a heading that has it.

    >>> percent(0.93317), percent(0.93317, 2, "")
    ('93.3%', '93.32')
    """
    return f"{100 * share:.{digits}f}{sign}"


@_or_dash
def rate(per_second: float) -> str:
    """How many a second, with three significant digits at least.

    >>> rate(12345.6), rate(43.21)
    ('12,346', '43.2')
    """
    return f"{per_second:,.0f}" if per_second >= 99.95 else f"{per_second:.3g}"
