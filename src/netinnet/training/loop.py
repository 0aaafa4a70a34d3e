"""The one training loop, for all frameworks: batches in, `learner.step(...)`, events out.

What it decides (batch order, augmentation, dropout seed, learning rate) is a pure function of the
recipe and the step, so a resumed run continues bit for bit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netinnet import metrics, process_memory, units, weights
from netinnet.costs import counts
from netinnet.data.loader import ahead, logits_of
from netinnet.data.source import Dataset, Source
from netinnet.data.targets import Batch
from netinnet.errors import Diverged, NetinnetError, nin
from netinnet.files import CannotWrite, write_text
from netinnet.frameworks.learner import Learner
from netinnet.frameworks.processes import ProcessLost
from netinnet.inference import onnx_graph
from netinnet.networks.network import Network
from netinnet.preprocessing import Array, normalise
from netinnet.training import (
    anomaly,
    checkpoint,
    events,
    recalibration,
    results,
    teaching,
    versions,
)
from netinnet.training.calibrate import after_training
from netinnet.training.cautions import cautions
from netinnet.training.checkpoint import Progress
from netinnet.training.claim import Claim
from netinnet.training.events import MOST_ROLLBACKS, Event
from netinnet.training.interruption import Abandoned, Interrupted, StopRequest, stop_request
from netinnet.training.listening import Listener, attempt, data_progress, write_report
from netinnet.training.recipe import Recipe
from netinnet.training.run import Run
from netinnet.training.schedule import learning_rate
from netinnet.training.splits import check_batches, splits, training_batches
from netinnet.training.stepping import advance
from netinnet.training.team import ALONE, EVALUATE, STEP, Team, in_parts

Report = Callable[[Path, Source, Source], object]
"""Called with the run's folder, the pictures that judge and those trained on."""
LOGGED_PROGRESS = 1000
"""A run writes at least so many progress events to its log, and less than twice as many."""
REPORT_SECONDS = 60.0
"""Least time between two reports within an epoch."""
REPORT_EVERY, REPORT_SOONEST = 20, 10.0
"""A report behind an epoch waits for so many times what the last one took, and so many seconds
(then its page looks for a new one): of epochs of a second, reports would take half the time."""


@dataclass
class Training:
    """One sitting of a training."""

    recipe: Recipe
    network: Network
    data: Dataset
    learner: Learner
    listener: Listener
    report: Report
    detect_anomaly: bool = False
    """Whether it is said where the first number arises that is not finite."""
    team: Team = ALONE
    teacher: weights.Model | None = None
    """Whose probabilities are a share of what is learnt; only the leader has it."""

    def __post_init__(self) -> None:
        network, progress = self.network, data_progress(self.listener)
        self.data = self.data.sized(network.input, progress, network.preprocessing)
        self.train, self.evaluated = splits(self.recipe, self.data)
        teacher = None
        if self.teacher is not None:
            teacher = teaching.teacher(self.recipe, self.teacher, self.learner.threads)
        self.batches = training_batches(self.recipe, self.network, self.train, teacher)
        self.make = self.learner.batches(self.batches)
        self.steps_per_epoch = self.batches.per_epoch
        self.total = self.steps_per_epoch * self.recipe.epochs
        check_batches(self.recipe, self.network, len(self.train))
        recalibration.check(self.recipe.recalibrate, self.network)

    def run(
        self, folder: Run, progress: Progress, claim: Claim, damaged: Sequence[str] = ()
    ) -> Run:
        """Train to the end, or to a request to stop, in a folder that is claimed.

        `damaged` are lines of what was found damaged in it, which is said.
        """
        self.folder, self.identity, self.claim = folder, folder.identity(), claim
        self.found = [*damaged]
        if claim.before:
            self.found.append(f"the last sitting was killed ({claim.before})")
        try:
            return self._run(progress)
        except Interrupted:
            raise
        except NetinnetError as error:
            # The disk may be what failed, or the folder be gone.
            with contextlib.suppress(NetinnetError):
                claim.check()
                self._log(events.Failed(_now(), progress.step, str(error)))
                self._write_report()
            if isinstance(error, CannotWrite):
                raise CannotWrite(
                    f"{error}; then {self._command} continues", error.error
                ) from error
            if isinstance(error, ProcessLost):
                raise ProcessLost(f"{error}; {self._command} continues") from error
            raise

    @property
    def _command(self) -> str:
        """What goes on with this run."""
        return nin("train", "--resume", self.folder.folder)

    def _run(self, progress: Progress) -> Run:
        process_memory.keep_freed_memory()
        self.began = time.monotonic() - progress.wall_seconds
        self.team.begin(self.learner, progress.step)
        with stop_request() as stop:
            self._announce(progress)
            try:
                with stop.abandoning():
                    self._write_report()
                if progress.step and len(progress.history) < progress.step // self.steps_per_epoch:
                    self._end_epoch(progress, stop)  # its evaluation was abandoned
                if self.detect_anomaly and not progress.step:
                    self._save(progress)  # for going through the steps again
                while progress.step < self.total:
                    try:
                        self._steps(progress, stop)
                    except Diverged as error:
                        self._roll_back(progress, error)
                self._finish(progress, stop)
            except Abandoned:
                self._interrupt(progress, stop)
        return self.folder

    def _steps(self, progress: Progress, stop: StopRequest) -> None:
        """Train to the end. Raises Diverged where the numbers are no longer finite."""
        prepared = ahead(self.make, range(progress.step, self.total))
        saved = time.monotonic()
        with contextlib.closing(prepared):
            while progress.step < self.total:
                if self._rolls_back and self._is_good(progress):
                    self.claim.check()
                    checkpoint.save_good(
                        self.folder.checkpoints, self.learner, progress, self.identity
                    )
                self._step(progress, prepared)
                if progress.step % self.steps_per_epoch == 0:
                    if self._rolls_back:
                        self._check_finite(self.learner.weights(), progress)
                    self._end_epoch(progress, stop)
                if stop.signal is not None:
                    self._interrupt(progress, stop)
                if time.monotonic() - saved >= self.recipe.checkpoint_seconds:
                    self._save(progress)
                    if time.monotonic() - self.reported >= REPORT_SECONDS:
                        self._write_report()
                    saved = time.monotonic()

    @property
    def _wall(self) -> float:
        """Seconds spent altogether, over all sittings."""
        return time.monotonic() - self.began

    @property
    def _rolls_back(self) -> bool:
        return self.recipe.on_nan == "rollback"

    def _is_good(self, progress: Progress) -> bool:
        """Whether a rollback may go back to this: the beginning, or an epoch's end that is better
        than guessing. Weights can be far off long before they are no numbers."""
        if progress.step % self.steps_per_epoch:
            return False
        guessing = math.log(len(self.network.classes)) * progress.epoch_seen
        return not progress.step or progress.epoch_loss < guessing

    def _roll_back(self, progress: Progress, error: Diverged) -> None:
        """Go back to the last good state, with half the rate; raise the error where not.

        The event comes first, then the older checkpoints go, then there is a new one: a kill in
        between leaves a state from which the same happens again.
        """
        if self.detect_anomaly:
            error = Diverged(f"{error}; {self._anomaly(progress.step)}")
        if not self._rolls_back or progress.rollbacks == MOST_ROLLBACKS:
            raise error
        self.claim.check()
        folder, rollbacks = self.folder.checkpoints, progress.rollbacks + 1
        kept = checkpoint.restore_good(folder, self.learner, self.identity)
        self.team.begin(self.learner, kept.step)
        self._log(events.Rollback(_now(), progress.step, kept.step, rollbacks, str(error)))
        checkpoint.remove_after(folder, kept.step)
        kept.seconds = progress.seconds
        kept.rollbacks = rollbacks
        kept.discarded = progress.discarded + progress.step - kept.step
        vars(progress).update(vars(kept))
        self._save(progress)

    def _anomaly(self, noticed: int) -> str:
        """Go through the steps since the newest checkpoint again; where the numbers go wrong."""
        since, _ = checkpoint.restore(self.folder.checkpoints, self.learner, self.identity)
        self.team.begin(self.learner, since.step)

        def train(step: int) -> tuple[Array, Array]:
            batch = self.batches(step - 1)
            return batch.images, self._train(batch, step, since.rollbacks)

        steps = range(since.step + 1, noticed + 1)
        return anomaly.search(self.network, self.learner.weights, train, steps)

    def _log(self, event: Event) -> None:
        self.folder.log(event)
        self.listener(event)

    def _save(self, progress: Progress) -> None:
        self._check_finite(self.learner.own_weights(), progress)
        self.claim.check()
        progress.wall_seconds = self._wall
        checkpoint.save(self.folder.checkpoints, self.learner, progress, self.identity)

    def _write_report(self) -> None:
        self.reported = time.monotonic()
        self.claim.check()
        judged = self.evaluated[self.recipe.judged]
        write_report(lambda: self.report(self.folder.folder, judged, self.train), self.listener)
        self.report_seconds = time.monotonic() - self.reported

    def _announce(self, progress: Progress) -> None:
        if progress.step or self.folder.events_file.exists():
            self.found += versions.changed(self.folder, self._versions)
            self._log(events.Resume(_now(), progress.step))
        self._log(
            events.Start(
                time=_now(),
                run=str(self.folder.folder),
                steps_per_epoch=self.steps_per_epoch,
                epochs=self.recipe.epochs,
                network=self.network.name,
                **self._machine(),
                parameters=counts.total_cost(self.network).parameters,
                cautions=[
                    *self.found,
                    *cautions(self.recipe, self.network, self.data),
                    *self.learner.cautions,
                ],
            )
        )

    def _machine(self) -> dict[str, Any]:
        """Where and with what it is trained."""
        framework, learner = self.recipe.framework, self.learner
        known = {"framework": framework, "device": learner.device, "threads": learner.threads}
        return {**known, "versions": self._versions}

    @property
    def _versions(self) -> dict[str, str]:
        return versions.of(self.recipe.framework, self.learner.kernels)

    def _dead(self, progress: Progress) -> list[str]:
        """The classes whose logit was 0 for the whole of the epoch."""
        return [n for n, a in zip(self.network.classes, progress.alive, strict=True) if not a]

    def _step(self, progress: Progress, prepared: Iterator[Batch]) -> None:
        if progress.step % self.steps_per_epoch == 0:
            progress.epoch_loss, progress.epoch_correct, progress.epoch_seen = 0.0, 0, 0
            progress.alive = [False] * len(self.network.classes)
        began = time.monotonic()
        batch = next(prepared)
        labels, step = batch.labels, progress.step + 1
        logits = self._train(batch, step, progress.rollbacks)
        seconds = time.monotonic() - began
        losses = metrics.cross_entropy(logits, labels)
        correct = int((logits.argmax(1) == labels).sum())
        progress.step = step
        progress.seconds += seconds
        progress.epoch_loss += float(losses.sum())
        progress.epoch_correct += correct
        progress.epoch_seen += len(labels)
        alive = (logits != 0).any(axis=0)
        progress.alive = [a or bool(b) for a, b in zip(progress.alive, alive, strict=True)]
        if not math.isfinite(progress.epoch_loss):
            raise self._diverged(progress)
        event = events.Progress(
            step=step,
            epoch=round(step / self.steps_per_epoch, 4),
            loss=round(float(losses.mean()), 6),
            accuracy=round(correct / len(labels), 6),
            images_per_second=round(len(labels) / max(seconds, 1e-9), 2),
            learning_rate=float(f"{self._rate(step, progress.rollbacks):.6g}"),
            seconds=round(progress.seconds, 3),
            seconds_of_step=round(seconds, 4),
        )
        if step % max(1, self.total // LOGGED_PROGRESS) == 0:
            self.folder.log(event)
        self.listener(event)

    def _rate(self, step: int, rollbacks: int) -> float:
        return learning_rate(self.recipe, step, self.total) * 0.5**rollbacks

    def _train(self, batch: Batch, step: int, rollbacks: int) -> Array:
        """A step of the learner; returns the logits."""
        rate = self._rate(step, rollbacks)
        self.team.tell(STEP, rate)
        return advance(self.learner, self.recipe, batch, rate, step, self.team.processes)

    def _diverged(self, progress: Progress) -> Diverged:
        rate = self.recipe.learning_rate * 0.5**progress.rollbacks
        count = progress.rollbacks
        after = f" after {units.counted(count, 'rollback')}" if count else ""
        return Diverged(
            f"the training diverged at step {progress.step}{after}: its numbers are no longer "
            f"finite; use a learning rate below {rate:g}"
        )

    def _check_finite(self, values: weights.Weights, progress: Progress) -> None:
        """Raise Diverged where a weight is no number: no such checkpoint or model is kept."""
        if not anomaly.is_finite(values):
            raise self._diverged(progress)

    def logits(self, source: Source) -> Array:
        """Logits of all pictures of a source, in prediction mode."""

        def compute(part: Source) -> Array:
            return logits_of(
                part,
                self.learner.logits,
                lambda pictures: normalise(pictures, self.network.preprocessing),
                self.recipe.batch_size,
            )

        with self.learner.averaged():
            return in_parts(self.team.processes, source, compute)

    def _evaluate(self, split: str) -> metrics.Evaluation:
        source = self.evaluated[split]
        self.team.tell(EVALUATE, list(self.evaluated).index(split))
        return metrics.evaluate(self.logits(source), source.labels)

    def _end_epoch(self, progress: Progress, stop: StopRequest) -> None:
        """Evaluate; a signal abandons that, and the next sitting does it again."""
        epoch = progress.step // self.steps_per_epoch
        mean = {"loss": progress.epoch_loss, "accuracy": progress.epoch_correct}
        with stop.abandoning():
            if progress.step == self.total and self.recipe.recalibrate is not None:
                # Done again if the evaluation is abandoned, with the same numbers.
                recalibration.recalibrate(
                    self.learner, self.recipe.framework, self.batches, self.recipe.recalibrate
                )
                self.team.begin(self.learner, progress.step)
            figures: dict[str, dict[str, Any]] = {
                "train": {name: total / progress.epoch_seen for name, total in mean.items()},
                **{split: self._evaluate(split).to_dict() for split in self.evaluated},
            }
        progress.history.append(results.of_epoch(figures))
        seconds = round(progress.seconds, 3)
        self._log(events.Evaluation(epoch, progress.step, seconds, **figures))
        for name in self._dead(progress):
            self._log(events.DeadClass(epoch, progress.step, name))
        # The last epoch's report comes with the model, at once.
        wait = max(REPORT_SOONEST, REPORT_EVERY * self.report_seconds)
        if progress.step < self.total and time.monotonic() - self.reported >= wait:
            with stop.abandoning():
                self._write_report()

    def _interrupt(self, progress: Progress, stop: StopRequest) -> None:
        assert stop.signal is not None
        self._save(progress)
        self._log(events.Interrupted(_now(), progress.step, stop.signal.name))
        self._write_report()
        raise Interrupted(
            f"interrupted after step {progress.step} of {self.total}, saved; "
            f"{self._command} continues it",
            stop.signal,
        )

    def _finish(self, progress: Progress, stop: StopRequest) -> None:
        """Write the model and all that comes with it; what takes long is left to a resume."""
        self.claim.check()
        trained = self.learner.final_weights()
        self._check_finite(trained, progress)
        model = results.model(self.recipe, self.network, self.data, trained)
        weights.save(self.folder.model_file, model)
        peak = process_memory.peak_bytes()
        with stop.abandoning():
            found, calibration = after_training(model, self.recipe, self.data, self.learner.threads)
        if found is not None:
            model = dataclasses.replace(model, calibration=found)
            weights.save(self.folder.model_file, model)
        self.claim.check()
        progress.wall_seconds = self._wall
        self._log(events.End(_now(), progress.step, round(progress.wall_seconds, 3)))
        sizes = {"train": self.train, **self.evaluated}
        counted = {name: len(source) for name, source in sizes.items()}
        dead = self._dead(progress)
        figures = {
            **results.metrics(self.recipe, self.network, progress, counted, dead),
            **calibration,
            **self._machine(),
            "peak_memory_bytes": peak,
        }
        # A run that has its metrics is finished; what is derived from it may fail after that.
        write_text(self.folder.metrics_file, json.dumps(figures, indent=1) + "\n")
        try:
            with stop.abandoning():
                attempt(lambda: self._write_onnx(model), self._log_if_possible, events.OnnxFailed)
                self._write_report()
        except Abandoned:
            assert stop.signal is not None
            raise Interrupted(
                f"interrupted after the model was trained and saved; {self._command} writes "
                f"the rest of its report",
                stop.signal,
            ) from None
        attempt(self.folder.remove_checkpoints, self.listener, events.CheckpointsKept)

    def _write_onnx(self, model: weights.Model) -> None:
        self.claim.check()
        onnx_graph.write(self.folder.onnx_file, model)

    def _log_if_possible(self, event: Event) -> None:
        """Of a run that is finished: the disk may be what failed."""
        with contextlib.suppress(NetinnetError):
            self.folder.log(event)
        self.listener(event)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
