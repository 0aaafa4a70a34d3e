"""What an evaluation says about logits."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netinnet.errors import DataError
from netinnet.metrics import (
    MISTAKES,
    Mistake,
    Suspect,
    dead_classes,
    evaluate,
    precision,
    suspects,
)

CASES = st.tuples(st.integers(1, 40), st.integers(1, 6), st.integers(0, 2**32 - 1))


def _case(sizes: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Random logits with many ties, and labels."""
    count, classes, seed = sizes
    rng = np.random.default_rng(seed)
    logits = rng.integers(-3, 4, (count, classes)).astype(np.float32)
    return logits, rng.integers(0, classes, count)


def test_an_example_computed_by_hand() -> None:
    logits = np.log(
        np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.6, 0.2, 0.2], [0.05, 0.9, 0.05]], np.float32)
    )
    found = evaluate(logits, np.array([0, 1, 1, 0]))
    assert found.count == 4
    assert found.accuracy == 0.5
    assert found.loss == pytest.approx(-math.log(0.5 * 0.8 * 0.2 * 0.05) / 4)
    assert found.recall == (0.5, 0.5, None)
    assert found.confusion == ((1, 1, 0), (1, 1, 0), (0, 0, 0))
    assert found.mistakes == (
        Mistake(3, 0, 1, pytest.approx(0.9)),
        Mistake(2, 1, 0, pytest.approx(0.6)),
    )


def test_the_event_is_json_with_the_fields_of_the_schema() -> None:
    event = evaluate(np.array([[1.0, 2.0]], np.float32), np.array([0])).to_dict()
    assert json.loads(json.dumps(event, allow_nan=False)) == event
    assert event == {
        "loss": pytest.approx(math.log(1 + math.e)),
        "accuracy": 0.0,
        "accuracy_interval": [0.0, pytest.approx(0.7934507)],
        "recall": [0.0, None],
        "confusion": [[0, 1], [0, 0]],
        "mistakes": [
            {"index": 0, "label": 0, "predicted": 1, "probability": pytest.approx(0.7310586)}
        ],
        "suspects": [],
    }


def test_a_tie_goes_to_the_lowest_class() -> None:
    assert evaluate(np.zeros((1, 3), np.float32), np.array([0])).accuracy == 1
    assert evaluate(np.zeros((1, 3), np.float32), np.array([1])).mistakes[0].predicted == 0


@given(CASES)
def test_counts_agree_with_each_other(sizes: tuple[int, int, int]) -> None:
    logits, labels = _case(sizes)
    found = evaluate(logits, labels)
    confusion = np.array(found.confusion)
    assert confusion.sum() == found.count == len(labels)
    assert found.accuracy == np.trace(confusion) / len(labels)
    assert (confusion.sum(axis=1) == np.bincount(labels, minlength=sizes[1])).all()
    for name, recall in enumerate(found.recall):
        total = np.sum(labels == name)
        assert recall == (confusion[name, name] / total if total else None)
    assert found.loss >= 0
    wrong = len(labels) - np.trace(confusion)
    assert len(found.mistakes) == min(wrong, MISTAKES)
    probabilities = [mistake.probability for mistake in found.mistakes]
    assert probabilities == sorted(probabilities, reverse=True)
    for mistake in found.mistakes:
        assert mistake.label == labels[mistake.index] != mistake.predicted


@given(CASES, st.floats(-1000, 1000, width=16))
def test_a_constant_added_to_all_logits_changes_nothing(
    sizes: tuple[int, int, int], constant: float
) -> None:
    logits, labels = _case(sizes)
    shifted = logits + np.float32(constant)
    # Rounding may make ties of small differences; the check needs logits that survive the sum.
    if not np.array_equal(shifted.astype(np.float64) - constant, logits):
        return
    one, other = evaluate(logits, labels), evaluate(shifted, labels)
    assert one.confusion == other.confusion
    assert one.loss == pytest.approx(other.loss, abs=1e-9)


@given(CASES)
def test_the_order_of_the_pictures_does_not_matter(sizes: tuple[int, int, int]) -> None:
    logits, labels = _case(sizes)
    order = np.random.default_rng(sizes[2]).permutation(len(labels))
    one, other = evaluate(logits, labels), evaluate(logits[order], labels[order])
    assert (one.confusion, one.recall) == (other.confusion, other.recall)
    assert one.loss == pytest.approx(other.loss)


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[1e30, 0], [-1e30, 1e30], [200, -200]], np.float32)
    found = evaluate(logits, np.array([0, 1, 1]))
    assert found.loss == pytest.approx(400 / 3)
    assert found.mistakes == (Mistake(2, 1, 0, 1.0),)


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint64])
def test_labels_of_any_whole_numbers_are_the_same(kind: type[np.integer[Any]]) -> None:
    """A data set's labels are often bytes; label × classes is beyond one with 100 classes."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 1, (300, 100)).astype(np.float32), rng.integers(0, 100, 300)
    assert evaluate(logits, labels.astype(kind)) == evaluate(logits, labels)
    with pytest.raises(DataError, match=r"^labels should be whole numbers, got float64$"):
        evaluate(logits, labels.astype(np.float64))


def test_precision() -> None:
    assert precision([[8, 2, 0], [0, 10, 0], [0, 0, 0]]) == [1.0, pytest.approx(10 / 12), None]


def test_suspected_labels_by_hand() -> None:
    """A picture is suspected where it is as surely of another class as that class's own are."""
    probabilities = [[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.4, 0.6], [0.05, 0.95], [0.45, 0.55]]
    labels = np.array([0, 0, 1, 1, 0, 0])
    logits = np.log(np.array(probabilities, np.float32))
    # The two of class 1 have 0.7 on the average: 0.95 is enough, 0.55 is not.
    assert suspects(logits, labels) == (Suspect(4, 0, 1, pytest.approx(0.05)),)
    assert [s.index for s in suspects(logits, labels, trained_on=True)] == [4, 5]
    assert evaluate(logits, labels).suspects == suspects(logits, labels)


@given(CASES)
def test_suspects_are_mistakes_the_least_believed_first(case: tuple[int, int, int]) -> None:
    logits, labels = _case(case)
    own = logits[np.arange(len(labels)), labels]
    found = suspects(logits, labels)
    believed = [suspect.probability for suspect in found]
    assert believed == sorted(believed)
    assert all(logits[s.index, s.rather] > own[s.index] for s in found)
    wrong = {s.index for s in suspects(logits, labels, trained_on=True)}
    assert {suspect.index for suspect in found} <= wrong
    assert wrong == set(np.flatnonzero(logits.max(1) > own))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_diverged_run_still_gives_json(bad: float) -> None:
    event = evaluate(np.full((3, 2), bad, np.float32), np.array([0, 1, 1])).to_dict()
    assert event["loss"] is None
    assert event["mistakes"][0]["probability"] is None
    json.dumps(event, allow_nan=False)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((0, 3)), np.zeros(0, np.int64), "no pictures to evaluate"),
        (np.zeros((2, 3)), np.array([0, 3]), r"labels should be in 0…2, got 0…3"),
        (np.zeros((2, 3)), np.array([-1, 2]), r"got -1…2"),
        (np.zeros((2, 3)), np.array([0]), r"got \(2, 3\) and \(1,\)"),
    ],
)
def test_what_cannot_be_evaluated(logits: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate(logits.astype(np.float32), labels)


def test_dead_classes_are_exactly_zero_everywhere() -> None:
    logits = np.array([[0, 1, 0, -0.0], [0, 0, 1e-30, 0]], np.float32)
    assert dead_classes(logits) == (0, 3)
    assert dead_classes(np.full((2, 2), np.nan, np.float32)) == ()
    assert dead_classes(np.zeros((0, 4), np.float32)) == ()
