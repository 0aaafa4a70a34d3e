"""The README's commands, as written. Only `make test` is left out: it is what runs this."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from netinnet.data import datasets
from tests.conftest import ROOT, SMALL, needs

BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHORTER = " ".join(SMALL)


def commands() -> list[str]:
    text = (ROOT / "README.md").read_text("utf-8")
    return [line for block in BLOCK.findall(text) for line in block.splitlines() if line.strip()]


def test_links_and_figures_are_there() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text("utf-8")
        assert not re.findall(r"@[A-Z]+@", text), page.name
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_two_commands_are_there() -> None:
    assert {"make train", "make test"} <= set(commands())


@needs("pytorch")
@pytest.mark.skipif(not (ROOT / "Makefile").exists(), reason="needs the source tree")
def test_commands_work(
    fashion_mnist: datasets.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    folder = tmp_path / "work"
    folder.mkdir()
    Image.fromarray(fashion_mnist.test.images[0, :, :, 0]).save(folder / "boot.png")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path}
    for command in commands():
        if command in ("make test", "make test-slow") or command.startswith(("pip ", "git ")):
            continue
        shown = command
        if command.startswith("make train"):
            shown = f"make -C {ROOT} train TRAIN_FLAGS='{SHORTER} --output {folder}/made'"
        elif command.startswith("nin train") and "--resume" not in command:
            given = {w for w in command.split() if w.startswith("--")}
            flags = [f"{n} {v}" for n, v in zip(SMALL[::2], SMALL[1::2], strict=True)]
            shown += " " + " ".join(f for f in flags if f.split()[0] not in given)
            if "book" in command:
                shown = shown.replace("512", "64").replace("200", "32") + " --image-size 67"
        elif "--recipe book" in command and "--dry-run" in command:
            shown += " --image-size 67 --batch-size 16"
        done = subprocess.run(
            ["bash", "-c", shown],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        expected = 2 if "--resume" in command else 0
        assert done.returncode == expected, f"{shown}\n{done.stdout}\n{done.stderr}"
        if expected == 2:
            # The run in the README's example is finished here: it was too short to interrupt.
            assert "the run is finished" in done.stderr


@needs("pytorch")
def test_python_examples_work(
    fashion_mnist: datasets.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    examples = PYTHON.findall((ROOT / "README.md").read_text("utf-8"))
    assert examples
    for example in examples:
        short = example.replace("epochs=1", "epochs=1, train_examples=256, test_examples=100")
        exec(compile(short, "README.md", "exec"), {"picture": fashion_mnist.test.images[0]})  # noqa: S102
