"""The page's engine under Node.js, which a test may ask without a browser."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from netinnet.bench import chromium
from netinnet.export import browser_model, page
from netinnet.weights import Model

RUN = """
const fs = require("fs"), cases = JSON.parse(fs.readFileSync(0));
const list = (x) => x && Array.from(x);
const results = cases.map(({ model, plain, input, picture }) => {
  if (plain) model.kernel = "AA==";
  if (picture) {
    const { rgba, width, height } = picture;
    const answer = engine(model)(Uint8ClampedArray.from(rgba), width, height);
    return { ...answer, ...{ logits: list(answer.logits), maps: list(answer.maps) } };
  }
  const tensors = {}, numbers = singles(bytesOf(model.weights));
  let at = 0;
  for (const [name, size] of model.tensors) tensors[name] = numbers.subarray(at, (at += size));
  const run = prepared(model, tensors, plain ? null : bytesOf(model.kernel));
  run(Float32Array.from(input, (x) => x + 1)); // what a first picture leaves behind must not matter
  const { logits, maps, features } = run(Float32Array.from(input));
  return { logits: list(logits), maps: list(maps), features: list(features) };
});
console.log(JSON.stringify(results));
"""


@functools.cache
def node() -> str | None:
    """Node.js: the system's, or the one that Playwright brings."""
    if found := shutil.which("node"):
        return found
    try:
        from playwright._impl._driver import compute_driver_executable
    except ImportError:
        return None
    return str(compute_driver_executable()[0])


def ask(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the engine makes of each case."""
    program = page.script(page.ENGINE) + RUN
    done = subprocess.run(
        [str(node()), "-e", program],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def data(model: Model, precision: str = "float32") -> dict[str, Any]:
    """The page's data of a model."""
    return browser_model.data(model, page.read("kernel.wasm"), precision)


def picture(array: np.ndarray[Any, np.dtype[np.uint8]]) -> dict[str, Any]:
    """A picture h×w×1 or h×w×3 as a browser gives it."""
    height, width = array.shape[:2]
    rgba = np.full((height, width, 4), 255, np.uint8)
    rgba[..., :3] = array
    return {"rgba": rgba.ravel().tolist(), "width": width, "height": height}


def difference(got: object, want: np.ndarray) -> float:
    """The largest one, as a share of the largest value."""
    return float(np.abs(np.ravel(got) - np.ravel(want)).max() / max(1e-6, np.abs(want).max()))


BROWSER = chromium.program()
FOLDER = Path(page.__file__).parent / "browser"
