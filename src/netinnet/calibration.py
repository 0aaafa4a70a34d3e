"""What a model's numbers are worth: probabilities that hold, and a score that says "none of these".

Temperature scaling (Guo et al. 2017) divides the logits by one number, so that of the pictures with
a probability of 80 %, 80 % are right. The score says how much a picture is like those the model
knows: the energy (Liu et al. 2020) less the distance of its features from the nearest class
(Lee et al. 2018), measured in standard deviations. Everything here is NumPy.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from netinnet.errors import ModelError, NetinnetError
from netinnet.metrics import softmax

Array = npt.NDArray[np.float32]
Exact = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

REFUSE = 0.01
"""The share of good pictures that may be refused, if nothing else is asked for."""
SCORE = "energy - distance"
"""How the score of this version is made; a file that has another one is refused."""
BINS = 15
_DIFFERENCES = 250_000
"""So many are computed at a time, in 2 MB: what a core's cache holds."""
LOWEST, HIGHEST = 0.05, 20.0
"""Between these a temperature is looked for (`is_at_limit`)."""
HALF = 65_504.0
"""The largest number of float16."""
_CODES = {"float32": "<f4", "float16": "<f2"}
WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Factors on the energy's weight that counter-examples choose from."""


@dataclass(frozen=True)
class Bin:
    """Pictures whose most probable class has about the same probability."""

    count: int
    confidence: float
    """Mean probability of the most probable class."""
    accuracy: float


@dataclass(frozen=True)
class CounterExamples:
    """How well pictures of other things are told from those of the validation split."""

    pictures: int
    refused: float
    """Share that is below the threshold."""
    auroc: float
    """How often a good picture has a higher score than a counter-example."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """What was found on pictures that the model did not learn.

    The score of a picture is `energy * logsumexp(logits / temperature) - distance`, where the
    distance is that of `features @ whitening` from the nearest row of `means`.
    """

    temperature: float
    """The logits are divided by it in front of the softmax."""
    energy: float
    """The energy's weight in the score."""
    means: Array
    """Whitened features of the mean of each class, classes × features."""
    whitening: Array
    """Turns features into standard deviations within a class, features × features."""
    refuse: float
    """The share of good pictures that is promised to be refused at most."""
    threshold: float | None
    """Below this score a picture is none of these; None where no picture is refused, because there
    were too few pictures to keep the promise."""
    pictures: int
    """How many pictures of the validation split this was found on."""
    ece: tuple[float, float]
    """Expected calibration error on them, 0…1, before and after scaling."""
    counter_examples: CounterExamples | None = None

    def scores(self, logits: Array, features: Array) -> Exact:
        """The score of each row of logits (n×classes) and features (n×features)."""
        free = self.energy * energy(logits, self.temperature)
        return free - distance(features, *self._in_float64)

    @cached_property
    def _in_float64(self) -> tuple[Exact, Exact]:
        """Means and whitening, as `distance` would make them anew for each picture."""
        return self.means.astype(np.float64), self.whitening.astype(np.float64)

    def refuses(self, scores: Exact) -> npt.NDArray[np.bool_]:
        """Which scores are below the threshold."""
        lowest = -np.inf if self.threshold is None else self.threshold
        return np.asarray(scores) < lowest

    def to_dict(self) -> dict[str, Any]:
        """All but the arrays, as plain data."""
        names = [field.name for field in fields(self) if field.name not in ("means", "whitening")]
        values = {name: getattr(self, name) for name in names}
        values |= {"score": SCORE, "ece": list(self.ece)}
        more = self.counter_examples
        return {**values, "counter_examples": more and vars(more)}

    def to_json(self, halved: bool = False) -> str:
        """For a model's metadata: the arrays are base64 of little-endian float32.

        Or of float16, where `halved` and their values allow it; `numbers` then says so.
        """
        arrays = {name: getattr(self, name) for name in ("means", "whitening")}
        shape: dict[str, Any] = {"shape": list(self.means.shape)}
        if halved and all(np.abs(array).max() < HALF for array in arrays.values()):
            shape["numbers"] = "float16"
        code = _CODES[shape.get("numbers", "float32")]
        packed = {name: _packed(array, code) for name, array in arrays.items()}
        return json.dumps({**self.to_dict(), **shape, **packed}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, where: str) -> Calibration:
        """The inverse of `to_json`. Raises ModelError where it is damaged."""
        try:
            values = json.loads(text)
            if values.pop("score") != SCORE:
                raise ModelError("its score was computed by another version of netinnet")
            classes, size = values.pop("shape")
            code = _CODES[values.pop("numbers", "float32")]
            values["means"] = _unpacked(values["means"], (classes, size), code)
            values["whitening"] = _unpacked(values["whitening"], (size, size), code)
            values["ece"] = (float(values["ece"][0]), float(values["ece"][1]))
            if (more := values.get("counter_examples")) is not None:
                values["counter_examples"] = CounterExamples(**more)
            result = cls(**values)
            numbers = [result.temperature, result.energy, result.refuse, result.threshold or 0.0]
            if not (np.isfinite(numbers).all() and result.temperature > 0 and classes > 0):
                raise ModelError("its numbers are out of range")
        except NetinnetError as error:
            raise ModelError(f"{where}: its calibration is damaged ({error})") from error
        except Exception as error:  # whatever is made of damaged JSON
            raise ModelError(f"{where}: its calibration is damaged ({error})") from error
        return result


def energy(logits: Array, temperature: float) -> Exact:
    """log Σ exp(logits / temperature) of each row."""
    scaled = logits.astype(np.float64) / temperature
    highest = scaled.max(axis=1)
    result: Exact = highest + np.log(np.exp(scaled - highest[:, None]).sum(axis=1))
    return result


def is_at_limit(temperature: float) -> bool:
    """Whether the best temperature may lie beyond those that are looked at.

    So it is where the logits say next to nothing of the labels, or where there are few pictures.
    """
    return not LOWEST < temperature < HIGHEST


def fit_temperature(logits: Array, labels: Labels) -> float:
    """The temperature under which the labels are most likely, of those from 0.05 to 20.

    As in Platt's scaling (1999) the targets are not quite 1, so that pictures which are all right
    do not make the model infinitely sure.
    """
    count, classes = logits.shape
    exact = logits.astype(np.float64)
    true = exact[np.arange(count), labels]
    others = (exact.sum(axis=1) - true) / max(1, classes - 1)
    target = ((count + 1) * true + others) / (count + 2)

    def is_too_hot(temperature: float) -> bool:
        """The likelihood has one peak in 1/temperature, where the targets' mean logit is met."""
        expected = (softmax(logits / np.float32(temperature)) * exact).sum(axis=1)
        return bool(expected.mean() < target.mean())

    low, high = LOWEST, HIGHEST
    for _ in range(40):
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if is_too_hot(middle) else (middle, high)
    return round(high, 4)


def reliability(logits: Array, labels: Labels, temperature: float = 1.0) -> list[Bin]:
    """Confidence and accuracy in 15 ranges of the highest probability, empty ones left out."""
    probabilities = softmax(logits / np.float32(temperature)).astype(np.float64)
    confidence = probabilities.max(axis=1)
    right = logits.argmax(axis=1) == labels
    places = np.minimum((confidence * BINS).astype(int), BINS - 1)
    members = [places == i for i in range(BINS)]
    return [
        Bin(int(m.sum()), float(confidence[m].mean()), float(right[m].mean()))
        for m in members
        if m.any()
    ]


def calibration_error(bins: list[Bin]) -> float:
    """Expected calibration error, 0…1: the mean of |confidence - accuracy| over the pictures."""
    total = sum(b.count for b in bins)
    return sum(b.count * abs(b.confidence - b.accuracy) for b in bins) / total


def fit_threshold(scores: Exact, refuse: float) -> float | None:
    """The score below which at most a share `refuse` of pictures like these is refused.

    It is one of the scores (split conformal prediction): a new picture like these is below it with
    a probability of at most `refuse`. None where there are too few of them for any.
    """
    rank = int(np.floor(refuse * (len(scores) + 1) + 1e-9))
    return float(np.sort(scores)[rank - 1]) if rank else None


def auroc(known: Exact, unknown: Exact) -> float:
    """How often a score of `known` is above one of `unknown`; equal ones count half."""
    ordered = np.sort(unknown)
    below = np.searchsorted(ordered, known, "left") + np.searchsorted(ordered, known, "right")
    return float(below.mean() / 2 / len(unknown))


def fit_distances(features: Array, labels: Labels) -> tuple[Array, Array]:
    """`means` and `whitening` of a calibration, from pictures of the training set.

    The covariance within the classes is one for all of them. To its diagonal is added the more, the
    fewer pictures there are for its size.
    """
    exact = features.astype(np.float64)
    present, places = np.unique(labels, return_inverse=True)
    means = np.stack([exact[places == i].mean(axis=0) for i in range(len(present))])
    deviations = exact - means[places]
    covariance = deviations.T @ deviations / len(exact)
    size = len(covariance)
    variance = max(float(np.trace(covariance)) / size, 1e-12)
    values, vectors = np.linalg.eigh(covariance + variance * size / len(exact) * np.eye(size))
    whitening = (vectors / np.sqrt(values)).astype(np.float32)
    return (means @ whitening).astype(np.float32), whitening


def distance(features: Array, means: Array | Exact, whitening: Array | Exact) -> Exact:
    """Of each row of features from the nearest mean, in standard deviations within a class."""
    # In float64, the difference is small; so many rows at a time that the memory stays so too.
    whitened = features.astype(np.float64) @ whitening
    exact = means.astype(np.float64, copy=False)
    rows = max(1, _DIFFERENCES // exact.size)
    result = np.empty(len(whitened))
    for start in range(0, len(whitened), rows):
        part = slice(start, start + rows)
        difference = whitened[part, None] - exact
        np.square(difference, out=difference)
        difference.sum(axis=2).min(axis=1, out=result[part])
    return np.sqrt(result, out=result)


def fit(
    distances: tuple[Array, Array],
    logits: Array,
    features: Array,
    labels: Labels,
    refuse: float = REFUSE,
    counter_examples: tuple[Array, Array] | None = None,
) -> Calibration:
    """The calibration of a model, from pictures that it did not learn.

    Args:
        distances: `fit_distances` of pictures that it did learn.
        logits: Of the pictures, n×classes.
        features: Of the pictures, n×features.
        labels: Their classes.
        refuse: The share of such pictures that may be refused, above 0 and below 1.
        counter_examples: Logits and features of pictures of other things: they choose the weight of
            the energy. Without them it weighs as much as the distance.

    Raises:
        NetinnetError: for a share that can't be.

    Example:
        fit(fit_distances(f, y), logits, features, labels).threshold
    """
    check_share(refuse)
    temperature = fit_temperature(logits, labels)
    known = energy(logits, temperature), distance(features, *distances)
    even = float(known[1].std() / (known[0].std() or 1.0))
    factor = 1.0
    if counter_examples is not None:
        unknown = (
            energy(counter_examples[0], temperature),
            distance(counter_examples[1], *distances),
        )
        told = {w: auroc(*(w * even * e - d for e, d in (known, unknown))) for w in WEIGHTS}
        # Of equal ones the one nearest to an even weight.
        factor = max(WEIGHTS, key=lambda w: (round(told[w], 4), -abs(w - 1)))
    before, after = (calibration_error(reliability(logits, labels, t)) for t in (1.0, temperature))
    result = Calibration(
        temperature,
        float(f"{even * factor:.6g}"),
        *distances,
        refuse=refuse,
        threshold=None,
        pictures=len(labels),
        ece=(round(before, 6), round(after, 6)),
    )
    scores = result.scores(logits, features)
    threshold = fit_threshold(scores, refuse)
    result = replace(result, threshold=threshold and float(f"{threshold:.9g}"))
    if counter_examples is None:
        return result
    others = result.scores(*counter_examples)
    share = float(result.refuses(others).mean())
    found = CounterExamples(len(others), round(share, 6), round(auroc(scores, others), 6))
    return replace(result, counter_examples=found)


def check_share(refuse: float) -> None:
    """Raise NetinnetError for a share of refused pictures that can't be."""
    if not 0 < refuse < 1:
        raise NetinnetError(f"refuse must be above 0 and below 1, as 0.01, got {refuse:g}")


def _packed(array: Array, code: str) -> str:
    return base64.b64encode(array.astype(code).tobytes()).decode()


def _unpacked(text: str, shape: tuple[int, int], code: str) -> Array:
    array = np.frombuffer(base64.b64decode(text, validate=True), code).reshape(shape)
    if not np.isfinite(array).all():
        raise ModelError("its numbers are not finite")
    return array.astype(np.float32)
