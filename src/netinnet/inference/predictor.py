"""Predicting with onnxruntime on the CPU: pictures in, class names and probabilities out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from netinnet.errors import FrameworkError, ImageError
from netinnet.inference.onnx_graph import INPUT, LOGITS, PROBABILITIES, to_onnx
from netinnet.weights import Model

Pictures = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float32]

_ONLY_ERRORS = 3
"""onnxruntime's severities: 2 warning, 3 error."""


@dataclass(frozen=True)
class Prediction:
    """One class with its probability (0…1)."""

    name: str
    probability: float


class Predictor:
    """A model ready to predict. Pictures are uint8 of any size; the model resizes them itself.

    `threads` is the number of CPU threads for one call, None for onnxruntime's choice. Raises
    FrameworkError where onnxruntime is not installed.
    """

    def __init__(self, model: Model, threads: int | None = None) -> None:
        self.network = model.network
        self._session = _session(to_onnx(model), threads)

    def logits(self, images: Pictures, batch_size: int = 250) -> Array:
        """Logits (float32, n×classes) of pictures n×h×w×c that have the network's channels.

        `batch_size` pictures are computed at a time: memory grows with it, the result does not
        depend on it. Raises ImageError for pictures of another type or shape.
        """
        return self._run(LOGITS, images, batch_size)

    def probabilities(self, images: Pictures, batch_size: int = 250) -> Array:
        """Like `logits`, behind the softmax: every row sums to 1."""
        return self._run(PROBABILITIES, images, batch_size)

    def predict(self, picture: Pictures, top: int = 5) -> list[Prediction]:
        """The `top` most probable classes of one picture h×w×c, the most probable first.

        The picture may be grey (1 channel) or colour (3), whatever the network takes. Of equally
        probable classes the earlier comes first; there are never more predictions than classes.
        """
        from netinnet.data.pictures import as_channels

        converted = as_channels(picture, self.network.input.channels)
        row = self.probabilities(converted[None])[0]
        order = np.argsort(-row, kind="stable")[:top]
        return [Prediction(self.network.classes[i], float(row[i])) for i in order]

    def _run(self, output: str, images: Pictures, batch_size: int) -> Array:
        self._check(images)
        rows = np.empty((len(images), len(self.network.classes)), np.float32)
        for batch in _slices(len(images), batch_size):
            feed = {INPUT: np.ascontiguousarray(images[batch])}
            rows[batch] = self._session.run([output], feed)[0]
        return rows

    def _check(self, images: Pictures) -> None:
        channels = self.network.input.channels
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != channels:
            raise ImageError(
                f"{self.network.name} takes uint8 pictures n×height×width×{channels}, "
                f"got {images.dtype} {'×'.join(map(str, images.shape))}"
            )
        if len(images) and 0 in images.shape:
            raise ImageError(f"a picture without pixels: {images.shape[1]}×{images.shape[2]}")


def _slices(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, start + size)


def _session(graph: bytes, threads: int | None) -> Any:
    """An onnxruntime session on the CPU that reports errors only."""
    try:
        import onnxruntime
    except ImportError as error:
        raise FrameworkError(
            "prediction needs onnxruntime: pip install 'onnxruntime>=1.19'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ONLY_ERRORS
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
