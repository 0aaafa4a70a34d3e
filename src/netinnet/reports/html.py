"""The report of a run: one HTML file that needs nothing else, neither network nor folder.

It is made from the run's files alone and written anew after epochs; until the run is finished
the page reloads itself.
"""

from __future__ import annotations

import contextlib
import datetime
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from netinnet import metrics, units
from netinnet.costs.counts import block_costs, total_cost
from netinnet.data.source import Source
from netinnet.errors import ModelError, nin
from netinnet.files import write_text
from netinnet.networks.network import Network
from netinnet.reports import figures, samples
from netinnet.reports.template import render
from netinnet.training import events
from netinnet.training.events import AnyEvent, Event, of_kind, step_of
from netinnet.training.run import Run

REFRESH_SECONDS = 10
"""How often the page of an unfinished run reloads itself."""


def write(run: Path, pictures: Source | None, train: Source | None = None) -> Path:
    """Write `report.html` into the run folder and return its path.

    `pictures` is the split that judges, of which the worst mistakes are shown, `train` what is
    trained on, of which samples are; None leaves them out. Raises ModelError where the folder is no
    run, NetinnetError where it can't be written.
    """
    path = Run(run).report_file
    facts = _read_run(run)
    content = _content(facts, pictures)
    shown = samples.of_run(Run(run), facts.network, content["judgement"], pictures, train)
    write_text(path, render("run.html", **content, **shown))
    return path


_STATES: dict[type[Event], str] = {
    **dict.fromkeys((events.Start, events.Resume), "running"),
    **{events.Interrupted: "interrupted", events.Failed: "failed", events.End: "finished"},
}
"""What a run is after an event."""


@dataclass(frozen=True)
class _Facts:
    """What the files of a run say."""

    folder: Path
    network: Network
    recipe: str
    events: list[Event]
    metrics: dict[str, Any]

    def all(self, kind: type[AnyEvent]) -> list[AnyEvent]:
        """The events of a kind, in order."""
        return of_kind(self.events, kind)

    def last(self, kind: type[AnyEvent]) -> AnyEvent | None:
        """The newest event of a kind."""
        return next(reversed(self.all(kind)), None)

    @property
    def fields(self) -> dict[str, Any]:
        """The recipe's fields, none where it is damaged."""
        with contextlib.suppress(tomllib.TOMLDecodeError):
            return tomllib.loads(self.recipe)
        return {}

    @property
    def state(self) -> str:
        """`waiting`, `running`, `interrupted`, `failed` or `finished`."""
        states = [_STATES[type(event)] for event in self.events if type(event) in _STATES]
        return states[-1] if states else "waiting"


def _read_run(folder: Path) -> _Facts:
    run = Run(folder)
    return _Facts(
        folder=folder,
        network=Network.from_json(_read(run.network_file)),
        recipe=_read(run.recipe_file),
        events=run.events(),
        metrics=run.metrics() if run.is_finished else {},
    )


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ModelError(f"{path}: cannot be read ({reason}); is this a run folder?") from error


def _content(facts: _Facts, pictures: Source | None) -> dict[str, Any]:
    """What the template shows."""
    start, evaluations = facts.last(events.Start), facts.all(events.Evaluation)
    ended, failed = facts.last(events.End), facts.last(events.Failed)
    trained = [e for e in facts.events if isinstance(e, events.Progress | events.Evaluation)]
    latest = trained[-1] if trained else None
    newest = evaluations[-1].figures if evaluations else {}
    judged = "test" if "test" in newest or not newest else "validation"
    figures_of, classes = newest.get(judged, {}), facts.network.classes
    matrix, recall = figures_of.get("confusion", ()), figures_of.get("recall", ())
    precision = metrics.precision(matrix) if matrix else []
    total = start.steps_per_epoch * start.epochs if start else 0
    step = max(map(step_of, facts.events), default=0)
    splits = {
        split: name
        for split, name in (("train", "training"), ("validation", "validation"), ("test", "test"))
        if any(split in event.figures for event in evaluations)
    }
    columns = [f"{name} {field}" for name in splits.values() for field in ("loss", "accuracy")]
    recalls = [
        (classes[i], sum(row), row[i], recall[i], precision[i])
        for i, row in enumerate(matrix if recall else ())
    ]
    return {
        "title": _title(facts),
        "subtitle": _subtitle(facts),
        "refresh": None if facts.state == "finished" else REFRESH_SECONDS,
        "state": facts.state,
        "ended": _when(ended.time if ended else ""),
        "reason": failed and failed.reason,
        "command": nin("train", "--resume", facts.folder),
        "how_far": f"step {units.count(step)} of {units.count(total)}",
        "step": step,
        "total": total,
        "cautions": [
            *(start.cautions if start else []),
            *(event.words for event in facts.all(events.Rollback)),
        ],
        "dead": _dead(facts),
        "newest": newest,
        "judged": judged,
        "judgement": figures_of,
        "seconds": facts.metrics.get("training_seconds", latest and latest.seconds),
        "speed": facts.metrics.get("images_per_second", _mean_speed(facts, latest)),
        "curves": figures.drawn(figures.learning_curves, facts.events) if latest else None,
        "evaluations": evaluations,
        "splits": list(splits),
        "epoch_header": ["epoch", *columns, "training time"],
        "confusion": figures.drawn(figures.confusion, matrix, classes) if matrix else None,
        "recalls": recalls,
        "recall_bars": figures.drawn(figures.recall_bars, recall, classes) if recalls else None,
        **_mistakes(classes, figures_of.get("mistakes", ()), pictures),
        "calibration": (found := facts.metrics.get("calibration")),
        "not_calibrated": facts.metrics.get("not_calibrated"),
        "reliability": _diagram(found),
        "blocks": block_costs(facts.network),
        "cost": total_cost(facts.network),
        "input": facts.network.takes,
        "recipe": facts.recipe.strip(),
        "versions": start and start.versions,
    }


def _diagram(calibration: dict[str, Any] | None) -> str | None:
    """The reliability diagram; None where the run took its calibration from another one."""
    found = (calibration or {}).get("reliability", {})
    return figures.drawn(figures.reliability, found) if found.get("before") else None


def _title(facts: _Facts) -> str:
    """ "nin-small on fashion-mnist"; the network alone where the recipe names no data set."""
    dataset = facts.fields.get("dataset")
    return f"{facts.network.name} on {dataset}" if dataset else facts.network.name


def _subtitle(facts: _Facts) -> str:
    starts = facts.all(events.Start)
    parts = [f"Run {facts.folder.resolve().name}"]
    if starts:
        newest = starts[-1]
        parts.append(f"{newest.framework} on {newest.device}")
        if newest.threads:
            parts.append(units.counted(newest.threads, "thread"))
        parts.append(f"started {_when(starts[0].time)}")
    return " · ".join(parts)


def _dead(facts: _Facts) -> list[tuple[str, int]]:
    """Classes that are dead after the newest epoch, and the first epoch in which they were."""
    dead = facts.all(events.DeadClass)
    evaluated = (event.epoch for event in facts.all(events.Evaluation))
    newest = max((*evaluated, *(event.epoch for event in dead)), default=0)
    first: dict[str, int] = {}
    for event in dead:
        first.setdefault(event.class_, event.epoch)
    return [(e.class_, first[e.class_]) for e in dead if e.epoch == newest]


def _mean_speed(facts: _Facts, latest: events.Progress | events.Evaluation | None) -> float | None:
    """Training images per second so far: what a finished run has in its metrics."""
    batch_size = facts.fields.get("batch_size")
    if not batch_size or not latest or not latest.seconds:
        return None
    return float(latest.step * batch_size / latest.seconds)


def _mistakes(
    classes: Sequence[str], mistakes: Sequence[dict[str, Any]], pictures: Source | None
) -> dict[str, str | None]:
    """The most confident mistakes as pictures, and in words."""
    shown = [m for m in mistakes if pictures is not None and m["index"] < len(pictures)]
    captions = [
        f"{classes[m['label']]} → {classes[m['predicted']]}\n{units.percent(m['probability'])}"
        for m in shown
    ]
    grid = None
    if pictures is not None and shown:
        images = pictures.pictures(np.array([m["index"] for m in shown]))
        grid = figures.drawn(figures.picture_grid, images, captions)
    return {"mistakes": grid, "mistakes_as_text": "; ".join(captions).replace("\n", " ")}


def _when(time: str) -> str:
    """An ISO time without its T and its fractions of a second."""
    try:
        moment = datetime.datetime.fromisoformat(time)
    except ValueError:
        return time
    return moment.strftime("%Y-%m-%d %H:%M:%S %Z").strip()
