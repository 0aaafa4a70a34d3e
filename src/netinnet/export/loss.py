"""What a smaller precision costs, measured: never promised."""

from __future__ import annotations

import numpy as np

from netinnet.data.loader import logits_of
from netinnet.export.at_hand import AtHand
from netinnet.export.check import Array, Engine, relative
from netinnet.export.options import Loss


def measure(before: Engine, after: Engine, pictures: AtHand) -> Loss:
    """The loss of an export against its float32 form.

    Accuracy on the test pictures where there are labels; else how often the most probable class is
    the same on the calibration pictures.

    Args:
        before: Logits in float32.
        after: Logits of the export.
        pictures: What they are compared on.
    """
    if pictures.test is None:
        want, got = (np.concatenate([by(p) for p in pictures.some]) for by in (before, after))
        return Loss(len(want), pictures.some_words, _same(got, want), relative(got, want))
    labels = pictures.test.labels
    want, got = (logits_of(pictures.test, by) for by in (before, after))
    correct = [float((logits.argmax(axis=1) == labels).mean()) for logits in (want, got)]
    changed = (_same(got, want), relative(got, want))
    return Loss(len(labels), pictures.test_words, *changed, (correct[0], correct[1]))


def _same(got: Array, want: Array) -> float:
    return float((got.argmax(axis=1) == want.argmax(axis=1)).mean())
