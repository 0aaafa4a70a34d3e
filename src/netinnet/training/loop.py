"""The one training loop, for all frameworks: batches in, `learner.step(...)`, events out.

What it decides (batch order, augmentation, dropout seed, learning rate) is a pure function of the
recipe and the step, so a resumed run continues bit for bit.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import platform
import shlex
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from netinnet import frameworks, metrics, process_memory, weights
from netinnet.costs import counts
from netinnet.data import batches
from netinnet.data.dataset import Dataset, Split
from netinnet.errors import Diverged, NetinnetError, RecipeError
from netinnet.files import write_text
from netinnet.frameworks.learner import Learner
from netinnet.inference import onnx_graph
from netinnet.networks.layers import BatchNorm
from netinnet.networks.network import Network
from netinnet.preprocessing import normalise
from netinnet.training import checkpoint
from netinnet.training.cautions import cautions
from netinnet.training.checkpoint import Progress
from netinnet.training.interruption import Interrupted, StopRequest, stop_request
from netinnet.training.listening import Listener, attempt, write_report
from netinnet.training.recipe import Recipe
from netinnet.training.run import Event, Run
from netinnet.training.schedule import learning_rate
from netinnet.version import VERSION

Report = Callable[[Path, Split], object]
"""Called with the run's folder and the evaluated pictures after each epoch."""
LOGGED_PROGRESS = 1000
"""A run writes at least so many progress events to its log, and less than twice as many."""
REPORT_SECONDS = 60.0
"""Least time between two reports within an epoch."""


class Training:
    """One sitting of a training."""

    def __init__(
        self,
        recipe: Recipe,
        network: Network,
        data: Dataset,
        learner: Learner,
        listener: Listener,
        report: Report,
    ) -> None:
        data = data.limited(recipe.train_examples, recipe.test_examples)
        self.recipe, self.network, self.learner = recipe, network, learner
        self.listener, self.report = listener, report
        self.train, self.test = data.train, data.test
        self.validation: Split | None = None
        if recipe.validation:
            kept, held_out = batches.split(len(data.train), recipe.validation, recipe.seed)
            self.train, self.validation = data.train.take(kept), data.train.take(held_out)
        self.steps_per_epoch = math.ceil(len(self.train) / recipe.batch_size)
        self.total = self.steps_per_epoch * recipe.epochs
        self.order: npt.NDArray[np.int64] = np.empty(0, np.int64)
        _check_batches(recipe, network, len(self.train))

    def run(self, folder: Run, progress: Progress) -> Run:
        """Train to the end, or to a request to stop. One process at a time trains in a folder."""
        self.folder, self.identity = folder, folder.identity()
        with folder.claimed():
            try:
                return self._run(progress)
            except Interrupted:
                raise
            except NetinnetError as error:
                with contextlib.suppress(NetinnetError):  # the disk may be what failed
                    self._emit(
                        {
                            "event": "failed",
                            "time": _now(),
                            "step": progress.step,
                            "reason": str(error),
                        }
                    )
                    self._write_report()
                raise

    def _run(self, progress: Progress) -> Run:
        process_memory.keep_freed_memory()
        started = time.monotonic()
        before = progress.wall_seconds
        with stop_request() as stop:
            self._announce(progress)
            self._write_report()
            saved = time.monotonic()
            while progress.step < self.total:
                self._step(progress)
                progress.wall_seconds = before + time.monotonic() - started
                if progress.step % self.steps_per_epoch == 0:
                    self._end_epoch(progress)
                    progress.wall_seconds = before + time.monotonic() - started
                if stop.signal is not None:
                    self._interrupt(progress, stop)
                if time.monotonic() - saved >= self.recipe.checkpoint_seconds:
                    self._save(progress)
                    if time.monotonic() - self.reported >= REPORT_SECONDS:
                        self._write_report()
                    saved = time.monotonic()
            self._finish(progress)
        return self.folder

    def _emit(self, event: Event) -> None:
        self.folder.log(event)
        self.listener(event)

    def _save(self, progress: Progress) -> None:
        checkpoint.save(self.folder.checkpoints, self.learner, progress, self.identity)

    def _write_report(self) -> None:
        self.reported = time.monotonic()
        write_report(lambda: self.report(self.folder.folder, self.test), self.listener)

    def _announce(self, progress: Progress) -> None:
        if progress.step or self.folder.events_file.exists():
            self._emit({"event": "resume", "time": _now(), "step": progress.step})
        self._emit(
            {
                "event": "start",
                "time": _now(),
                "run": str(self.folder.folder),
                "steps_per_epoch": self.steps_per_epoch,
                "epochs": self.recipe.epochs,
                "network": self.network.name,
                "framework": self.recipe.framework,
                "device": self.learner.device,
                "threads": self.learner.threads,
                "versions": versions(self.recipe.framework),
                "parameters": counts.total_cost(self.network).parameters,
                "cautions": cautions(self.recipe, self.network),
            }
        )

    def _step(self, progress: Progress) -> None:
        recipe = self.recipe
        epoch, index = divmod(progress.step, self.steps_per_epoch)
        if index == 0:
            progress.epoch_loss, progress.epoch_correct, progress.epoch_seen = 0.0, 0, 0
            progress.alive = [False] * len(self.network.classes)
        if index == 0 or not len(self.order):
            self.order = batches.order(len(self.train), recipe.seed, epoch)
        began = time.monotonic()
        chosen = self.order[index * recipe.batch_size : (index + 1) * recipe.batch_size]
        images = batches.augment(
            self.train.images[chosen],
            (recipe.seed, epoch, index),
            horizontal_flip=recipe.horizontal_flip,
            crop_padding=recipe.crop_padding,
        )
        labels = self.train.labels[chosen]
        step = progress.step + 1
        rate = learning_rate(recipe, step, self.total)
        logits = self.learner.step(
            normalise(images, self.network.preprocessing),
            labels,
            rate,
            step,
            batches.step_seed(recipe.seed, step),
        )
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
            raise self._diverged(step)
        event = {
            "event": "progress",
            "step": step,
            "epoch": round(step / self.steps_per_epoch, 4),
            "loss": round(float(losses.mean()), 6),
            "accuracy": round(correct / len(labels), 6),
            "images_per_second": round(len(labels) / max(seconds, 1e-9), 2),
            "learning_rate": float(f"{rate:.6g}"),
            "seconds": round(progress.seconds, 3),
            "seconds_of_step": round(seconds, 4),
        }
        if step % max(1, self.total // LOGGED_PROGRESS) == 0:
            self.folder.log(event)
        self.listener(event)

    def _diverged(self, step: int) -> Diverged:
        return Diverged(
            f"the training diverged at step {step}: its numbers are no longer finite; "
            f"a learning rate below {self.recipe.learning_rate:g} would be right"
        )

    def _evaluate(self, split: Split) -> metrics.Evaluation:
        size = self.recipe.batch_size
        logits = [
            self.learner.logits(normalise(split.images[i : i + size], self.network.preprocessing))
            for i in range(0, len(split), size)
        ]
        return metrics.evaluate(np.concatenate(logits), split.labels)

    def _end_epoch(self, progress: Progress) -> None:
        epoch = progress.step // self.steps_per_epoch
        event: Event = {
            "event": "evaluation",
            "epoch": epoch,
            "step": progress.step,
            "seconds": round(progress.seconds, 3),
            "train": {
                "loss": progress.epoch_loss / progress.epoch_seen,
                "accuracy": progress.epoch_correct / progress.epoch_seen,
            },
            "test": self._evaluate(self.test).to_dict(),
        }
        if self.validation is not None:
            event["validation"] = self._evaluate(self.validation).to_dict()
        progress.history.append(
            {
                split: {key: event[split][key] for key in ("loss", "accuracy")}
                for split in ("train", "validation", "test")
                if split in event
            }
        )
        self._emit(event)
        for name, alive in zip(self.network.classes, progress.alive, strict=True):
            if not alive:
                self._emit(
                    {
                        "event": "dead_class",
                        "epoch": epoch,
                        "step": progress.step,
                        "class": name,
                    }
                )
        self._write_report()

    def _interrupt(self, progress: Progress, stop: StopRequest) -> None:
        assert stop.signal is not None
        self._save(progress)
        self._emit(
            {
                "event": "interrupted",
                "time": _now(),
                "step": progress.step,
                "signal": stop.signal.name,
            }
        )
        self._write_report()
        raise Interrupted(
            f"interrupted after step {progress.step} of {self.total}, saved; "
            f"nin train --resume {shlex.quote(str(self.folder.folder))} goes on",
            130 if stop.signal == signal.SIGINT else 143,
        )

    def _finish(self, progress: Progress) -> None:
        model = weights.Model(self.network, self.learner.weights())
        if not all(np.isfinite(array).all() for array in model.weights.values()):
            raise self._diverged(progress.step)
        weights.save(
            self.folder.model_file,
            model,
            {"recipe": self.recipe.to_toml(), "netinnet": VERSION},
        )
        self._emit(
            {
                "event": "end",
                "time": _now(),
                "step": progress.step,
                "seconds": round(progress.wall_seconds, 3),
            }
        )
        cost = counts.total_cost(self.network)
        # A run that has its metrics is finished; what is derived from it may fail after that.
        write_text(
            self.folder.metrics_file,
            json.dumps(
                {
                    **progress.history[-1],
                    "training_seconds": round(progress.seconds, 3),
                    "wall_seconds": round(progress.wall_seconds, 3),
                    "images_per_second": round(
                        len(self.train) * self.recipe.epochs / progress.seconds, 2
                    ),
                    "parameters": cost.parameters,
                    "macs": cost.macs,
                    "epochs": self.recipe.epochs,
                    "steps": progress.step,
                    "train_examples": len(self.train),
                    "test_examples": len(self.test),
                    "dead_classes": [
                        name
                        for name, alive in zip(self.network.classes, progress.alive, strict=True)
                        if not alive
                    ],
                    "framework": self.recipe.framework,
                    "device": self.learner.device,
                    "threads": self.learner.threads,
                    "peak_memory_bytes": process_memory.peak_bytes(),
                    "versions": versions(self.recipe.framework),
                },
                indent=1,
            )
            + "\n",
        )
        attempt(lambda: onnx_graph.write(self.folder.onnx_file, model), self._emit, "onnx_failed")
        self._write_report()
        attempt(self.folder.remove_checkpoints, self.listener, "checkpoints_kept")


def _check_batches(recipe: Recipe, network: Network, count: int) -> None:
    """Batch norm needs two values a channel. Raises RecipeError where the last batch has one."""
    smallest = count % recipe.batch_size or recipe.batch_size
    for placed in network.placed_layers():
        if isinstance(placed.layer, BatchNorm) and smallest * placed.input[1] * placed.input[2] < 2:
            raise RecipeError(
                f"the last batch of {count} pictures has one picture, and {placed.name} then one "
                f"value a channel; choose another batch_size"
            )


def versions(framework: str) -> dict[str, Any]:
    """Versions that decide a run's numbers."""
    package = frameworks.FRAMEWORKS[framework].packages[0]
    return {
        "netinnet": VERSION,
        "python": platform.python_version(),
        "numpy": np.__version__,
        package: frameworks.adapter(framework).version(),
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
