"""Run the notebooks in examples/ and store what their cells show.

    python tools/notebooks.py [NOTEBOOK …]

A cell is run as Jupyter runs it, as far as the notebooks need: a line `!nin …` is the command, and
the value of a last expression is shown, a picture as PNG. All cells run in this process, those of a
notebook in a new folder.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import re
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "examples"
Output = dict[str, Any]


def read(path: Path) -> dict[str, Any]:
    """A notebook as its JSON says it."""
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run_cell(source: str, names: dict[str, Any], count: int) -> list[Output]:
    """Run one cell among the notebook's names, and return its outputs as a notebook stores them."""
    source = re.sub(
        r"^!nin (.*)$", lambda line: f"__nin__({line[1]!r})", source, flags=re.MULTILINE
    )
    body = ast.parse(source)
    last = body.body.pop() if body.body and isinstance(body.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(body, f"cell {count}", "exec"), names)  # noqa: S102
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {count}", "eval"), names)  # noqa: S307
    outputs: list[Output] = []
    if text := printed.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": text.splitlines(True)})
    if value is not None:
        shown: dict[str, Any] = {"text/plain": _plain(value).splitlines(True)}
        if (png := getattr(value, "_repr_png_", None)) is not None:
            shown["image/png"] = base64.b64encode(png()).decode("ascii")
        outputs.append(
            {
                "data": shown,
                "execution_count": count,
                "metadata": {},
                "output_type": "execute_result",
            }
        )
    return outputs


def _plain(value: Any) -> str:
    """Its repr, without the place in memory where this process has it."""
    return re.sub(r" at 0x[0-9A-F]+", "", repr(value), flags=re.IGNORECASE)


def run(notebook: dict[str, Any], folder: Path) -> list[list[Output]]:
    """Run all cells in a folder; what each shows."""
    names: dict[str, Any] = {"__name__": "__main__", "__nin__": _nin}
    with contextlib.chdir(folder):
        return [
            run_cell("".join(cell["source"]), names, count)
            for count, cell in enumerate(code_cells(notebook), 1)
        ]


def _nin(line: str) -> None:
    from netinnet.cli import main

    if status := main.run(shlex.split(line)):
        raise RuntimeError(f"nin {line}: exit status {status}")


def stored(notebook: dict[str, Any], outputs: list[list[Output]]) -> str:
    """The notebook with these outputs, as a file."""
    for count, (cell, shown) in enumerate(zip(code_cells(notebook), outputs, strict=True), 1):
        cell["execution_count"], cell["outputs"] = count, shown
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]) if sys.argv[1:] else sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            made = read(path)
            path.write_text(stored(made, run(made, Path(folder))), "utf-8")
        print(path.name)
