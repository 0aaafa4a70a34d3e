"""Calibrating a model on pictures: what it says of them, and what follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from netinnet import calibration
from netinnet.calibration import REFUSE, Array, Bin, Calibration
from netinnet.data import pictures
from netinnet.data.loader import logits_of
from netinnet.data.source import Pictures, Progress, Source, View, silent
from netinnet.errors import ModelError, NetinnetError
from netinnet.inference.predictor import Predictor

MOST = 6_000
"""Training pictures that the distances are taken from, evenly spread over the set."""


@dataclass(frozen=True)
class Calibrated:
    """A calibration, and what it was found by."""

    calibration: Calibration
    before: Sequence[Bin] = ()
    """Confidence and accuracy of the validation pictures before scaling, and after it."""
    after: Sequence[Bin] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without the calibration's arrays."""
        bins = {"before": self.before, "after": self.after}
        diagram = {name: [vars(b) for b in found] for name, found in bins.items()}
        return {**self.calibration.to_dict(), "reliability": diagram}


def calibrate(
    predictor: Predictor,
    train: Source,
    validation: Source,
    refuse: float = REFUSE,
    counter_examples: Sequence[Pictures] = (),
) -> Calibrated:
    """The calibration of a model.

    Args:
        predictor: The model, with its engine.
        train: Pictures that it learnt: the distances are measured from their classes' means.
        validation: Pictures that it did not learn: they decide temperature and threshold.
        refuse: The share of such pictures that may be refused.
        counter_examples: Pictures of other things, uint8 h×w×channels of the network.

    Raises:
        ModelError: Where its numbers are not finite.
        NetinnetError: For a share that can't be, or no picture in a split.

    Example: `calibrate(Predictor(model), data.train, data.validation)`
    """
    calibration.check_share(refuse)
    for name, source in {"training": train, "validation": validation}.items():
        if not len(source):
            raise NetinnetError(f"there are no {name} pictures to calibrate with")
    others = _of_pictures(predictor, counter_examples) if counter_examples else None
    near, labels = distances(predictor, train), validation.labels
    logits, features = evidence(predictor, validation)
    found = calibration.fit(near, logits, features, labels, refuse, others)
    temperatures = (1.0, found.temperature)
    return Calibrated(found, *(calibration.reliability(logits, labels, t) for t in temperatures))


def distances(predictor: Predictor, train: Source) -> tuple[Array, Array]:
    """Means and whitening of what a model learnt, from some of its training pictures."""
    # At random, by a fixed seed: labels that come in turns would leave classes out of every n-th.
    drawn = np.random.default_rng(0).permutation(len(train))[:MOST]
    some = View(train, np.sort(drawn))
    return calibration.fit_distances(evidence(predictor, some)[1], some.labels)


def evidence(predictor: Predictor, source: Source) -> tuple[Array, Array]:
    """Logits and features of all pictures of a source: see `Predictor.evidence`."""
    both = logits_of(source, lambda batch: np.hstack(predictor.evidence(batch)))
    if not np.isfinite(both).all():
        raise ModelError(f"{predictor.network.name}: the logits of a picture are not finite")
    classes = len(predictor.network.classes)
    return both[:, :classes], both[:, classes:]


def _of_pictures(predictor: Predictor, images: Sequence[Pictures]) -> tuple[Array, Array]:
    found = [predictor.evidence(image[None]) for image in images]
    logits, features = (np.concatenate(part) for part in zip(*found, strict=True))
    return logits, features


def read_counter_examples(folder: Path, channels: int, note: Progress = silent) -> list[Pictures]:
    """The pictures in a folder and its folders; files that are none are noted.

    Raises ImageError for a picture that can't be read.
    """
    paths = pictures.files([folder], lambda text: note(text, 0, None))
    found = [pictures.as_channels(pictures.read(path), channels) for path in paths]
    if not found:
        raise NetinnetError(f"no picture in {folder}; {pictures.EXPECTED}")
    return found
