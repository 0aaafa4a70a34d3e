"""One thread that computes: what waits is taken together, as soon as it is free.

There is no delay to gather a batch. While one is computed, requests come and wait; when it is done,
all that wait are the next one, so batches grow with the load by themselves.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from netinnet.inference.onnx_graph import CLASS_MAPS, FEATURES, LOGITS
from netinnet.inference.predictor import Predictor
from netinnet.serve.decoding import Pictures
from netinnet.serve.limits import Limits

if TYPE_CHECKING:
    from netinnet.serve.meters import Meters

Array = npt.NDArray[np.float32]


class Outcome(NamedTuple):
    """What a model says of n pictures."""

    probabilities: Array
    """n×classes."""
    scores: npt.NDArray[np.float64] | None
    """n; None for a model without calibration."""
    maps: Array | None
    """n×classes×rows×columns, where they were asked for."""

    def part(self, of: slice) -> Outcome:
        """Of some of the pictures."""
        scores, maps = self.scores, self.maps
        return Outcome(
            self.probabilities[of],
            None if scores is None else scores[of],
            None if maps is None else maps[of],
        )

    @classmethod
    def joined(cls, outcomes: Sequence[Outcome]) -> Outcome:
        """Of all pictures of several, which have the same fields."""
        scores = [outcome.scores for outcome in outcomes if outcome.scores is not None]
        maps = [outcome.maps for outcome in outcomes if outcome.maps is not None]
        return cls(
            np.concatenate([outcome.probabilities for outcome in outcomes]),
            np.concatenate(scores) if scores else None,
            np.concatenate(maps) if maps else None,
        )


def compute(predictor: Predictor, images: Pictures, maps: bool) -> Outcome:
    """What the model says of pictures n×height×width×channels, in one pass.

    Raises NetinnetError where it cannot be computed.
    """
    calibration = predictor.calibration
    measured = FEATURES if predictor.features else LOGITS
    names = [LOGITS, *([measured] if calibration else []), *([CLASS_MAPS] if maps else [])]
    results = predictor.run(images, names, batch_size=max(1, len(images)))
    scores = calibration.scores(results[LOGITS], results[measured]) if calibration else None
    probabilities = predictor.to_probabilities(results[LOGITS])
    return Outcome(probabilities, scores, results.get(CLASS_MAPS))


@dataclass(eq=False)
class Question:
    """A request's pictures, and the future that gets an outcome for each of its arrays."""

    predictor: Predictor
    maps: bool
    future: asyncio.Future[list[Outcome]]
    arrays: Sequence[Pictures] = ()
    """Each n×height×width×channels."""
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    """Those that are computed, by the array's place."""

    @property
    def values(self) -> int:
        """Of all its pictures."""
        return sum(array.size for array in self.arrays)

    @property
    def pictures(self) -> int:
        """How many there are."""
        return sum(map(len, self.arrays))

    def finish(self) -> None:
        """Give the outcomes to who waits; only in the event loop."""
        if not self.future.done():
            self.future.set_result([self.outcomes[place] for place in range(len(self.arrays))])

    def fail(self, error: Exception) -> None:
        """Give an error instead; only in the event loop."""
        if not self.future.done():
            self.future.set_exception(error)


Piece = tuple[Question, int]
"""An array of a question, by its place."""


class Engine:
    """Computes questions in a thread of its own and gives the answers to the event loop.

    Args:
        loop: Where the questions' futures belong.
        limits: How many pictures are computed, and how many values wait, at a time.
        meters: Where sizes and times of batches are counted.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits, meters: Meters) -> None:
        self.loop, self.limits, self.meters = loop, limits, meters
        self._waiting: queue.SimpleQueue[Question | None] = queue.SimpleQueue()
        self._values, self._room = 0, threading.Condition()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def ask(self, question: Question, wait: bool = False) -> None:
        """Put a question into the queue.

        With `wait`, which is not for the event loop, it first waits until there is room for its
        values: so decoded pictures do not fill the memory.
        """
        values = question.values
        with self._room:
            while wait and self._values and self._values + values > self.limits.values_at_once:
                self._room.wait()
            self._values += values
        self._waiting.put(question)

    def now(self, question: Question) -> list[Outcome]:
        """The outcomes of a question, computed in this thread: see `App`."""
        began = time.perf_counter()
        outcomes = [compute(question.predictor, a, question.maps) for a in question.arrays]
        took = [(question.pictures, time.perf_counter() - began)]
        self.loop.call_soon(self._count, took)  # the answer need not wait for it
        return outcomes

    def close(self) -> None:
        """Compute what waits, then end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            taken = self._taken(first)
            groups: dict[object, list[Piece]] = {}
            for question in taken:
                for place, array in enumerate(question.arrays):
                    key = (id(question.predictor), array.shape[1:])
                    groups.setdefault(key, []).append((question, place))
            for pieces in groups.values():
                self._answer(pieces)
            with self._room:
                self._values -= sum(question.values for question in taken)
                self._room.notify_all()

    def _taken(self, first: Question) -> list[Question]:
        """The first question and those that wait behind it, as many as are one batch."""
        taken, pictures, values = [first], first.pictures, first.values
        most = self.limits
        while pictures < most.max_batch and values < most.max_pixels:
            try:
                question = self._waiting.get_nowait()
            except queue.Empty:
                break
            if question is None:
                self._waiting.put(None)  # the end comes after what was taken
                break
            taken.append(question)
            pictures, values = pictures + question.pictures, values + question.values
        return taken

    def _answer(self, pieces: list[Piece]) -> None:
        """Compute arrays of one size, in batches, and deliver what is complete."""
        arrays = [question.arrays[place] for question, place in pieces]
        images = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        predictor, maps = pieces[0][0].predictor, any(question.maps for question, _ in pieces)
        outcomes, took = [], []
        try:
            for start in range(0, len(images), self.limits.max_batch):
                batch = images[start : start + self.limits.max_batch]
                began = time.perf_counter()
                outcomes.append(compute(predictor, batch, maps))
                took.append((len(batch), time.perf_counter() - began))
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            self._deliver(_failed, [question for question, _ in pieces], error)
            return
        outcome = outcomes[0] if len(outcomes) == 1 else Outcome.joined(outcomes)
        done, start = [], 0
        for (question, place), array in zip(pieces, arrays, strict=True):
            part = slice(start, start + len(array))
            start = part.stop
            question.outcomes[place] = outcome.part(part)
            if len(question.outcomes) == len(question.arrays):
                done.append(question)
        self._count(took)
        self._deliver(_done, done)

    def _count(self, batches: list[tuple[int, float]]) -> None:
        """Sizes and seconds of batches."""
        for size, seconds in batches:
            self.meters.batch_pictures.observe(size)
            self.meters.batch_seconds.observe(seconds)

    def _deliver(self, function: Callable[..., None], *arguments: object) -> None:
        """Once a batch, not once a question: waking the event loop costs more than all the rest."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(function, *arguments)


def _done(questions: list[Question]) -> None:
    for question in questions:
        question.finish()


def _failed(questions: list[Question], error: Exception) -> None:
    for question in questions:
        question.fail(error)
