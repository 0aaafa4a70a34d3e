"""The page in Chromium: bytes, beside onnxruntime-web's, and how soon the first answer is there.

    npm install onnxruntime-web --prefix /tmp/peer
    python benchmarks/browser.py /tmp/peer/node_modules/onnxruntime-web/dist [MODEL]

How long a picture takes in both is `nin bench page`. Needs Chromium and Playwright.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from netinnet.bench.peers import page as peer
from netinnet.inference import model_files
from netinnet.units import size as bytes_in_words

OPENINGS = 15
EMPTY = "empty.html"
FIRST = """
addEventListener("DOMContentLoaded", () => {
  globalThis.read = performance.now();
  if (!document.getElementById("bars")) return;
  const there = new MutationObserver(() => { // called when the words and bars of an answer stand
    if (state.answer) globalThis.first ??= performance.now();
  });
  there.observe(document.getElementById("bars"), { childList: true });
  show(blank(200, 150, "#777"));
});
"""


def main() -> None:
    model = model_files.find(Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        peer.pages(model, folder, Path(sys.argv[1]))
        ours = (folder / peer.PAGE).stat().st_size
        theirs = sum((folder / file).stat().st_size for file in (*peer.PEER_FILES, peer.GRAPH))
        print(
            f"{model.network.name}: the page {ours:,} bytes ({bytes_in_words(ours)}), "
            f"onnxruntime-web with the graph {theirs:,} ({bytes_in_words(theirs)}): "
            f"{theirs / ours:.1f} times as many"
        )
        print_first_answers(folder)


def print_first_answers(folder: Path) -> None:
    """The clock begins with the navigation, most of which an empty file needs too."""
    (folder / EMPTY).write_text("<!doctype html><title>empty</title>")
    times: dict[str, list[float]] = {peer.PAGE: [], EMPTY: []}
    with sync_playwright() as started:
        browser = peer.browser(started)
        for _ in range(OPENINGS):
            for name, found in times.items():
                tab = browser.new_page()
                tab.add_init_script(FIRST)
                tab.goto((folder / name).as_uri())
                said = "first" if name == peer.PAGE else "read"
                while (time := tab.evaluate(f"globalThis.{said}")) is None:
                    tab.wait_for_timeout(20)
                found.append(time)
                tab.close()
        version = browser.version
        browser.close()
    own = [a - b for a, b in zip(*times.values(), strict=True)]
    print(f"Chromium {version}: first answer {spread(times[peer.PAGE])} ms after a new tab is sent")
    print(f"to the page; an empty file is read after {spread(times[EMPTY])} ms: {spread(own)} more")


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f}-{max(values):.0f})"


if __name__ == "__main__":
    main()
