"""A picture in the exported page, and in ONNX Runtime Web: the shipped model in Chromium.

Both run on one thread and get the same prepared input; the peer's graph is the one without
preprocessing.
"""

from __future__ import annotations

import functools
import http.server
import shutil
import statistics
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Error, sync_playwright

from netinnet import load
from netinnet.bench import chromium
from netinnet.bench.peers.prediction import multiply
from netinnet.errors import FrameworkError
from netinnet.export import page, plain
from netinnet.weights import Model

__all__ = ["IS_ELSEWHERE", "PEER_FILES", "browser", "measure", "multiply", "pages"]
IS_ELSEWHERE = True
"""It is the browser's processes that compute: this one's memory says nothing."""
PEER_FILES = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""What a page with ONNX Runtime Web loads, of the folder dist of its npm package."""
PAGE, BOTH, GRAPH = "page.html", "both.html", "plain.onnx"
ROUNDS = 15
CALLS = {"WebAssembly": 40, "JavaScript": 5, "onnxruntime-web": 40}
"""Engines, and pictures between two looks at the browser's clock, which is a coarse one."""

PREPARE = """
async ([name, input]) => {
  const model = JSON.parse(document.getElementById("model").textContent);
  const values = Float32Array.from(input);
  if (name === "onnxruntime-web") {
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = "/";
    const providers = { executionProviders: ["wasm"] };
    const session = await ort.InferenceSession.create("/plain.onnx", providers);
    const [c, h, w] = model.input, planes = new Float32Array(values.length);
    for (let i = 0; i < h * w; i++)
      for (let k = 0; k < c; k++) planes[k * h * w + i] = values[i * c + k];
    const feed = { [session.inputNames[0]]: new ort.Tensor("float32", planes, [1, c, h, w]) };
    globalThis.predict = async () => (await session.run(feed)).logits.data;
  } else {
    const numbers = halves(bytesOf(model.weights)), tensors = {};
    let at = 0;
    for (const [tensor, size] of model.tensors)
      tensors[tensor] = numbers.subarray(at, (at += size));
    const kernel = name === "WebAssembly" ? bytesOf(model.kernel) : null;
    const run = prepared(model, tensors, kernel);
    globalThis.predict = async () => run(values).logits;
  }
  return Array.from(await predict());
}
"""
ROUND = """
async (calls) => {
  const start = performance.now();
  for (let i = 0; i < calls; i++) await predict();
  return (performance.now() - start) / calls;
}
"""


def measure(engine: str, peer: str | None = None) -> float:
    """Pictures/s, one at a time: the median of 15 rounds, behind one that warms up.

    `engine` is one of CALLS; `peer` is the folder dist of the npm package onnxruntime-web. Raises
    FrameworkError where there is no browser, or no such folder.
    """
    model = load()
    if engine == "onnxruntime-web" and peer is None:
        raise FrameworkError("--onnxruntime-web does not say where it is")
    channels, height, width = model.network.input
    x = np.random.default_rng(0).normal(0, 1, (height, width, channels)).astype(np.float32)
    with tempfile.TemporaryDirectory() as name:
        pages(model, Path(name), None if peer is None else Path(peer))
        handler = functools.partial(_Quiet, directory=name)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            with sync_playwright() as started:
                tab = browser(started).new_page()
                tab.goto(f"http://127.0.0.1:{server.server_port}/{BOTH}")
                tab.evaluate(PREPARE, [engine, x.ravel().tolist()])
                times = [tab.evaluate(ROUND, CALLS[engine]) for _ in range(ROUNDS + 1)]
            server.shutdown()
    return 1000 / statistics.median(times[1:])


def browser(started: Any) -> Any:
    """The machine's Chromium, or Playwright's own. Raises FrameworkError where there is neither."""
    try:
        return started.chromium.launch(
            executable_path=chromium.program(),
            # It runs our own page only, also as root in a container.
            args=["--no-sandbox"],
        )
    except Error as error:
        reason = str(error).strip().splitlines()[0]
        raise FrameworkError(f"no Chromium here: apt-get install chromium ({reason})") from error


def pages(model: Model, folder: Path, peer: Path | None) -> None:
    """Write a model's page as it is exported, and one in which ONNX Runtime Web may run, too.

    Raises FrameworkError where the peer's files are not there.
    """
    text = page.page(model)
    (folder / PAGE).write_text(text, "utf-8")
    # The peer's code would be refused by the page's policy.
    start = text.index('<meta http-equiv="Content-Security-Policy"')
    text = text[:start] + text[text.index(">", start) + 1 :]
    if peer is not None:
        for file in PEER_FILES:
            try:
                shutil.copy(peer / file, folder)
            except OSError as error:
                needed = "the folder dist of the npm package onnxruntime-web"
                raise FrameworkError(f"{peer / file}: {error.strerror}: give {needed}") from error
        (folder / GRAPH).write_bytes(plain.graph(model, 1).SerializeToString())
        text = text.replace("</body>", f'<script src="{PEER_FILES[0]}"></script></body>')
    (folder / BOTH).write_text(text, "utf-8")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass
