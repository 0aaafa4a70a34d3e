"""What Chromium decodes of odd pictures, against `netinnet.data.pictures.read`, in levels of 255.

    PYTHONPATH=. python benchmarks/decoding.py PICTURES

PICTURES is a folder or a .tar(.gz) of photographs, of which 500 odd pictures are made (sizes,
modes, formats, EXIF orientations). The page's own `decoded` reads them. Needs Chromium and
Playwright.
"""

from __future__ import annotations

import base64
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

import netinnet
from benchmarks.pixels import odd_pictures, photographs
from netinnet.bench import chromium
from netinnet.data import pictures
from netinnet.export import page

DECODE = """
async text => {
  const picture = await decoded(new Blob([bytesOf(text)])), { width, height } = picture;
  const rgba = picture.getContext("2d").getImageData(0, 0, width, height).data;
  let letters = "";
  for (let i = 0; i < rgba.length; i += 4096)
    letters += String.fromCharCode(...rgba.subarray(i, i + 4096));
  return [height, width, btoa(letters)];
}
"""


def main() -> None:
    made = odd_pictures(photographs(Path(sys.argv[1])), 500)
    apart: dict[str, list[int]] = defaultdict(list)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium.program(), args=["--no-sandbox"])
        tab = browser.new_page()
        tab.set_content(page.page(netinnet.load()))
        for odd in made:
            kind = " ".join(odd.name.split()[1:3])
            if kind.startswith("TIFF"):
                continue  # browsers don't read it
            want = pictures.as_channels(pictures.read(odd.content), 3)
            height, width, text = tab.evaluate(DECODE, base64.b64encode(odd.content).decode())
            rgba = np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)
            if rgba.shape[:2] != want.shape[:2]:
                print(f"{odd.name}: {width}×{height}")
                apart[kind].append(255)
                continue
            apart[kind].append(int(np.abs(rgba[..., :3].astype(int) - want).max()))
        browser.close()
    print("| kind | pictures | largest difference in levels |\n|---|---|---|")
    for kind, levels in sorted(apart.items()):
        print(f"| {kind} | {len(levels)} | {max(levels)} |")


if __name__ == "__main__":
    main()
