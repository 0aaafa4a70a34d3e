"""An export proves itself: its logits are compared with the NumPy oracle's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from netinnet.errors import FrameworkError, ModelError
from netinnet.export import plain
from netinnet.inference import onnx_graph, oracle
from netinnet.inference.onnx_graph import LOGITS
from netinnet.networks.network import Network
from netinnet.preprocessing import prepare
from netinnet.weights import Model

Array = npt.NDArray[np.float32]
Pictures = npt.NDArray[np.uint8]
Engine = Callable[[Pictures], Array]
"""Logits n×classes of pictures, uint8 n×h×w×channels of the network."""
TOLERANCE = {"float32": 1e-4, "float16": 1e-2, "int8": 0.25}
"""Largest difference of a logit that is taken for rounding, over the largest logit. In float32 it
is about 1e-6; what is wrong in a graph is far above it."""


def against_oracle(
    path: Path, model: Model, compute: Engine, precision: str, pictures: Iterable[Pictures]
) -> float:
    """The largest difference of a logit from the oracle's, over the largest logit.

    Args:
        path: The file that is to be; errors name it.
        model: What was exported.
        compute: Gives the export's logits.
        precision: Which difference is rounding.
        pictures: Arrays 1×h×w×channels of any sizes.

    Raises:
        ModelError: Where the difference is more than rounding.
    """
    truth = by_numpy(model)
    got, want = [], []
    for picture in pictures:
        got.append(compute(picture))
        want.append(truth(picture))
    found = relative(np.concatenate(got), np.concatenate(want))
    if not found <= TOLERANCE[precision]:
        cure = "; float16 may do, or other --calibrate pictures" if precision == "int8" else ""
        raise ModelError(
            f"{path}: not written: the export's logits are not the network's, they differ by "
            f"{found:.2g} of the largest (rounding in {precision} is up to "
            f"{TOLERANCE[precision]:g}){cure}"
        )
    return found


def by_numpy(model: Model) -> Engine:
    """The oracle as an engine: preprocessing and network in NumPy."""

    def logits(pictures: Pictures) -> Array:
        x = prepare(pictures, model.network.input, model.network.preprocessing)
        found: Array = oracle.logits(model.network, model.weights, x.transpose(0, 3, 1, 2))
        return found

    return logits


def relative(got: Array, want: Array) -> float:
    """The largest difference over the largest value; NaN where a number is not finite."""
    return float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-30))


def samples(network: Network) -> list[Pictures]:
    """Pictures made for the check: smooth ones and noise, of the input's size and two others."""
    channels, height, width = network.input
    rng = np.random.default_rng(0)
    made = []
    for rows, columns in ((height, width), (height + 5, 2 * width + 3), (max(1, height // 2), 7)):
        down, across = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j]
        waves = [np.sin(6 * (down * a + across * b)) for a, b in rng.uniform(-1, 1, (channels, 2))]
        noise = rng.uniform(-0.3, 0.3, (rows, columns, channels))
        values = 127.5 * (1 + np.stack(waves, axis=-1) * 0.7 + noise)
        made.append(values.clip(0, 255).astype(np.uint8)[None])
    return made


def onnx_engine(content: bytes, network: Network, batch: int | None) -> Engine:
    """Logits by onnxruntime on the CPU; `batch` is a plain graph's, None for a whole one."""
    onnxruntime = onnx_graph.require("onnxruntime", "checking an export", "onnxruntime>=1.19")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Threads that wait busily take what other processes need, and tiny graphs gain nothing by it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common class for its errors
        raise FrameworkError(f"onnxruntime does not take the graph ({error})") from error

    def compute(pictures: Pictures) -> Array:
        logits: Array = session.run([LOGITS], {onnx_graph.INPUT: pictures})[0]
        return logits

    def compute_plain(x: Array) -> Array:
        logits: Array = session.run([LOGITS], {plain.INPUT: x})[0]
        return logits

    return compute if batch is None else in_batches(compute_plain, network, batch, (0, 3, 1, 2))


def in_batches(
    compute: Callable[[Array], Array], network: Network, batch: int, axes: Sequence[int]
) -> Engine:
    """An engine of what takes preprocessed pictures, `batch` at a time, with their axes so."""

    def logits(pictures: Pictures) -> Array:
        parts = [compute(part) for part in batches(pictures, network, batch, axes)]
        found: Array = np.concatenate(parts)[: len(pictures)]
        return found

    return logits


def batches(
    pictures: Pictures, network: Network, batch: int, axes: Sequence[int]
) -> list[npt.NDArray[Any]]:
    """Preprocessed pictures in arrays of `batch`; the last is filled up with the last picture."""
    x = prepare(pictures, network.input, network.preprocessing).transpose(axes)
    x = np.concatenate([x, np.repeat(x[-1:], -len(x) % batch, axis=0)])
    return [np.ascontiguousarray(x[i : i + batch]) for i in range(0, len(x), batch)]
