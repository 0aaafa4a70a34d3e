"""The commands and Python examples of README and docs, as written.

Only `make test` is left out: it is what runs this.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from netinnet.data import datasets
from tests.conftest import ROOT, SMALL, needs, nin

BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = ("README.md", "docs/training.md", "docs/studies.md", "docs/predict.md")


def commands(page: str) -> list[str]:
    text = (ROOT / page).read_text("utf-8")
    return [line for block in BLOCK.findall(text) for line in block.splitlines() if line.strip()]


def test_links_and_figures_are_there() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text("utf-8")
        assert not re.findall(r"@[A-Z]+@", text), page.name
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_two_commands_are_there() -> None:
    assert {"make train", "make test"} <= set(commands("README.md"))


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 90
    assert len(text.split()) <= 600


@needs("pytorch")
@pytest.mark.skipif(not (ROOT / "Makefile").exists(), reason="needs the source tree")
@pytest.mark.connects("anywhere")  # it installs what is missing
def test_make_train_works(tmp_path: Path) -> None:
    flags = " ".join([*SMALL, "--output", str(tmp_path / "made")])
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["make", "-C", str(ROOT), "train", f"TRAIN_FLAGS={flags}"],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs("pytorch")
@needs("jax")
@pytest.mark.parametrize(
    "page",
    # Half a minute each: trainings, and the steps that `--dry-run` measures.
    [*(pytest.param(p, marks=pytest.mark.slow) for p in PAGES[1:3]), PAGES[3]],
)
def test_commands_work(fashion_mnist: datasets.Dataset, tmp_path: Path, page: str) -> None:
    from PIL import Image

    Image.fromarray(fashion_mnist.test.images[0, :, :, 0]).save(tmp_path / "boot.png")
    for command in commands(page):
        words = shlex.split(command)
        assert words[0] == "nin"
        arguments = shortened(words[1:])
        done = nin(*arguments, cwd=tmp_path)
        # The run in the page's example is finished: it was too short to interrupt.
        expected = 2 if "--resume" in words else 0
        assert done.returncode == expected, f"{arguments}\n{done.stdout}\n{done.stderr}"
        if expected == 2:
            assert "the run is finished" in done.stderr


def shortened(arguments: list[str]) -> list[str]:
    """The same command with few pictures, and the chapter's network on small ones."""
    is_book = "book" in arguments
    if arguments[0] == "train" and "--resume" not in arguments:
        few = ["64", "32", "16", "1"] if is_book else SMALL[1::2]
        arguments = [*arguments, *itertools.chain(*zip(SMALL[::2], few, strict=True))]
        return [*arguments, "--image-size", "67"] if is_book else arguments
    if is_book and "--dry-run" in arguments:
        return [*arguments, "--image-size", "67", "--batch-size", "16"]
    return arguments


@needs("pytorch")
@pytest.mark.parametrize("page", ["README.md", "docs/predict.md"])
def test_python_examples_work(
    fashion_mnist: datasets.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    monkeypatch.chdir(tmp_path)
    examples = PYTHON.findall((ROOT / page).read_text("utf-8"))
    assert examples
    for example in examples:
        short = example.replace("epochs=1", "epochs=1, train_examples=256, test_examples=100")
        exec(compile(short, page, "exec"), {"picture": fashion_mnist.test.images[0]})  # noqa: S102
