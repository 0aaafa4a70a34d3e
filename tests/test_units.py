"""How quantities are written."""

from __future__ import annotations

import doctest
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netinnet import units


def test_the_examples_of_the_docstrings() -> None:
    tried = doctest.testmod(units)
    assert tried.attempted >= 8
    assert tried.failed == 0


@pytest.mark.parametrize(
    ("form", "value", "text"),
    [
        (units.size, 0, "0 B"),
        (units.size, 999, "999 B"),
        (units.size, 1000, "1.00 kB"),
        (units.size, 999_499, "999 kB"),
        (units.size, 999_500, "1.00 MB"),
        (units.size, 2.5e15, "2,500 TB"),
        (units.operations, 0, "0"),
        (units.operations, 1234, "1.23 k"),
        (units.operations, 7_547_232_256, "7.55 G"),
        (units.count, 0, "0"),
        (units.duration, 0, "0.0 s"),
        (units.duration, 9.96, "10 s"),
        (units.duration, 59.5, "1 min 00 s"),
        (units.duration, 3599.6, "1 h 00 min"),
        (units.duration, 3661, "1 h 01 min"),
        (units.duration, 360_000, "100 h 00 min"),
        (units.estimate, 89, "89 s"),
        (units.estimate, 90, "2 min"),
        (units.estimate, 5400, "1.5 h"),
        (units.percent, 1, "100.0%"),
        (units.rate, 99.97, "100"),
        (units.rate, 1060, "1,060"),
        (units.rate, 0.5, "0.5"),
    ],
)
def test_at_the_borders(form: Callable[[float | None], str], value: float, text: str) -> None:
    assert form(value) == text


@pytest.mark.parametrize(
    "form",
    [units.count, units.size, units.operations, units.duration, units.estimate, units.rate],
)
def test_what_is_not_known_is_a_dash(form: Callable[[float | None], str]) -> None:
    assert form(None) == units.percent(None) == "–"


@given(st.integers(0, 10**15))
def test_a_size_read_back_is_within_half_of_its_last_digit(number: int) -> None:
    value, unit = units.size(number).split()
    scale = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    shown = float(value.replace(",", ""))
    assert abs(shown * scale - number) <= 0.00501 * number
    assert unit in ("B", "TB") or 1 <= shown < 1000
