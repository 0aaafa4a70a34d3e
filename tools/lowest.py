"""Print the lowest versions that pyproject.toml allows, as pip takes them, a line each.

The package's own dependencies, those of its extras other than training frameworks (which bring
gigabytes), and what runs the tests.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

FRAMEWORKS = {"pytorch", "tensorflow", "jax", "mxnet"}
RUNS_TESTS = ("pytest", "hypothesis")


def lowest(requirement: str) -> str:
    """`name>=1.2` as `name==1.2`. Raises ValueError for one without a lower bound."""
    bound = re.fullmatch(r"([\w.-]+)>=([\d.]+)(?:[,;].*)?", requirement)
    if bound is None:
        raise ValueError(f"pyproject.toml: {requirement} names no lowest version")
    return f"{bound[1]}=={bound[2]}"


def main() -> None:
    content = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))
    project = content["project"]
    extras = project["optional-dependencies"]
    wanted = {
        *project["dependencies"],
        *(text for name in extras.keys() - FRAMEWORKS for text in extras[name]),
        *(text for text in content["dependency-groups"]["dev"] if text.startswith(RUNS_TESTS)),
    }
    print("\n".join(sorted(map(lowest, wanted))))


if __name__ == "__main__":
    main()
