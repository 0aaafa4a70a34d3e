"""The loop of `train_ch6`, the same for every framework: epochs, figures, curve, dead logits."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from netinnet import units
from netinnet.book._common import EPOCHS, EXAMPLES, limit
from netinnet.data.fashion_mnist import CLASSES
from netinnet.errors import DataError, Diverged, NetinnetError
from netinnet.metrics import Labels, Logits, cross_entropy
from netinnet.reports import live
from netinnet.training.events import Evaluation, Progress

Answer = tuple[Logits, Labels]
"""The logits of a batch, and its labels."""
Step = Callable[[Any, Any], Answer]
"""Takes a batch's images and labels as the iterator gives them; returns logits (n×k) and labels
(n) in NumPy. One that trains returns the logits from before the weights were changed."""

LONG_SECONDS = 120.0
"""A training that takes longer says so at its second step."""


class Tally:
    """Sums over the batches of an epoch."""

    def __init__(self) -> None:
        self.seen = self.correct = 0
        self.loss_sum = self.seconds = 0.0
        self.alive: npt.NDArray[np.bool_] = np.zeros(1, np.bool_)

    def add(self, logits: Logits, labels: Labels) -> tuple[float, float]:
        """Count a batch in; return its mean loss and its accuracy."""
        losses = cross_entropy(logits, labels)
        correct = int((logits.argmax(1) == labels).sum())
        self.alive = self.alive | (logits != 0).any(axis=0)
        self.seen += len(labels)
        self.loss_sum += float(losses.sum())
        self.correct += correct
        return float(losses.mean()), correct / len(labels)

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats."""
        return self.loss_sum / self.seen

    @property
    def accuracy(self) -> float:
        return self.correct / self.seen

    @property
    def figures(self) -> dict[str, float]:
        return {"loss": self.loss, "accuracy": self.accuracy}


def check(num_epochs: int, lr: float) -> None:
    """Raise NetinnetError for what can't train, before anything is built."""
    if not isinstance(num_epochs, int | np.integer) or num_epochs < 1:
        raise NetinnetError(f"num_epochs is {num_epochs!r}; a whole number from 1 would be right")
    if not (isinstance(lr, int | float | np.floating) and math.isfinite(lr) and lr > 0):
        raise NetinnetError(f"lr is {lr!r}; a learning rate above 0 would be right, such as 0.1")
    limit(EPOCHS)


def train(
    step: Step,
    predict: Step,
    train_iter: Collection[Any],
    test_iter: Collection[Any],
    num_epochs: int,
    lr: float,
    device: str,
) -> None:
    """Train for `num_epochs`, or the fewer that the environment allows; draw and print.

    In a notebook the learning curve is drawn while the training goes on, on a terminal there is a
    line an epoch. The last line has the loss, the accuracies and the training examples a second,
    drawing and evaluation not counted. Raises Diverged where the numbers are no longer finite.
    """
    num_epochs = min(num_epochs, limit(EPOCHS) or num_epochs)
    show = live.listener()
    in_notebook = isinstance(show, live.NotebookCurve)
    steps = len(train_iter)
    seconds, seen = 0.0, 0
    dead: set[int] = set()

    for epoch in range(1, num_epochs + 1):
        training, test = Tally(), Tally()
        for i, loss, accuracy, took in _pass(step, train_iter, training):
            if not math.isfinite(loss):
                raise Diverged(
                    f"the training diverged at step {i} of epoch {epoch}: its numbers are no "
                    f"longer finite; a smaller lr would be right"
                )
            if (epoch, i) == (1, 2):  # the first step is partly the framework's warming up
                _estimate(took * (steps * num_epochs - 2))
            show(
                Progress(
                    step=(epoch - 1) * steps + i,
                    epoch=epoch - 1 + i / steps,
                    loss=loss,
                    accuracy=accuracy,
                    images_per_second=training.seen / max(training.seconds, 1e-9),
                    learning_rate=lr,
                    seconds=seconds + training.seconds,
                    seconds_of_step=took,
                )
            )

        for _ in _pass(predict, test_iter, test):
            pass
        seconds, seen = seconds + training.seconds, seen + training.seen
        show(Evaluation(epoch, epoch * steps, seconds, training.figures, test.figures))
        figures = (
            f"loss {training.loss:.3f}, train acc {training.accuracy:.3f}, "
            f"test acc {test.accuracy:.3f}"
        )
        if not in_notebook:
            print(f"epoch {epoch}/{num_epochs}: {figures}", flush=True)
        now_dead = {int(k) for k in np.flatnonzero(~training.alive)}
        _warn(sorted(now_dead - dead), epoch)
        dead |= now_dead
    print(f"{figures}, {seen / seconds:.1f} examples/sec on {device}", flush=True)


def _pass(
    step: Step, batches: Collection[Any], tally: Tally
) -> Iterator[tuple[int, float, float, float]]:
    """Go through all batches once: each one's number from 1, mean loss, accuracy and seconds."""
    began = time.perf_counter()
    for i, (images, labels) in enumerate(batches, 1):
        loss, accuracy = tally.add(*step(images, labels))
        took = time.perf_counter() - began
        tally.seconds += took
        yield i, loss, accuracy, took
        began = time.perf_counter()
    if not tally.seen:
        raise DataError("an iterator gave no batch; one at least would be right")


def _estimate(seconds: float) -> None:
    if seconds > LONG_SECONDS:
        time_needed = f"this will take about {units.estimate(seconds)} here"
        print(f"{time_needed}; {EPOCHS} and {EXAMPLES} shorten it", flush=True)


def _warn(dead: list[int], epoch: int) -> None:
    """Say which logits were exactly 0 for all pictures of an epoch, and what to do about it."""
    for k in dead:
        name = f"{k} ({CLASSES[k]})" if k < len(CLASSES) else str(k)
        print(
            f"warning: class {name} is dead: its logit was 0 for every picture of epoch {epoch}, "
            f"so it learns nothing; leave out the last ReLU, or start again with another seed",
            file=sys.stderr,
            flush=True,
        )
