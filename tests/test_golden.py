"""What commands print, to the letter. UPDATE_GOLDEN=1 (`make golden`) writes the files anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import nin

GOLDEN = Path(__file__).parent / "golden"
COMMANDS = {
    "help": ["--help"],
    "train-help": ["train", "--help"],
    "predict-help": ["predict", "--help"],
    "evaluate-help": ["evaluate", "--help"],
    "summary-help": ["summary", "--help"],
    "data-help": ["data", "--help"],
    "convert-help": ["convert", "--help"],
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


@pytest.mark.parametrize("name", COMMANDS)
def test_output(name: str) -> None:
    done = nin(*COMMANDS[name], env={**os.environ, "COLUMNS": "100", "TERM": "dumb"})
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    shown = "\n".join(line.rstrip() for line in done.stdout.splitlines()) + "\n"
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(shown)
    assert shown == file.read_text()
