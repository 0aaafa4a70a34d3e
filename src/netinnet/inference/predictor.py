"""Predicting: pictures in, class names and probabilities out.

By onnxruntime on the CPU, or by any framework that is installed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from netinnet.data.pictures import as_channels, described, from_memory
from netinnet.errors import FrameworkError, ImageError, ModelError, NetinnetError
from netinnet.inference import class_maps, model_files, onnx_graph
from netinnet.inference.onnx_graph import CLASS_MAPS, FEATURES, INPUT, LOGITS, PROBABILITIES
from netinnet.layout import LAYOUTS
from netinnet.metrics import softmax
from netinnet.networks import features
from netinnet.networks.layers import Shape
from netinnet.preprocessing import AT_ONCE, normalise, prepare
from netinnet.weights import Model, check, shapes

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from netinnet.frameworks.learner import Learner

Pictures = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float32]
Engine = Callable[[Pictures, Sequence[str]], list[Array]]
"""Some of `logits`, `class_maps` and `features` for a batch of pictures."""
LONG = 8192
"""Longest side of pictures that the graph resizes itself."""
NONE_OF_THESE = "none of these"

_ONLY_ERRORS = 3
"""onnxruntime's severities: 2 warning, 3 error."""


@dataclass(frozen=True)
class Prediction:
    """One class with its probability (0…1)."""

    name: str
    probability: float


@dataclass(frozen=True)
class Answer:
    """What a model says of a picture, or that it is none of what it knows."""

    predictions: list[Prediction]
    """The most probable classes, also of a picture that is refused."""
    score: float | None
    """How much the picture is like those the model knows; None for a model without calibration."""
    refused: bool

    @property
    def name(self) -> str:
        """The most probable class, or "none of these"."""
        return NONE_OF_THESE if self.refused else self.predictions[0].name


class Predictor:
    """A model ready to predict. Pictures are uint8 of any size; the model resizes them itself.

    Args:
        model: A model, or the path of one: a run folder, or a .safetensors or .onnx file that `nin`
            wrote.
        threads: CPU threads for one call; None for the engine's choice.
        framework: The engine, if it shall be another than onnxruntime: `pytorch`, `tensorflow`,
            `jax` or `mxnet`.

    Raises:
        ModelError: Where there is no model, or it is too large for onnxruntime.
        FrameworkError: Where the engine is not installed.

    Example:
        >>> predictor = Predictor(netinnet.load())
        >>> predictor.predict(PIL.Image.open("boot.png"), top=1)
        [Prediction(name='Ankle boot', probability=0.99...)]
    """

    def __init__(
        self, model: Model | str | Path, threads: int | None = None, framework: str | None = None
    ) -> None:
        if threads is not None:
            _check_count("threads", threads)
        if not isinstance(model, Model):
            model = model_files.find(Path(model))
        self.network = model.network
        self.calibration = model.calibration
        self.maps = class_maps.of(model.network)
        self.features = features.of(model.network)
        classes = len(self.network.classes)
        self._sizes: dict[str, tuple[int, ...]] = {LOGITS: (classes,), PROBABILITIES: (classes,)}
        if self.maps:
            self._sizes[CLASS_MAPS] = (classes, self.maps.input.height, self.maps.input.width)
        if self.features:
            self._sizes[FEATURES] = (self.features.size,)
        self._compute: Engine = (
            _onnxruntime(model, threads)
            if framework is None
            else _Native(model, framework, threads).compute
        )

    def run(
        self, images: Pictures, outputs: Sequence[str] = (LOGITS,), batch_size: int = 250
    ) -> dict[str, Array]:
        """Any of the model's outputs for many pictures of one size, in one pass.

        With a framework as the engine, class maps beside others cost a second pass.

        Args:
            images: uint8, n×height×width×channels, with the network's channels.
            outputs: Some of `logits` and `probabilities` (n×classes; a row of probabilities sums to
                1; they are calibrated where the model is, logits never), `class_maps`
                (n×classes×rows×columns, in the resolution in front of global average pooling; the
                mean of a map is its class's logit) and `features` (n×features, the means of what
                goes into the last layer with weights).
            batch_size: Pictures that are computed at a time: memory grows with it, the results do
                not depend on it.

        Returns:
            float32 arrays by the names in `outputs`.

        Raises:
            ImageError: For pictures of another type or shape.
            ModelError: Where class maps or features are asked of a network that has none.

        Example:
            >>> results = predictor.run(images, ("probabilities", "class_maps"))
            >>> results["class_maps"].shape
            (32, 10, 7, 7)
        """
        for name in outputs:
            if name == CLASS_MAPS:
                self.require_maps()
            if name not in self._sizes:
                raise ModelError(f"no output '{name}'; known are {', '.join(self._sizes)}")
        self._check(images)
        _check_count("batch_size", batch_size)
        needed = list(dict.fromkeys(LOGITS if n == PROBABILITIES else n for n in outputs))
        if 0 < len(images) <= batch_size:
            computed = self._compute(np.ascontiguousarray(images), needed)
            results = dict(zip(needed, computed, strict=True))
        else:
            results = {n: np.empty((len(images), *self._sizes[n]), np.float32) for n in needed}
            for start in range(0, len(images), batch_size):
                batch = slice(start, start + batch_size)
                computed = self._compute(np.ascontiguousarray(images[batch]), needed)
                for name, values in zip(needed, computed, strict=True):
                    results[name][batch] = values
        if PROBABILITIES in outputs:
            results[PROBABILITIES] = self.to_probabilities(results[LOGITS])
        return {name: results[name] for name in outputs}

    def require_maps(self) -> None:
        """Raise ModelError where the network has no class maps."""
        if not self.maps:
            reason = "its logits are not made by global average pooling, alone or with one Linear"
            raise ModelError(
                f"{self.network.name} has no class maps: {reason}; those of nin-small are"
            )

    def logits(self, images: Pictures, batch_size: int = 250) -> Array:
        """Logits (float32, n×classes) of pictures n×h×w×c: see `run`."""
        return self.run(images, (LOGITS,), batch_size)[LOGITS]

    def probabilities(self, images: Pictures, batch_size: int = 250) -> Array:
        """Like `logits`, behind the softmax, calibrated where the model is: rows sum to 1."""
        return self.run(images, (PROBABILITIES,), batch_size)[PROBABILITIES]

    def to_probabilities(self, logits: Array) -> Array:
        """Probabilities (n×classes) of raw logits, calibrated where the model is."""
        temperature = self.calibration.temperature if self.calibration else 1.0
        return softmax(logits / np.float32(temperature))

    def evidence(self, images: Pictures, batch_size: int = 250) -> tuple[Array, Array]:
        """Logits (n×classes) and what the score measures distances in (n×features).

        That is `features`; the logits themselves where the network has none.
        """
        results = self.run(images, (LOGITS, *((FEATURES,) if self.features else ())), batch_size)
        return results[LOGITS], results[FEATURES if self.features else LOGITS]

    def scores(self, images: Pictures, batch_size: int = 250) -> npt.NDArray[np.float64]:
        """How much pictures n×h×w×c are like those the model knows: one score each.

        `calibration.refuses(scores)` says which ones are none of these. Raises ModelError for a
        model without calibration.

        Example:
            >>> predictor.calibration.refuses(predictor.scores(images)).mean()
            0.01
        """
        if self.calibration is None:
            raise ModelError(f"{self.network.name} is not calibrated: nin calibrate does that")
        return self.calibration.scores(*self.evidence(images, batch_size))

    def class_maps(self, images: Pictures, batch_size: int = 250) -> Array:
        """Class maps (float32, n×classes×rows×columns) of pictures n×h×w×c: see `run`."""
        return self.run(images, (CLASS_MAPS,), batch_size)[CLASS_MAPS]

    def predict(self, picture: Pictures | Picture, top: int = 5) -> list[Prediction]:
        """The most probable classes of one picture, the most probable first.

        There always are some: `answer` also says whether the picture is none of these.

        Args:
            picture: A uint8 array h×w, h×w×1 (grey) or h×w×3 (colour), or a PIL picture; it is
                converted to the network's channels.
            top: How many classes. Of equally probable ones the earlier comes first; there are never
                more predictions than classes.

        Raises:
            ImageError: For a picture of another type or shape.
        """
        return self.answer(picture, top).predictions

    def answer(self, picture: Pictures | Picture, top: int = 5) -> Answer:
        """The most probable classes of one picture, and whether it is none of these.

        Arguments and errors are those of `predict`. A model without calibration refuses nothing.

        Example:
            >>> Predictor(netinnet.load()).answer(PIL.Image.open("cat.jpg")).name
            'none of these'
        """
        _check_count("top", top)
        converted = as_channels(from_memory(picture), self.network.input.channels)
        if self.calibration is None:
            logits, score = self.logits(converted[None]), None
        else:
            logits, measured = self.evidence(converted[None])
            score = float(self.calibration.scores(logits, measured)[0])
        return self.to_answer(self.to_probabilities(logits)[0], score, top)

    def to_answer(self, probabilities: Array, score: float | None, top: int = 5) -> Answer:
        """The answer that one picture's probabilities (a row) and score make: see `answer`.

        Raises ModelError where the probabilities are not finite.
        """
        values = probabilities.tolist()  # of a few numbers, Python is done before NumPy has begun
        if not all(map(math.isfinite, values)):
            raise ModelError(f"{self.network.name}: the logits of this picture are not finite")
        order = sorted(range(len(values)), key=values.__getitem__, reverse=True)[:top]
        best = [Prediction(self.network.classes[i], values[i]) for i in order]
        return Answer(best, score, self.refuses(score))

    def refusal(self, score: float | None) -> str:
        """ "none of these", and the score, for a picture that `refuses` says it of."""
        lowest = self.calibration.threshold if self.calibration else None
        return f"{NONE_OF_THESE} (score {score:.2f}, below {lowest:.2f})"

    def refuses(self, score: float | None) -> bool:
        """Whether a picture with that score is none of these."""
        if self.calibration is None or score is None:
            return False
        return bool(self.calibration.refuses(np.array(score)))

    def _check(self, images: Pictures) -> None:
        channels = self.network.input.channels
        array = images if isinstance(images, np.ndarray) else np.empty((), object)
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != channels:
            takes = f"{self.network.name} takes uint8 pictures n×height×width×{channels}"
            raise ImageError(f"{takes}, got {described(images)}")
        if len(images) and 0 in images.shape:
            raise ImageError(f"a picture without pixels: {images.shape[1]}×{images.shape[2]}")


def is_large(images: Pictures) -> bool:
    """Whether NumPy prepares them in blocks: the graph would take a dozen bytes a value, and some
    for each pixel of a long side."""
    return math.prod(images.shape[1:]) > AT_ONCE or max(images.shape[1:3]) > LONG


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, int | np.integer) or value < 1:
        raise NetinnetError(f"{name} must be a whole number of at least 1, got {value}")


class _Native:
    """A framework's learners, one an output, for one size of picture: they resize it themselves."""

    def __init__(self, model: Model, framework: str, threads: int | None) -> None:
        # Late: frameworks bring the data's modules, which onnxruntime needs none of.
        from netinnet import frameworks

        self.model, self.framework, self.threads = model, framework, threads
        self.weights = check(model.network, model.weights, model.network.name)
        self.adapter, self.maps = frameworks.adapter(framework), class_maps.of(model.network)
        self.learners: dict[tuple[str, Shape], Learner] = {}

    def compute(self, images: Pictures, outputs: Sequence[str]) -> list[Array]:
        from netinnet.frameworks.learner import LearnerSettings
        from netinnet.optimizer import Optimizer

        size = Shape(images.shape[3], *images.shape[1:3])
        network = self.model.network
        if is_large(images):
            prepared = prepare(images, network.input, network.preprocessing)
            size = network.input
        else:
            prepared = normalise(images, network.preprocessing)
        self.learners = {key: kept for key, kept in self.learners.items() if key[1] == size}
        results = []
        for name in outputs:
            maps = self.maps if name == CLASS_MAPS else None
            if (name, size) not in self.learners:
                network = self.model.network
                network = class_maps.features(network, maps) if maps else network
                if name == FEATURES and (found := features.of(network)):
                    network = features.cut(network, found)
                settings = LearnerSettings(network, Optimizer(), size, threads=self.threads)
                weights = {tensor: self.weights[tensor] for tensor in shapes(network)}
                self.learners[name, size] = self.adapter.learner(settings, weights)
            values = self.learners[name, size].logits(prepared)
            results.append(self._class_maps(values, maps) if maps else values)
        return results

    def _class_maps(self, values: Array, maps: class_maps.ClassMaps) -> Array:
        """What is pooled, flattened in the framework's order, as maps; the linear layer applied."""
        channels, rows, columns = maps.input
        if LAYOUTS[self.framework].channels_last:
            values = values.reshape(-1, rows, columns, channels).transpose(0, 3, 1, 2)
        values = values.reshape(-1, channels, rows, columns)
        if maps.linear is None:
            return values
        weight = self.model.weights[f"{maps.linear}.weight"]
        bias = self.model.weights.get(f"{maps.linear}.bias", np.zeros(len(weight), np.float32))
        result: Array = np.einsum("nchw,kc->nkhw", values, weight) + bias[:, None, None]
        return result


def _onnxruntime(model: Model, threads: int | None) -> Engine:
    """An onnxruntime session on the CPU that reports errors only."""
    if reason := onnx_graph.too_large(model.network):
        cure = "name a framework: --framework pytorch (from Python framework='pytorch')"
        raise ModelError(f"{model.network.name}: not for onnxruntime, {reason}; {cure}")
    onnxruntime = onnx_graph.require("onnxruntime", "prediction", "onnxruntime>=1.19")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ONLY_ERRORS
    if threads is not None:
        options.intra_op_num_threads = threads

    @cache
    def session(prepared: bool) -> Any:
        graph = onnx_graph.to_onnx(model, with_features=True, prepared=prepared)
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    session(True)  # what is wrong with a model is said now
    network = model.network

    def compute(images: Pictures, outputs: Sequence[str]) -> list[Array]:
        try:
            # Pictures of the network's size need none of the graph's resizing (docs/log.md).
            prepared = images.shape[1:3] == network.input[1:] or is_large(images)
            x = prepare(images, network.input, network.preprocessing) if prepared else images
            computed: list[Array] = session(prepared).run(list(outputs), {INPUT: x})
        except Exception as error:
            # onnxruntime has no common class for its errors; memory that does not suffice is one.
            reason = str(error).splitlines()[0]
            raise FrameworkError(f"{model.network.name}: cannot be computed ({reason})") from error
        return computed

    return compute
