"""How a training goes, by its events: running means of its figures, and the time that is left."""

from __future__ import annotations

import time

from netinnet.training.events import Progress, Start

WARM_UP_SECONDS = 2.0
"""A shorter first step is mostly the framework's warming up; a longer one is a fair sample."""
ESTIMATE_SECONDS = 2.0
"""Seconds of steps from which the whole is estimated."""
MEAN_STEPS = 50
"""Steps of a running mean: single batches jump about."""


class Pace:
    """Takes Start and Progress in; says where the training is and what is to come."""

    def __init__(self, start: Start) -> None:
        self.steps_per_epoch = start.steps_per_epoch
        self.steps = start.steps_per_epoch * start.epochs
        self.step = 0
        self.loss = self.accuracy = self.began = 0.0
        self.first_step: int | None = None

    def take(self, progress: Progress) -> None:
        went_back = progress.step < self.step  # to the last good epoch
        self.step = progress.step
        if self.first_step is None or went_back:
            seconds = progress.seconds_of_step
            warming_up = seconds < WARM_UP_SECONDS
            self.first_step = self.step if warming_up else self.step - 1
            self.began = time.monotonic() - (0.0 if warming_up else seconds)
            self.loss, self.accuracy = progress.loss, progress.accuracy
        self.loss += (progress.loss - self.loss) / MEAN_STEPS
        self.accuracy += (progress.accuracy - self.accuracy) / MEAN_STEPS

    @property
    def epoch(self) -> int:
        """The epoch of the newest step, from 1."""
        return -(-self.step // self.steps_per_epoch)

    @property
    def is_known(self) -> bool:
        """Whether enough steps were seen for the time left to be told."""
        return time.monotonic() - self.began >= ESTIMATE_SECONDS

    @property
    def seconds_left(self) -> float:
        """Seconds until the last step, by the mean time of the steps so far."""
        done = max(1, self.step - (self.first_step or 0))
        return (time.monotonic() - self.began) / done * (self.steps - self.step)
