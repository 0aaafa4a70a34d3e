"""The page's back end against onnxruntime-web, in one Chromium, in turns.

    npm install onnxruntime-web --prefix /tmp/peer
    python benchmarks/browser.py /tmp/peer/node_modules/onnxruntime-web/dist [MODEL]

Both get the same prepared input and run on one thread; the exported graph is the one without
preprocessing. Prints medians of a picture, their ratio by pairs of rounds, the bytes that each
needs, and how long after opening the page's first answer is there. Needs Chromium and Playwright.
"""

from __future__ import annotations

import functools
import http.server
import shutil
import statistics
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

import netinnet
from netinnet.export import page, plain
from netinnet.inference import model_files
from netinnet.units import size as bytes_in_words

ROUNDS, RUNS, OPENINGS = 15, 40, 15
PEER = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")

PREPARE = """
async ([input, plain]) => {
  const model = JSON.parse(document.getElementById("model").textContent);
  const numbers = halves(bytesOf(model.weights)), tensors = {};
  let at = 0;
  for (const [name, size] of model.tensors) tensors[name] = numbers.subarray(at, (at += size));
  const values = Float32Array.from(input);
  const ours = { WebAssembly: prepared(model, tensors, bytesOf(model.kernel)),
                 JavaScript: prepared(model, tensors, null) };
  globalThis.kinds = {};
  for (const [name, run] of Object.entries(ours)) kinds[name] = async () => run(values).logits;
  if (globalThis.ort) {
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = "/";
    const providers = { executionProviders: ["wasm"] };
    const session = await ort.InferenceSession.create("/plain.onnx", providers);
    const [c, h, w] = model.input, planes = new Float32Array(values.length);
    for (let i = 0; i < h * w; i++)
      for (let k = 0; k < c; k++) planes[k * h * w + i] = values[i * c + k];
    const feed = { [session.inputNames[0]]: new ort.Tensor("float32", planes, [1, c, h, w]) };
    kinds["onnxruntime-web"] = async () => (await session.run(feed)).logits.data;
  }
  const logits = {};
  for (const [name, run] of Object.entries(kinds)) logits[name] = Array.from(await run());
  return logits;
}
"""
ROUND = """
async ([name, runs]) => {
  const times = [];
  for (let i = 0; i < 10; i++) { // a browser's clock is coarse: many pictures at a time
    const start = performance.now();
    for (let j = 0; j < runs; j++) await kinds[name]();
    times.push((performance.now() - start) / runs);
  }
  return times.sort((a, b) => a - b)[5];
}
"""
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
    dist = Path(sys.argv[1])
    model = model_files.find(Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = page.page(model)
        (folder / "page.html").write_text(text)
        size = len(text.encode())
        # The same page without its policy, so that the peer's code may run in it.

        start = text.index('<meta http-equiv="Content-Security-Policy"')
        text = text[:start] + text[text.index(">", start) + 1 :]
        text = text.replace("</body>", f'<script src="{PEER[0]}"></script></body>')
        (folder / "both.html").write_text(text)
        (folder / "plain.onnx").write_bytes(plain.graph(model, 1).SerializeToString())
        for file in PEER:
            shutil.copy(dist / file, folder)
        peer = sum((folder / file).stat().st_size for file in (*PEER, "plain.onnx"))
        handler = functools.partial(_Quiet, directory=name)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            measure(server.server_port, folder, model, size, peer)
            server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f}-{max(values):.0f})"


def measure(port: int, folder: Path, model: netinnet.weights.Model, size: int, peer: int) -> None:
    c, h, w = model.network.input
    x = np.random.default_rng(0).normal(0, 1, (h, w, c)).astype(np.float32)
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        print(f"{model.network.name}, Chromium {browser.version}, one thread")
        tab = browser.new_page()
        tab.goto(f"http://127.0.0.1:{port}/both.html")
        logits = tab.evaluate(PREPARE, [x.ravel().tolist(), ""])
        theirs = np.array(logits["onnxruntime-web"])
        for kind, values in logits.items():
            apart = np.abs(np.array(values) - theirs).max() / np.abs(theirs).max()
            print(f"{kind}: largest difference {apart:.1e} of the largest logit")
        rounds = {kind: [] for kind in logits}
        for _ in range(ROUNDS):
            for kind, times in rounds.items():
                times.append(tab.evaluate(ROUND, [kind, RUNS if kind != "JavaScript" else 5]))
        for kind, times in rounds.items():
            ratios = [b / a for a, b in zip(times, rounds["onnxruntime-web"], strict=True)]
            low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
            print(
                f"{kind}: {statistics.median(times):.3f} ms a picture, "
                f"{middle:.2f} ({low:.2f}-{high:.2f}) times onnxruntime-web's speed"
            )
        print(
            f"bytes: page {size:,} ({bytes_in_words(size)}), onnxruntime-web with the graph "
            f"{peer:,} ({bytes_in_words(peer)}): {peer / size:.1f} times as many"
        )
        # The clock begins with the navigation, most of which an empty file needs too.
        (folder / "empty.html").write_text("<!doctype html><title>empty</title>")
        times = {"page.html": [], "empty.html": []}
        for _ in range(OPENINGS):
            for name, found in times.items():
                tab = browser.new_page()
                tab.add_init_script(FIRST)
                tab.goto((folder / name).as_uri())
                said = "first" if name == "page.html" else "read"
                while (time := tab.evaluate(f"globalThis.{said}")) is None:
                    tab.wait_for_timeout(20)
                found.append(time)
                tab.close()
        own = [a - b for a, b in zip(*times.values(), strict=True)]
        print(f"first answer {spread(times['page.html'])} ms after a new tab is sent to the page,")
        print(f"an empty file is read after {spread(times['empty.html'])} ms: {spread(own)} more")
        browser.close()


if __name__ == "__main__":
    main()
