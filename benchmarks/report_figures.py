"""Copy the figures of a report into files, for the docs.

    python benchmarks/report_figures.py studies/why-nin-fails/report.html docs/images/why-nin-fails

writes docs/images/why-nin-fails-1.svg, -2.svg, … in the page's order, and prints what each shows.
"""

from __future__ import annotations

import argparse
import base64
import re
from pathlib import Path

FIGURE = re.compile(r'<img alt="([^"]*)" src="data:image/svg\+xml;base64,([^"]*)"')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("stem", help="path of the figures without number and ending")
    options = parser.parse_args()
    found = FIGURE.findall(options.report.read_text("utf-8"))
    for number, (alternative, data) in enumerate(found, start=1):
        path = Path(f"{options.stem}-{number}.svg")
        path.write_bytes(base64.b64decode(data))
        print(f"{path}: {alternative}")


if __name__ == "__main__":
    main()
