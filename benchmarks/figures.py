"""The pictures of the README and the docs, drawn from a finished run.

python benchmarks/figures.py runs/seeds/seed-0
"""

from __future__ import annotations

import sys
from pathlib import Path

from netinnet.report import figures
from netinnet.training.run import open_run

IMAGES = Path(__file__).parent.parent / "docs" / "images"


def main() -> None:
    run = open_run(Path(sys.argv[1]))
    events = run.events()
    (IMAGES / "learning-curves.png").write_bytes(figures.learning_curves(events, "png"))
    last = [event for event in events if event["event"] == "evaluation"][-1]
    classes = run.model().network.classes
    (IMAGES / "confusion.png").write_bytes(
        figures.confusion(last["test"]["confusion"], classes, "png")
    )


if __name__ == "__main__":
    main()
