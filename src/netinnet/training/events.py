"""What happens in a run, as objects: a listener is called with them, events.jsonl has most of them.

The tables in docs/architecture.md are made from these classes (`make docs-tables`).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

AnyEvent = TypeVar("AnyEvent", bound="Event")


@dataclass(frozen=True)
class Event:
    """Something that happened. Fields that need not be given are None, and left out in JSON."""

    @classmethod
    def kind(cls) -> str:
        """The event's name in JSON, as "dead_class" for DeadClass."""
        return re.sub("(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()

    def to_dict(self) -> dict[str, Any]:
        """The event as an object of JSON: its kind as "event", then its fields in order."""
        values = {
            _key(field): getattr(self, field.name)
            for field in dataclasses.fields(self)
            if _is_needed(field) or getattr(self, field.name) is not None
        }
        return {"event": self.kind(), **values}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self | None:
        """The event of an object of JSON; unknown fields are ignored.

        None if one is missing, or of another type.
        """
        known = {f.name: values[_key(f)] for f in dataclasses.fields(cls) if _key(f) in values}
        missing = {f.name for f in dataclasses.fields(cls) if _is_needed(f)} - known.keys()
        wrong = any(not _fits(f, known[f.name]) for f in dataclasses.fields(cls) if f.name in known)
        return None if missing or wrong else cls(**known)


def _key(field: dataclasses.Field[Any]) -> str:
    """A field's name in JSON: "class" for `class_`, which Python can't have."""
    return field.name.removesuffix("_")


def _fits(field: dataclasses.Field[Any], value: object) -> bool:
    """Whether JSON's value is of the field's type; what lists and objects hold isn't looked at."""
    kind, *others = str(field.type).split(" | ")
    if value is None:
        return "None" in others
    types = {"int": (int,), "float": (int, float), "str": (str,), "list": (list,), "dict": (dict,)}
    return type(value) in types[kind.partition("[")[0]]


def _is_needed(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING


@dataclass(frozen=True)
class Start(Event):
    """A sitting of the training begins."""

    time: str
    """Date and time in UTC (ISO 8601)."""
    run: str
    """The run's folder."""
    steps_per_epoch: int
    """Optimiser steps in an epoch."""
    epochs: int
    """Epochs of the whole training."""
    network: str
    """The network's name."""
    framework: str
    """What trains it."""
    device: str
    """Where it is trained, as "cpu"."""
    threads: int | None
    """CPU threads of the framework; None if it has no number."""
    versions: dict[str, str]
    """Version of each package that decides the numbers."""
    parameters: int
    """The network's parameters."""
    cautions: list[str]
    """What is known to go wrong with such a recipe, a line each."""


@dataclass(frozen=True)
class Resume(Event):
    """A run is gone on with; the `start` of the new sitting follows, and later steps count anew."""

    time: str
    """Date and time in UTC (ISO 8601)."""
    step: int
    """The step of the checkpoint; 0 if there was none."""


@dataclass(frozen=True)
class Progress(Event):
    """A step is done. Of a long training not every one is written down."""

    step: int
    """The step, from 1."""
    epoch: float
    """Epochs done, with their fraction."""
    loss: float
    """Mean cross-entropy (nats) of the step's pictures, before the weights were changed; against
    their labels, of which a mixture has that of its larger part."""
    accuracy: float
    """Share of the step's pictures that were found, from 0 to 1."""
    images_per_second: float
    """Pictures a second in this step."""
    learning_rate: float
    """Learning rate of this step."""
    seconds: float
    """Seconds of all steps so far, evaluations not counted."""
    seconds_of_step: float
    """Seconds of this step, waiting for its pictures included."""


@dataclass(frozen=True)
class Evaluation(Event):
    """An epoch is over. Its splits have figures as in metrics.json."""

    epoch: int
    """The epoch, from 1."""
    step: int
    """The epoch's last step."""
    seconds: float
    """Seconds of all steps so far, evaluations not counted."""
    train: dict[str, Any]
    """`loss` and `accuracy` of the epoch's steps, while the weights changed."""
    test: dict[str, Any] | None = None
    """`loss`, `accuracy`, `accuracy_interval` [low, high] (Wilson's, 95 %), `recall` [per class],
    `confusion` [[true × predicted counts]], `mistakes` [{`index`, `label`, `predicted`,
    `probability`}], the most confident first, `suspects` [{`index`, `label`, `rather`,
    `probability` (of the label)}], the least believed first; if the recipe evaluates test
    pictures."""
    validation: dict[str, Any] | None = None
    """The same of the validation pictures, if the recipe evaluates them."""

    @property
    def figures(self) -> dict[str, dict[str, Any]]:
        """The figures of each split that has some."""
        splits = {"train": self.train, "test": self.test, "validation": self.validation}
        return {name: figures for name, figures in splits.items() if figures is not None}


@dataclass(frozen=True)
class DeadClass(Event):
    """A class's logit was zero for every picture of an epoch."""

    epoch: int
    """The epoch, from 1."""
    step: int
    """The epoch's last step."""
    class_: str
    """The class's name."""


MOST_ROLLBACKS = 5
"""A training that diverges once more has failed."""


@dataclass(frozen=True)
class Rollback(Event):
    """The numbers were no longer finite; the training goes on from an earlier step."""

    time: str
    """Date and time in UTC (ISO 8601)."""
    diverged_at: int
    """The step at which that was noticed."""
    back_to: int
    """The step from whose weights it goes on: an epoch's last, or 0."""
    rollbacks: int
    """How many there were so far: each halves the learning rate of all steps from there."""
    reason: str
    """What went wrong."""

    @property
    def words(self) -> str:
        """What happened, and how it goes on."""
        return (
            f"{self.reason}. It goes on from step {self.back_to} with 1/{2**self.rollbacks} of the "
            f"learning rate (rollback {self.rollbacks} of at most {MOST_ROLLBACKS})"
        )


@dataclass(frozen=True)
class Interrupted(Event):
    """The run was asked to stop, and has saved."""

    time: str
    """Date and time in UTC (ISO 8601)."""
    step: int
    """The last step."""
    signal: str
    """The signal's name, as SIGINT."""


@dataclass(frozen=True)
class Failed(Event):
    """The training can't go on."""

    time: str
    """Date and time in UTC (ISO 8601)."""
    step: int
    """The last step."""
    reason: str
    """What went wrong."""


@dataclass(frozen=True)
class OnnxFailed(Event):
    """The run is finished, without model.onnx."""

    reason: str
    """Why it could not be written."""


@dataclass(frozen=True)
class End(Event):
    """The training is over and model.safetensors is written."""

    time: str
    """Date and time in UTC (ISO 8601)."""
    step: int
    """The last step."""
    seconds: float
    """Seconds of all sittings, evaluations included."""


@dataclass(frozen=True)
class Data(Event):
    """How far fetching or reading a data set is."""

    what: str
    """What is done, in words."""
    done: int
    """How much of it is done, in bytes or pictures."""
    total: int | None
    """How much there is; None if that is not known."""


@dataclass(frozen=True)
class ReportFailed(Event):
    """The report could not be written."""

    reason: str
    """Why not."""


@dataclass(frozen=True)
class CheckpointsKept(Event):
    """The run is finished, and its checkpoints could not be removed."""

    reason: str
    """Why not."""


LOGGED = (
    *(Start, Resume, Progress, Evaluation, DeadClass, Rollback),
    *(Interrupted, Failed, OnnxFailed, End),
)
"""What events.jsonl has."""
HEARD = (Data, ReportFailed, CheckpointsKept)
"""What only a listener is told."""


def from_dict(values: object, kinds: Iterable[type[Event]] = LOGGED) -> Event | None:
    """The event of one of these kinds that an object of JSON stands for; None if it is none."""
    if not isinstance(values, dict):
        return None
    kind = next((kind for kind in kinds if kind.kind() == values.get("event")), None)
    return None if kind is None else kind.from_dict(values)


def of_kind(events: Iterable[Event], kind: type[AnyEvent]) -> list[AnyEvent]:
    """The events of a kind, in order."""
    return [event for event in events if isinstance(event, kind)]


def step_of(event: Event) -> int:
    """The step at which something happened; 0 for what has none."""
    step: int = getattr(event, "step", 0)
    return step
