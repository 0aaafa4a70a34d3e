"""The shipped model's predictions: ours, and PyTorch, ONNX Runtime and OpenVINO as one uses them.

All get uint8 pictures of 28×28 and give logits; the peers normalise them in NumPy.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from netinnet.preprocessing import Array

Engine = Callable[[Any], Any]
TIMED_SECONDS = 1.0
MEAN, STD = 0.286, 0.353


def measure(engine: str, batch: int, began: float | None = None) -> float:
    """Pictures/s at a batch size; with `began`, the seconds from then to the first answer."""
    compute = _ENGINES[engine]()
    pictures = np.random.default_rng(0).integers(0, 256, (batch, 28, 28, 1), np.uint8)
    compute(pictures)
    if began is not None:
        return time.time() - began
    for _ in range(3):
        compute(pictures)
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < TIMED_SECONDS:
        compute(pictures)
        calls += 1
    return batch * calls / (time.perf_counter() - start)


def multiply(n: int) -> float:
    matrix = np.ones((n, n), np.float32)
    began = time.perf_counter()
    matrix @ matrix
    return time.perf_counter() - began


def _normalised(pictures: Any) -> Array:
    images = (pictures.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)


def _ours() -> Engine:
    from netinnet import load
    from netinnet.inference.predictor import Predictor

    return Predictor(load()).logits


def _native() -> Any:
    from netinnet import load

    return load(framework="pytorch").eval()


def _eager() -> Engine:
    import torch

    model = _native()

    def compute(pictures: Any) -> Any:
        with torch.inference_mode():
            return model(torch.from_numpy(_normalised(pictures))).numpy()

    return compute


def _compiled() -> Engine:
    import torch

    model = torch.compile(_native())

    def compute(pictures: Any) -> Any:
        with torch.no_grad():
            return model(torch.from_numpy(_normalised(pictures))).numpy()

    return compute


def _exported() -> bytes:
    """The native model as PyTorch's own exporter writes it."""
    import torch

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's deprecated form
        file = str(Path(folder) / "model.onnx")
        torch.onnx.export(
            _native(),
            (torch.zeros(1, 1, 28, 28),),
            file,
            input_names=["x"],
            dynamic_axes={"x": {0: "n"}},
            dynamo=False,
        )
        return Path(file).read_bytes()


def _onnxruntime() -> Engine:
    import onnxruntime

    session = onnxruntime.InferenceSession(_exported(), providers=["CPUExecutionProvider"])
    return lambda pictures: session.run(None, {"x": _normalised(pictures)})[0]


def _openvino() -> Engine:
    import openvino

    core = openvino.Core()
    # Where the processor multiplies bfloat16 it would take that; all others compute float32.
    float32 = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(_exported()), "CPU", float32)
    return lambda pictures: compiled(_normalised(pictures))[0]


_ENGINES: dict[str, Callable[[], Engine]] = {
    "ours": _ours,
    "eager": _eager,
    "compiled": _compiled,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
