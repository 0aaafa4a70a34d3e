"""One definition of the pixels: the same pictures through every runtime, against the NumPy oracle.

A picture's bytes become an array by `data.pictures`, the array becomes the network's input by
`preprocessing`, and `inference/oracle.py` makes logits of it. Every other way from picture to
logits should give the same up to rounding: at most 1e-5 of the largest logit.

    python benchmarks/pixels.py PICTURES              10,000 of Fashion-MNIST, and 500 odd ones
    python benchmarks/pixels.py PICTURES --few        100 and 50
    python benchmarks/pixels.py PICTURES --only MXNet   in its own environment

PICTURES is a folder, or a .tar(.gz), of photographs: of them the odd pictures are made. What is not
installed is left out, and said.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import importlib.util
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

import netinnet
from netinnet import frameworks, weights
from netinnet.bench import chromium
from netinnet.data import datasets, pictures
from netinnet.export import check, plain
from netinnet.inference import onnx_graph
from netinnet.inference.predictor import Predictor
from netinnet.networks import zoo
from netinnet.networks.network import Preprocessing
from netinnet.weights import Model

Pictures = npt.NDArray[np.uint8]
Logits = npt.NDArray[np.float32]
Engine = Callable[[Pictures], Logits]
TOLERANCE = 1e-5
"""Largest difference of a logit, over the largest logit."""

MODES = ("L", "LA", "RGB", "RGBA", "P", "1", "I;16")
FORMATS = {"PNG": MODES, "JPEG": ("L", "RGB"), "WEBP": ("RGB", "RGBA"), "TIFF": ("L", "RGB")}
SIZES = (
    *((1, 1), (1, 37), (5, 300), (300, 4), (7, 7), (28, 28), (27, 29), (28, 90), (32, 32)),
    *((56, 56), (61, 40), (97, 33), (100, 100), (128, 96), (224, 224), (333, 200), (480, 641)),
)
"""(height, width) of the odd pictures in their files."""


class Odd(NamedTuple):
    """A picture as a file's bytes, and what is odd about it."""

    name: str
    content: bytes


def odd_pictures(photographs: Sequence[Pictures], count: int, seed: int = 0) -> list[Odd]:
    """`count` pictures of many sizes, modes, formats and EXIF orientations.

    Every mode of every format comes up, then every orientation and size, as long as `count` lasts.
    """
    rng = np.random.default_rng(seed)
    kinds = [(f, mode) for f, modes in FORMATS.items() for mode in modes]
    made = []
    for i in range(count):
        form, mode = kinds[i % len(kinds)]
        height, width = SIZES[i % len(SIZES)]
        turned = 1 + (i // len(kinds)) % 8 if form != "PNG" or mode != "I;16" else 1
        photograph = photographs[int(rng.integers(len(photographs)))]
        picture = _in_mode(Image.fromarray(photograph).resize((width, height)), mode, rng)
        exif = Image.Exif()
        exif[0x0112] = turned
        file = io.BytesIO()
        picture.save(file, form, exif=exif)
        name = f"{i}: {form} {mode} {height}×{width}, orientation {turned}"
        made.append(Odd(name, file.getvalue()))
    return made


def _in_mode(picture: Image.Image, mode: str, rng: np.random.Generator) -> Image.Image:
    if mode == "I;16":
        grey = np.asarray(picture.convert("L")).astype(np.uint16)
        return Image.fromarray(grey * 257 + rng.integers(-80, 80, grey.shape).astype(np.uint16))
    if mode in ("LA", "RGBA"):
        picture = picture.convert(mode)
        alpha = rng.integers(0, 256, picture.size[::-1], dtype=np.uint8)
        picture.putalpha(Image.fromarray(alpha))
        return picture
    return picture.convert(mode)


def photographs(path: Path, most: int = 500) -> list[Pictures]:
    """Photographs h×w×3 of a folder or a tar file, spread over it."""
    if path.is_dir():
        files = list(pictures.files([path], print))
        return [pictures.as_channels(pictures.read(f), 3) for f in files[:: len(files) // most + 1]]
    with tarfile.open(path) as archive:
        names = sorted(n for n in archive.getnames() if n.lower().endswith(pictures.SUFFIXES))
        contents = (archive.extractfile(n) for n in names[:: len(names) // most + 1])
        found = [pictures.read(c.read()) for c in contents if c is not None]
    return [pictures.as_channels(picture, 3) for picture in found]


def arrays(odd: Sequence[Odd], channels: int) -> list[Pictures]:
    """The odd pictures as arrays n×h×w×channels: those of one size together."""
    read = [pictures.as_channels(pictures.read(o.content, o.name), channels) for o in odd]
    read.sort(key=lambda picture: picture.shape)
    return [np.stack(list(same)) for _, same in groupby(read, lambda picture: picture.shape)]


def models() -> dict[str, Model]:
    """The shipped model (grey), and three of colour that are not trained, one a `fit`."""
    found = {"nin-small, trained": netinnet.load()}
    for fit in ("stretch", "crop", "pad"):
        scale = Preprocessing((0.49, 0.48, 0.45), (0.25, 0.24, 0.26), fit)
        network = zoo.resolve("nin-small-32", channels=3, preprocessing=scale)
        found[f"nin-small-32, {fit}"] = Model(network, weights.initial(network, 1))
    return found


# The runtimes


def reference_evaluator(model: Model) -> Engine:
    from onnx import load_model_from_string
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(load_model_from_string(onnx_graph.to_onnx(model)))
    return lambda images: evaluator.run([onnx_graph.LOGITS], {onnx_graph.INPUT: images})[0]


def openvino(model: Model) -> Engine:
    # Its import tells its makers of itself, unless that package can't be imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    core = openvino.Core()
    read = core.read_model(onnx_graph.to_onnx(model))
    compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    logits = compiled.output(onnx_graph.LOGITS)
    return lambda images: compiled({onnx_graph.INPUT: images})[logits]


def plain_graph(model: Model) -> Engine:
    content = plain.graph(model, 1).SerializeToString()
    return check.onnx_engine(content, model.network, 1)


def opencv(model: Model) -> Engine:
    import cv2

    content = np.frombuffer(plain.graph(model, 1).SerializeToString(), np.uint8)
    net = cv2.dnn.readNetFromONNX(content)

    def compute(x: Any) -> Logits:
        net.setInput(x)
        found: Logits = net.forward(onnx_graph.LOGITS).copy()
        return found

    return check.in_batches(compute, model.network, 1, (0, 3, 1, 2))


def framework(name: str) -> Callable[[Model], Engine]:
    return lambda model: Predictor(model, framework=name).logits


PAGE = """
async ([text, count, height, width, channels]) => {
  globalThis.answering ??= engine(model);
  const bytes = bytesOf(text), rgba = new Uint8ClampedArray(4 * height * width).fill(255);
  const logits = [];
  for (let i = 0, at = 0; i < count; i++) {
    for (let to = 0; to < rgba.length; to += 4) {
      for (let c = 0; c < 3; c++) rgba[to + c] = bytes[at + (channels === 1 ? 0 : c)];
      at += channels;
    }
    logits.push(...answering(rgba, width, height).logits);
  }
  return logits;
}
"""


def browser(precision: str) -> Callable[[Model], Engine]:
    """The exported page in headless Chromium, which is given the decoded pixels."""

    def open_page(model: Model) -> Engine:
        from playwright.sync_api import sync_playwright

        from netinnet.export import page

        playwright = sync_playwright().start()
        launched = playwright.chromium.launch(
            executable_path=chromium.program(), args=["--no-sandbox"]
        )
        tab = launched.new_page()
        tab.set_content(page.page(model, precision=precision))

        def close() -> None:
            launched.close()
            playwright.stop()

        def compute(images: Pictures) -> Logits:
            text = base64.b64encode(images.tobytes()).decode()
            logits = tab.evaluate(PAGE, [text, *images.shape])
            return np.array(logits, np.float32).reshape(len(images), -1)

        compute.close = close  # type: ignore[attr-defined]
        return compute

    return open_page


def service(model: Model) -> Engine:
    """`nin serve`, sent a PNG a picture. Its answers have class maps; their means are logits."""
    folder = tempfile.TemporaryDirectory()
    file = Path(folder.name) / "served.safetensors"
    weights.save(file, model)
    words = [sys.executable, "-m", "netinnet", "serve", str(file), "--port", "0", "--threads", "1"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = process.stdout.readline().split("/")[2]
    connection = http.client.HTTPConnection(address, timeout=60)

    def logits(picture: Pictures) -> list[Any]:
        png = io.BytesIO()
        Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(png, "PNG")
        target, kind = "/v1/predict?maps=1", {"Content-Type": "image/png"}
        connection.request("POST", target, png.getvalue(), kind)
        maps = json.load(connection.getresponse())["pictures"][0]["class_maps"]
        return [np.mean(maps[name]) for name in model.network.classes]

    def compute(images: Pictures) -> Logits:
        return np.array([logits(picture) for picture in images], np.float32)

    def close() -> None:
        connection.close()
        process.terminate()
        process.communicate(timeout=30)
        folder.cleanup()

    compute.close = close  # type: ignore[attr-defined]
    return compute


class Runtime(NamedTuple):
    """A way from pictures to logits."""

    engine: Callable[[Model], Engine]
    package: str = "numpy"
    """What must be installed."""
    tolerance: float = TOLERANCE
    most: int | None = None
    """Pictures of one set that it is asked for, where it is slow."""

    @property
    def is_there(self) -> bool:
        found = importlib.util.find_spec(self.package) is not None
        return found and (self.package != "playwright" or chromium.program() is not None)


RUNTIMES = {
    "onnxruntime": Runtime(lambda model: Predictor(model, threads=1).logits, "onnxruntime"),
    "ONNX's reference evaluator": Runtime(reference_evaluator, "onnx", most=500),
    "OpenVINO": Runtime(openvino, "openvino"),
    "plain graph, onnxruntime": Runtime(plain_graph, "onnxruntime"),
    "plain graph, OpenCV": Runtime(opencv, "cv2"),
    "HTTP": Runtime(service, "uvicorn", most=300),
    "page in Chromium, float32": Runtime(browser("float32"), "playwright", 1e-4),
    "page in Chromium, float16": Runtime(browser("float16"), "playwright", 5e-3),
    **{
        about.title: Runtime(framework(name), about.packages[0])
        for name, about in frameworks.FRAMEWORKS.items()
    },
}


def differences(
    model: Model, sets: Sequence[Pictures], most: int | None, engine: Engine
) -> Iterator[tuple[Logits, Logits]]:
    """Logits of the runtime and of the oracle, a set of one size at a time."""
    truth, left = check.by_numpy(model), most
    for images in sets:
        for start in range(0, len(images), 250):
            batch = np.ascontiguousarray(images[start : start + 250][:left])
            if len(batch):
                yield engine(batch), truth(batch)
            left = None if left is None else left - len(batch)


def largest(model: Model, sets: Sequence[Pictures], runtime: Runtime) -> tuple[float, int]:
    """The largest difference of a logit over the largest logit, and of how many pictures."""
    engine = runtime.engine(model)
    pairs = list(differences(model, sets, runtime.most, engine))
    getattr(engine, "close", lambda: None)()
    got, want = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return check.relative(got, want), len(got)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--few", action="store_true")
    parser.add_argument("--only", choices=RUNTIMES, help="one runtime")
    asked = parser.parse_args()
    clothes, odd = (100, 50) if asked.few else (10_000, 500)
    test = datasets.load("fashion-mnist").test.pictures(np.arange(clothes))
    made = odd_pictures(photographs(asked.pictures), odd)
    print("| runtime | model | pictures | largest difference | seconds |\n|---|---|---|---|---|")
    wrong = 0
    for name, runtime in RUNTIMES.items():
        if asked.only not in (None, name):
            continue
        if not runtime.is_there:
            print(f"| {name} | not installed | | | |")
            continue
        for title, model in models().items():
            channels = model.network.input.channels
            sets = {"odd": arrays(made, channels)}
            if channels == 1:
                sets["Fashion-MNIST"] = [test]
            for kind, images in sets.items():
                began = time.perf_counter()
                found, count = largest(model, images, runtime)
                wrong += not found <= runtime.tolerance
                seconds = time.perf_counter() - began
                row = (name, title, f"{count:,} {kind}", f"{found:.1e}", f"{seconds:.0f}")
                print("|", " | ".join(row), "|", flush=True)
    raise SystemExit(f"{wrong} beyond what is allowed" if wrong else 0)


if __name__ == "__main__":
    main()
