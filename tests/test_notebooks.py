"""The notebooks in examples/: every cell runs, and shows what is stored with it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from netinnet.data import datasets
from netinnet.frameworks import FRAMEWORKS
from tests.conftest import ROOT, needs
from tests.test_docs import tool

FOLDER = ROOT / "examples"
FAST = ("first-look", "why-nin-fails")
SLOW = ("own-pictures", "four-frameworks")
IN_ONE_ENVIRONMENT = {"pytorch", "tensorflow", "jax"}
notebooks = tool("notebooks")


def words(outputs: list[dict[str, Any]]) -> list[str]:
    """The text that cells show, without fractions, which another machine may round otherwise."""
    found = []
    for output in outputs:
        lines = output["text"] if "text" in output else output["data"]["text/plain"]
        kinds = "".join(sorted(output.get("data", {})))
        found.append(re.sub(r"\d+\.\d+", "…", f"{kinds} {''.join(lines)}"))
    return found


def check(name: str, folder: Path) -> None:
    notebook = notebooks.read(FOLDER / f"{name}.ipynb")
    kept = [cell["outputs"] for cell in notebooks.code_cells(notebook)]
    shown = notebooks.run(notebook, folder)
    assert [words(outputs) for outputs in shown] == [words(outputs) for outputs in kept]


@needs("pytorch")
@pytest.mark.usefixtures("fashion_mnist")
@pytest.mark.parametrize("name", FAST)
def test_it_shows_what_is_stored(name: str, tmp_path: Path) -> None:
    check(name, tmp_path)


@pytest.mark.slow
@needs("pytorch")
@pytest.mark.parametrize("name", SLOW)
def test_it_shows_what_is_stored_slowly(
    name: str, tmp_path: Path, fashion_mnist: datasets.Dataset
) -> None:
    if {n for n, found in FRAMEWORKS.items() if found.is_installed} != IN_ONE_ENVIRONMENT:
        pytest.skip("the stored outputs are of three frameworks")
    check(name, tmp_path)


def test_a_wrong_cell_is_found(tmp_path: Path) -> None:
    cells = [{"cell_type": "code", "source": ["x = 2\n", "print(x)\n", "x + 1"], "outputs": []}]
    notebook = {"cells": cells}
    (outputs,) = notebooks.run(notebook, tmp_path)
    assert words(outputs) == [" 2\n", "text/plain 3"]
    cells[0]["source"] = ["1 / 0"]
    with pytest.raises(ZeroDivisionError):
        notebooks.run(notebook, tmp_path)
    cells[0]["source"] = ["!nin summary nothing-of-the-kind"]
    with pytest.raises(RuntimeError, match="exit status 2"):
        notebooks.run(notebook, tmp_path)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_it_is_a_notebook_with_small_outputs(path: Path) -> None:
    assert path.stem in FAST + SLOW
    assert path.stat().st_size < 60_000
    notebook = notebooks.read(path)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    identities = [cell["id"] for cell in notebook["cells"]]
    assert len(identities) == len(set(identities))
    for count, cell in enumerate(notebooks.code_cells(notebook), 1):
        assert cell["execution_count"] == count
        assert not any(output["output_type"] == "error" for output in cell["outputs"])
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            for link in re.findall(r"\]\(([^)#:]+)\)", "".join(cell["source"])):
                assert (path.parent / link).exists(), link
