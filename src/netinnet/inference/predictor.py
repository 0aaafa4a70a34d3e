"""Predicting: pictures in, class names and probabilities out.

By onnxruntime on the CPU, or by any framework that is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from netinnet import frameworks
from netinnet.errors import FrameworkError, ImageError
from netinnet.frameworks.learner import Learner, LearnerSettings
from netinnet.inference.onnx_graph import INPUT, LOGITS, to_onnx
from netinnet.metrics import softmax
from netinnet.networks.layers import Shape
from netinnet.optimizer import Optimizer
from netinnet.preprocessing import normalise
from netinnet.weights import Model

Pictures = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float32]
Engine = Callable[[Pictures], Array]
"""Logits of a batch of pictures."""

_ONLY_ERRORS = 3
"""onnxruntime's severities: 2 warning, 3 error."""


@dataclass(frozen=True)
class Prediction:
    """One class with its probability (0…1)."""

    name: str
    probability: float


class Predictor:
    """A model ready to predict. Pictures are uint8 of any size; the model resizes them itself.

    `threads` is the number of CPU threads for one call, None for the engine's choice. The engine is
    onnxruntime, or the `framework` given. Raises FrameworkError where that is not installed.
    """

    def __init__(
        self, model: Model, threads: int | None = None, framework: str | None = None
    ) -> None:
        self.network = model.network
        self._compute: Engine = (
            _onnxruntime(model, threads)
            if framework is None
            else _Native(model, framework, threads).logits
        )

    def logits(self, images: Pictures, batch_size: int = 250) -> Array:
        """Logits (float32, n×classes) of pictures n×h×w×c that have the network's channels.

        `batch_size` pictures are computed at a time: memory grows with it, the result does not
        depend on it. Raises ImageError for pictures of another type or shape.
        """
        self._check(images)
        rows = np.empty((len(images), len(self.network.classes)), np.float32)
        for batch in _slices(len(images), batch_size):
            rows[batch] = self._compute(np.ascontiguousarray(images[batch]))
        return rows

    def probabilities(self, images: Pictures, batch_size: int = 250) -> Array:
        """Like `logits`, behind the softmax: every row sums to 1."""
        return softmax(self.logits(images, batch_size))

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


class _Native:
    """Logits by a framework's learner, one for each size of picture: it resizes them itself."""

    def __init__(self, model: Model, framework: str, threads: int | None) -> None:
        self.model, self.threads = model, threads
        self.adapter = frameworks.adapter(framework)
        self.learners: dict[Shape, Learner] = {}

    def logits(self, images: Pictures) -> Array:
        _, height, width, channels = images.shape
        size = Shape(channels, height, width)
        network = self.model.network
        if size not in self.learners:
            settings = LearnerSettings(network, Optimizer(), size, threads=self.threads)
            self.learners = {size: self.adapter.learner(settings, self.model.weights)}
        return self.learners[size].logits(normalise(images, network.preprocessing))


def _onnxruntime(model: Model, threads: int | None) -> Engine:
    """Logits by an onnxruntime session on the CPU that reports errors only."""
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
    session = onnxruntime.InferenceSession(
        to_onnx(model), options, providers=["CPUExecutionProvider"]
    )

    def logits(images: Pictures) -> Array:
        try:
            computed: Array = session.run([LOGITS], {INPUT: images})[0]
        except Exception as error:
            # onnxruntime has no common class for its errors; memory that does not suffice is one.
            reason = str(error).splitlines()[0]
            raise FrameworkError(f"{model.network.name}: cannot be computed ({reason})") from error
        return computed

    return logits
