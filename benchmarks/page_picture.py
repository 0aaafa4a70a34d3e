"""Makes docs/images/page.png: the shipped model's page in Chromium, with a test picture.

    python benchmarks/page_picture.py [INDEX]

Needs Chromium and Playwright.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

import netinnet
from netinnet import data
from netinnet.bench import chromium
from netinnet.export import page

TARGET = Path(__file__).parent.parent / "docs" / "images" / "page.png"


def main() -> None:
    index = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    picture = data.load("fashion-mnist").test.pictures(np.array([index]))[0, ..., 0]
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        file = Path(folder) / "page.html"
        file.write_text(page.page(netinnet.load(), title="What are you wearing?"))
        browser = started.chromium.launch(executable_path=chromium.program(), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1040, "height": 720})
        tab.goto(file.as_uri())
        given = {"name": "picture.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
        for _ in range(2):  # the second time the code is warm, as it is for who tries a few
            tab.set_input_files("#file", given)
            tab.wait_for_timeout(1000)
        tab.screenshot(path=TARGET)
        browser.close()
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
