"""What came of one run of a study, read from its folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netinnet import metrics
from netinnet.costs import counts
from netinnet.data.loader import logits_of
from netinnet.data.source import Dataset
from netinnet.errors import ModelError
from netinnet.files import write_text
from netinnet.inference import model_files
from netinnet.inference.onnx_graph import too_large
from netinnet.inference.predictor import Predictor
from netinnet.studies.arms import Arm
from netinnet.studies.plan import Job, Plan
from netinnet.studies.statistics import Summary, summary
from netinnet.training import events
from netinnet.training.events import Evaluation, Event, of_kind
from netinnet.training.run import Run
from netinnet.training.splits import splits

_MEASURED = ("training_seconds", "wall_seconds", "images_per_second", "peak_memory_bytes")
OUTCOME_FILE = "outcome.json"


@dataclass(frozen=True)
class DeadClass:
    """A class whose logit is exactly 0 for every picture that judges at the end of training.

    `epoch` and `step` are those at whose end it had first been 0 for all training pictures of an
    epoch, and was in every epoch from then on; None where it died within the last epoch. `recall`
    is its share of those pictures that were found: 0, except for the first class where all are
    dead.
    """

    name: str
    epoch: int | None
    step: int | None
    recall: float | None


@dataclass(frozen=True)
class Point:
    """The figures of one whole epoch, `loss` and `accuracy` those of the split that judges; a loss
    that is not finite is None."""

    epoch: int
    seconds: float
    train_loss: float | None
    train_accuracy: float
    loss: float | None
    accuracy: float


@dataclass(frozen=True)
class Outcome:
    """A run's result. Figures are None unless `state` is "finished"; `accuracy`, `loss`, `recall`
    and `dead` are those of the split `judged`, "test" or "validation".

    `state` is "finished", "diverged" (its numbers were no longer finite), "failed" (`reason` says
    why; it is tried again when the study goes on), or "unfinished".
    """

    arm: str
    seed: int
    folder: Path
    state: str
    reason: str = ""
    judged: str = "test"
    accuracy: float | None = None
    loss: float | None = None
    train_accuracy: float | None = None
    training_seconds: float | None = None
    wall_seconds: float | None = None
    images_per_second: float | None = None
    model_bytes: int | None = None
    peak_memory_bytes: int | None = None
    dead: tuple[DeadClass, ...] = ()
    recall: tuple[float | None, ...] = ()
    """Share of each class's pictures that were found; None for a class without pictures."""
    curve: tuple[Point, ...] = ()

    @property
    def is_settled(self) -> bool:
        """Whether the run needs no more training."""
        return self.state in ("finished", "diverged")

    @property
    def is_lost(self) -> bool:
        """Whether it ended without a model: diverged or failed."""
        return self.state in ("diverged", "failed")

    def converged(self, threshold: float) -> bool:
        """Whether no class is dead and the accuracy is at least `threshold`."""
        return not self.dead and self.accuracy is not None and self.accuracy >= threshold


def summary_of(outcomes: Sequence[Outcome], field: str) -> Summary | None:
    """The summary of what is known of a field, such as `accuracy`."""
    values = (getattr(outcome, field) for outcome in outcomes)
    return summary([value for value in values if value is not None])


def by_arm(plan: Plan, outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The outcomes of each arm, in the plan's order."""
    results: dict[str, list[Outcome]] = {arm.name: [] for arm in plan.arms}
    for result in outcomes:
        results[result.arm].append(result)
    return results


@dataclass(frozen=True)
class ArmFigures:
    """What one arm costs, and what its runs came to.

    Costs are those of one picture in a forward pass, activations in float32, computed from the
    description. `accuracy` and `seconds` (of training) are over the finished runs; `lost` runs
    diverged or failed.
    """

    arm: str
    runs: tuple[Outcome, ...]
    parameters: int
    macs: int
    activation_bytes: int
    accuracy: Summary | None
    lost: int
    seconds: Summary | None


def figures_of(arm: Arm, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The fields of `ArmFigures`."""
    cost = counts.total_cost(arm.network)
    return {
        "arm": arm.name,
        "runs": tuple(outcomes),
        **{name: getattr(cost, name) for name in ("parameters", "macs", "activation_bytes")},
        "accuracy": summary_of(outcomes, "accuracy"),
        "lost": sum(outcome.is_lost for outcome in outcomes),
        "seconds": summary_of(outcomes, "training_seconds"),
    }


def write(run: Run, judgement: dict[str, Any]) -> None:
    write_text(run.folder / OUTCOME_FILE, json.dumps(judgement, ensure_ascii=False) + "\n")


def judge(run: Run, data: Dataset) -> None:
    """Look for dead classes in a finished run: logits that are 0 for every picture that judges."""
    recipe = run.recipe()
    model = run.model()
    sized = data.sized(model.network.input, preprocessing=model.network.preprocessing)
    source = splits(recipe, sized)[1][recipe.judged]
    # What onnxruntime can't hold, the framework that trained it can.
    framework = recipe.framework if too_large(model.network) else None
    logits = logits_of(source, Predictor(model, recipe.threads, framework).logits)
    dead = [model.network.classes[i] for i in metrics.dead_classes(logits)]
    write(run, {"state": "finished", "dead_classes": dead})


def read(job: Job) -> Outcome:
    """What the run's folder says: "finished", "diverged" or "unfinished".

    Raises ModelError where some of it is damaged or missing, saying what helps.
    """
    try:
        return _read(job)
    except (ValueError, LookupError, TypeError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else repr(error)
        raise ModelError(
            f"{job.folder}: its results are damaged or missing ({reason}); "
            f"{model_files.to_train_again(job.folder)}"
        ) from error


def _read(job: Job) -> Outcome:
    run = Run(job.folder)
    file = job.folder / OUTCOME_FILE
    if not file.exists():
        return Outcome(job.arm, job.seed, job.folder, "unfinished")
    judgement = json.loads(file.read_text("utf-8"))
    logged = run.events()
    evaluations = of_kind(logged, Evaluation)
    judged = job.recipe.judged
    curve = tuple(_point(event, judged) for event in evaluations)
    if judgement["state"] == "diverged":
        return Outcome(job.arm, job.seed, job.folder, "diverged", judgement["reason"], curve=curve)
    metrics = run.metrics()
    recall = evaluations[-1].figures[judged]["recall"]
    return Outcome(
        *(job.arm, job.seed, job.folder, "finished"),
        judged=judged,
        accuracy=metrics[judged]["accuracy"],
        loss=metrics[judged]["loss"],
        train_accuracy=metrics["train"]["accuracy"],
        model_bytes=run.model_file.stat().st_size,
        **{name: metrics[name] for name in _MEASURED},
        dead=_dead(judgement["dead_classes"], logged, run.dataset().facts.classes, recall),
        recall=tuple(recall),
        curve=curve,
    )


def _point(event: Evaluation, judged: str) -> Point:
    return Point(
        epoch=event.epoch,
        seconds=event.seconds,
        train_loss=event.train["loss"],
        train_accuracy=event.train["accuracy"],
        loss=event.figures[judged]["loss"],
        accuracy=event.figures[judged]["accuracy"],
    )


def _dead(
    names: list[str], logged: list[Event], classes: tuple[str, ...], recall: list[float | None]
) -> tuple[DeadClass, ...]:
    """The dead classes with the first of the unbroken row of epochs in which they were dead."""
    evaluations = of_kind(logged, Evaluation)
    dead = []
    for name in names:
        steps = {
            event.epoch: event.step
            for event in of_kind(logged, events.DeadClass)
            if event.class_ == name
        }
        first = None
        for event in reversed(evaluations):
            if event.epoch not in steps:
                break
            first = event.epoch
        step = None if first is None else steps[first]
        dead.append(DeadClass(name, first, step, recall[classes.index(name)]))
    return tuple(dead)
