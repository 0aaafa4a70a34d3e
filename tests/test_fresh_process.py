"""What a process of its own says of its failure, in one line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from netinnet.errors import FrameworkError
from netinnet.fresh_process import ask

FAILS = """
from netinnet.errors import FrameworkError
from netinnet.fresh_process import answer

def fail(kind):
    if kind == "ours":
        raise FrameworkError("no such thing")
    if kind == "empty":
        raise ZeroDivisionError
    # As JAX's, which have a footer of their own behind them.
    error = ValueError("the first line\\nand more")
    error.add_note("--------------------\\nFor simplicity, frames were removed.")
    raise error

answer(fail)
"""


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("ours", "no such thing"),
        ("empty", "ZeroDivisionError"),
        ("framework's", "ValueError: the first line"),
    ],
)
def test_a_failure_is_its_first_line(kind: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.run  # what it is asked with is replaced

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        return ended([sys.executable, "-c", FAILS], **options)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(FrameworkError) as raised:
        ask("module", kind)
    assert str(raised.value) == said
