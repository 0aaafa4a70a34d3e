"""How good are these logits? Accuracy, loss, recall, confusion and the worst mistakes, in NumPy."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from netinnet.errors import DataError

Logits = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Exact = npt.NDArray[np.float64]
MISTAKES = 25
"""How many mistakes, and how many suspected labels, an evaluation keeps."""


@dataclass(frozen=True)
class Mistake:
    """A picture taken for something else: its index in the split, its label and the prediction
    (class numbers), and the probability that the network gave the prediction."""

    index: int
    label: int
    predicted: int
    probability: float


@dataclass(frozen=True)
class Suspect:
    """A picture whose label is perhaps wrong: its index, its label and the class that it rather is
    (class numbers), and the probability that the network gave the label."""

    index: int
    label: int
    rather: int
    probability: float


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` finds. `confusion[t][p]` counts pictures of class t taken for class p.

    `loss` is the mean softmax cross-entropy in nats. `recall` is the share of each class that was
    found, None for a class without a picture. `mistakes` are the most confident ones, first first;
    `suspects` the first of those that `suspects` finds.
    """

    count: int
    accuracy: float
    loss: float
    recall: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...]
    mistakes: tuple[Mistake, ...]
    suspects: tuple[Suspect, ...] = ()

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy: what so many pictures leave open."""
        return wilson(self.accuracy, self.count)

    def to_dict(self) -> dict[str, Any]:
        """The fields of the `evaluation` event, ready for JSON.

        JSON has no NaN and no infinity: a number that is not finite (a run that diverged) is None.
        """
        return {
            "loss": _finite(self.loss),
            "accuracy": self.accuracy,
            "accuracy_interval": list(self.accuracy_interval),
            "recall": list(self.recall),
            "confusion": [list(row) for row in self.confusion],
            "mistakes": [
                {**dataclasses.asdict(mistake), "probability": _finite(mistake.probability)}
                for mistake in self.mistakes
            ],
            "suspects": [dataclasses.asdict(suspect) for suspect in self.suspects],
        }


def evaluate(logits: Logits, labels: Labels) -> Evaluation:
    """Compare logits (n×k) with labels (n, whole numbers in 0…k-1).

    Of equal largest logits the lowest class counts as the prediction. Raises DataError where there
    is nothing to evaluate or a label is no class.
    """
    _check(logits, labels)
    labels = labels.astype(np.int64)  # of uint8, label × classes is beyond it
    count, classes = logits.shape
    predicted = np.argmax(logits, axis=1)
    confusion = np.bincount(labels * classes + predicted, minlength=classes * classes)
    confusion = confusion.reshape(classes, classes)
    log_probabilities = _log_softmax(logits)
    return Evaluation(
        count=count,
        accuracy=float(np.trace(confusion) / count),
        loss=float(-log_probabilities[np.arange(count), labels].mean()),
        recall=tuple(
            float(hits / total) if total else None
            for hits, total in zip(np.diagonal(confusion), confusion.sum(axis=1), strict=True)
        ),
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
        mistakes=_worst(log_probabilities, labels, predicted),
        suspects=suspects(logits, labels)[:MISTAKES],
    )


def precision(confusion: Sequence[Sequence[int]]) -> list[float | None]:
    """The share of what was taken for a class that is of it; None where nothing was.

    Example: `precision([[8, 2], [0, 10]])` is `[1.0, 0.8333333333333334]`.
    """
    matrix = np.asarray(confusion)
    taken = zip(np.diagonal(matrix), matrix.sum(axis=0), strict=True)
    return [float(hits / total) if total else None for hits, total in taken]


def suspects(logits: Logits, labels: Labels, trained_on: bool = False) -> tuple[Suspect, ...]:
    """Pictures whose label is perhaps wrong, the one that the network believes least first.

    Suspected is a picture that is as probably of another class as the pictures of that class are on
    the average, and more so than of its own (confident learning; Northcutt, Jiang, Chuang 2021).
    Of pictures that it was `trained_on`, on which that average says little, it is every one that it
    takes for another class nevertheless.

    Example: `suspects(logits, labels)[0].index` is the picture to look at first.
    """
    probabilities = np.exp(_log_softmax(logits))
    enough = np.full(logits.shape[1], 0.0 if trained_on else np.inf)
    for label in () if trained_on else np.unique(labels):
        enough[label] = probabilities[labels == label, label].mean()
    confident = np.where(probabilities >= enough, probabilities, 0.0)
    own = probabilities[np.arange(len(labels)), labels]
    found = np.flatnonzero(confident.max(axis=1) > own)
    losses = cross_entropy(logits, labels)  # probabilities near 0 are all alike
    found = found[np.argsort(-losses[found], kind="stable")]
    rather = confident.argmax(axis=1)
    return tuple(Suspect(int(i), int(labels[i]), int(rather[i]), float(own[i])) for i in found)


def wilson(share: float, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval (1927) of a share of `total` (at least 1) trials.

    Right for few of them and for shares near 0 or 1 too.
    """
    z = statistics.NormalDist().inv_cdf(0.975)
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * math.sqrt(share * (1 - share) / total + (z / total / 2) ** 2)
    return max(0.0, centre - half), min(1.0, centre + half)


def cross_entropy(logits: Logits, labels: Labels) -> Exact:
    """Softmax cross-entropy of each row (n×k) with its label, in nats, float64."""
    losses: Exact = -_log_softmax(logits)[np.arange(len(labels)), labels]
    return losses


def softmax(logits: Logits) -> Logits:
    """Probabilities (float32) of each row (n×k); every row sums to 1."""
    return np.exp(_log_softmax(logits)).astype(np.float32)


def dead_classes(logits: Logits) -> tuple[int, ...]:
    """Classes whose logit is exactly 0 in every row (n×k): behind a ReLU they can't learn any more.

    Without a row there is none.
    """
    if not len(logits):
        return ()
    return tuple(int(i) for i in np.flatnonzero(~logits.any(axis=0)))


def _check(logits: Logits, labels: Labels) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise DataError(
            f"logits should be n×classes with n labels, got {logits.shape} and {labels.shape}"
        )
    if not len(labels):
        raise DataError("there are no pictures to evaluate")
    if labels.dtype.kind not in "iu":
        raise DataError(f"labels should be whole numbers, got {labels.dtype}")
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise DataError(
            f"labels should be in 0…{logits.shape[1] - 1}, got {labels.min()}…{labels.max()}"
        )


def _log_softmax(logits: Logits) -> Exact:
    """Logarithms of the probabilities, in float64; the largest logit is taken out first."""
    with np.errstate(invalid="ignore"):  # inf - inf: a diverged run has NaN losses, no warnings
        shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: Exact = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _worst(log_probabilities: Exact, labels: Labels, predicted: Labels) -> tuple[Mistake, ...]:
    """The wrong predictions with the highest probability; equal ones in the order of the split."""
    wrong = np.flatnonzero(predicted != labels)
    confidence = log_probabilities[wrong, predicted[wrong]]
    order = np.argsort(-confidence, kind="stable")[:MISTAKES]
    return tuple(
        Mistake(int(i), int(labels[i]), int(predicted[i]), float(np.exp(confidence[j])))
        for j, i in zip(order, wrong[order], strict=True)
    )


def _finite(number: float) -> float | None:
    return number if np.isfinite(number) else None
