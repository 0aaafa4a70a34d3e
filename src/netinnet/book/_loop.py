"""The loop of `train_ch6` and `Trainer.fit`, the same for every framework: epochs, figures, curve,
dead logits.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from netinnet import units
from netinnet.book._common import EPOCHS, EXAMPLES, Loader, check_whole, limit
from netinnet.data.fashion_mnist import CLASSES
from netinnet.errors import DataError, Diverged, NetinnetError
from netinnet.metrics import Labels, Logits, cross_entropy
from netinnet.reports import live
from netinnet.training.events import Evaluation, Progress
from netinnet.units import times

Answer = tuple[Logits, Labels, float | None]
"""Of a batch: its logits (n×k) and labels (n), and its mean loss where the network has a loss of
its own; None is the cross-entropy of the logits."""
Step = Callable[..., Answer]
"""Takes the parts of a batch as the iterator gives them, the labels last, and answers in NumPy. One
that trains returns the logits from before the weights were changed."""

LONG_SECONDS = 120.0
"""A training that takes longer says so at its second step."""


class Tally:
    """Sums over the batches of an epoch."""

    def __init__(self) -> None:
        self.seen = self.correct = 0
        self.loss_sum = self.seconds = 0.0
        self.alive: npt.NDArray[np.bool_] = np.zeros(1, np.bool_)

    def add(self, logits: Logits, labels: Labels, loss: float | None) -> tuple[float, float]:
        """Count a batch in; return its mean loss and its accuracy."""
        if logits.ndim != 2 or labels.shape != logits.shape[:1]:
            raise DataError(
                f"the network's output is {times(logits.shape)} for labels of {times(labels.shape)}"
                "; n×classes and n are needed"
            )
        if loss is None:
            loss = float(cross_entropy(logits, labels).mean())
        correct = int((logits.argmax(1) == labels).sum())
        self.alive = self.alive | (logits != 0).any(axis=0)
        self.seen += len(labels)
        self.loss_sum += loss * len(labels)
        self.correct += correct
        return loss, correct / len(labels)

    @property
    def loss(self) -> float:
        """The mean, in nats where it is the cross-entropy."""
        return self.loss_sum / self.seen

    @property
    def accuracy(self) -> float:
        return self.correct / self.seen

    @property
    def figures(self) -> dict[str, float]:
        return {"loss": self.loss, "accuracy": self.accuracy}


def check(num_epochs: int, lr: float) -> None:
    """Raise NetinnetError for what can't train, before anything is built."""
    check_whole("num_epochs", num_epochs)
    check_rate(lr)
    limit(EPOCHS)


def check_rate(lr: object) -> None:
    """Raise NetinnetError where the learning rate is no finite number above 0."""
    if not (isinstance(lr, int | float | np.floating) and math.isfinite(lr) and lr > 0):
        raise NetinnetError(f"lr must be a learning rate above 0, as in 0.1, got {lr!r}")


def train(
    step: Step,
    predict: Step,
    train_iter: Loader,
    held_out: Loader | None,
    num_epochs: int,
    lr: float,
    device: str,
    split: Literal["test", "validation"] = "test",
    classes: Sequence[str] = CLASSES,
) -> None:
    """Train for `num_epochs`, or the fewer that the environment allows; draw and print.

    In a notebook the learning curve is drawn while the training goes on, on a terminal there is a
    line an epoch. The last line has the loss, the accuracies and the training examples a second,
    drawing and evaluation not counted. `held_out` is evaluated after each epoch; `split` says what
    it is called, and a validation's loss is printed too. `classes` are the names of the first
    classes. Raises Diverged where the numbers are no longer finite.
    """
    num_epochs = min(num_epochs, limit(EPOCHS) or num_epochs)
    show = live.listener()
    in_notebook = isinstance(show, live.NotebookCurve)
    steps = len(train_iter)
    seconds, seen = 0.0, 0
    dead: set[int] = set()

    for epoch in range(1, num_epochs + 1):
        training, evaluation = Tally(), Tally()
        for i, loss, accuracy, took in _pass(step, train_iter, training):
            if not math.isfinite(loss):
                raise Diverged(
                    f"the training diverged at step {i} of epoch {epoch}: its numbers are no "
                    f"longer finite; use a smaller lr"
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

        figures = f"loss {training.loss:.3f}, train acc {training.accuracy:.3f}"
        evaluated = {}
        if held_out is not None:
            for _ in _pass(predict, held_out, evaluation):
                pass
            evaluated = {split: evaluation.figures}
            if split == "validation":
                figures += f", validation loss {evaluation.loss:.3f}"
            figures += f", {split} acc {evaluation.accuracy:.3f}"
        seconds, seen = seconds + training.seconds, seen + training.seen
        show(Evaluation(epoch, epoch * steps, seconds, training.figures, **evaluated))
        if not in_notebook:
            print(f"epoch {epoch}/{num_epochs}: {figures}", flush=True)
        now_dead = {int(k) for k in np.flatnonzero(~training.alive)}
        _warn(sorted(now_dead - dead), epoch, classes)
        dead |= now_dead
    print(f"{figures}, {seen / seconds:.1f} examples/sec on {device}", flush=True)


def _pass(step: Step, batches: Loader, tally: Tally) -> Iterator[tuple[int, float, float, float]]:
    """Go through all batches once: each one's number from 1, mean loss, accuracy and seconds."""
    began = time.perf_counter()
    for i, batch in enumerate(batches, 1):
        loss, accuracy = tally.add(*step(*batch))
        took = time.perf_counter() - began
        tally.seconds += took
        yield i, loss, accuracy, took
        began = time.perf_counter()
    if not tally.seen:
        raise DataError("an iterator gave no batch; it must give at least one")


def _estimate(seconds: float) -> None:
    if seconds > LONG_SECONDS:
        time_needed = f"this will take about {units.estimate(seconds)} here"
        print(f"{time_needed}; {EPOCHS} and {EXAMPLES} shorten it", flush=True)


def _warn(dead: list[int], epoch: int, classes: Sequence[str]) -> None:
    """Say which logits were exactly 0 for all pictures of an epoch, and what to do about it."""
    for k in dead:
        name = f"{k} ({classes[k]})" if k < len(classes) else str(k)
        print(
            f"warning: class {name} is dead: its logit was 0 for every picture of epoch {epoch}, "
            f"so it learns nothing; leave out the last ReLU, or start again with another seed",
            file=sys.stderr,
            flush=True,
        )
