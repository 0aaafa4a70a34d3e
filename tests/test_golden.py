"""What commands print, word by word. UPDATE_GOLDEN=1 (`make golden`) writes the files anew.

Frames, columns and line breaks of tables and help are left out: Rich and Cyclopts draw them, and
other versions do so differently. JSON is ours to the letter.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from rich.console import Console, ConsoleDimensions

from tests.conftest import nin

GOLDEN = Path(__file__).parent / "golden"
COMMANDS = {
    "help": ["--help"],
    "topics": ["help"],
    "topic-networks": ["help", "networks"],
    "topic-recipes": ["help", "recipes"],
    "topic-errors": ["help", "errors"],
    "train-help": ["train", "--help"],
    "predict-help": ["predict", "--help"],
    "calibrate-help": ["calibrate", "--help"],
    "explain-help": ["explain", "--help"],
    "serve-help": ["serve", "--help"],
    "evaluate-help": ["evaluate", "--help"],
    "summary-help": ["summary", "--help"],
    "data-help": ["data", "--help"],
    "convert-help": ["convert", "--help"],
    "export-help": ["export", "--help"],
    "frameworks-help": ["frameworks", "--help"],
    "reliability-help": ["reliability", "--help"],
    "ablate-help": ["ablate", "--help"],
    "tune-help": ["tune", "--help"],
    "compare-help": ["compare", "--help"],
    "zoo": ["zoo"],
    "zoo-json": ["zoo", "--json"],
    "summary-nin": ["summary", "nin"],
    "summary-nin-small-layers": ["summary", "nin-small", "--layers"],
    "summary-lenet-json": ["summary", "lenet", "--json"],
    "resources-help": ["resources", "--help"],
    "resources-lenet": ["resources", "lenet", "--batch", "256", "--precision", "bfloat16"],
    "resources-nin": ["resources", "nin"],
    "summary-nin-changed": [
        *("summary", "nin", "--image-size", "96", "--channels", "3"),
        *("--classes", "5", "--no-logits-relu", "--dropout", "0"),
    ],
}


FRAME = re.compile(r"[\u2500-\u257f]+")


def words(printed: str) -> str:
    """What we print, without what the libraries draw around it: a line for each line of ours."""
    lines = (" ".join(FRAME.sub(" ", line).split()) for line in printed.splitlines())
    return "\n".join(line for line in lines if line) + "\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_output(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # So wide that no text is wrapped: a flag and its description are one line.
    wide = ConsoleDimensions(1000, 100)
    monkeypatch.setattr(Console, "size", property(lambda self: wide))
    monkeypatch.setenv("NO_COLOR", "1")
    done = nin(*COMMANDS[name])
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    shown = done.stdout if name.endswith("json") else words(done.stdout)
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(shown)
    assert shown == file.read_text()
