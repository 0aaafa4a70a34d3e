"""The report of a run: one HTML file that needs nothing else, neither network nor folder.

It is made from the run's files alone and written anew after each epoch; until the run is finished
the page reloads itself.
"""

from __future__ import annotations

import contextlib
import datetime
import shlex
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from netinnet import metrics, units
from netinnet.costs.counts import block_costs, total_cost
from netinnet.data.source import Source
from netinnet.errors import ModelError
from netinnet.files import write_text
from netinnet.networks.network import Network
from netinnet.reports import figures, samples
from netinnet.reports.template import render
from netinnet.training.run import Event, Run

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


@dataclass(frozen=True)
class _Facts:
    """What the files of a run say."""

    folder: Path
    network: Network
    recipe: str
    events: list[Event]
    metrics: dict[str, Any]

    def all(self, kind: str) -> list[Event]:
        """The events of a kind, in order."""
        return [event for event in self.events if event["event"] == kind]

    def last(self, *kinds: str) -> Event:
        """The newest event of some kinds, {} if there is none."""
        return next((e for e in reversed(self.events) if e["event"] in kinds), {})

    @property
    def fields(self) -> dict[str, Any]:
        """The recipe's fields, none where it is damaged."""
        with contextlib.suppress(tomllib.TOMLDecodeError):
            return tomllib.loads(self.recipe)
        return {}

    @property
    def state(self) -> str:
        """`waiting`, `running`, `interrupted`, `failed` or `finished`."""
        kind = self.last("start", "resume", "interrupted", "failed", "end").get("event")
        known = {None: "waiting", "end": "finished", "interrupted": "interrupted"}
        return {**known, "failed": "failed"}.get(kind, "running")


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
    start, evaluations = facts.last("start"), facts.all("evaluation")
    latest, newest = facts.last("progress", "evaluation"), facts.last("evaluation")
    judged = "test" if "test" in newest or not newest else "validation"
    figures_of, classes = newest.get(judged, {}), facts.network.classes
    matrix, recall = figures_of.get("confusion"), figures_of.get("recall")
    precision = metrics.precision(matrix) if matrix else []
    total = start.get("steps_per_epoch", 0) * start.get("epochs", 0)
    step = max((event.get("step", 0) for event in facts.events), default=0)
    splits = {
        split: name
        for split, name in (("train", "training"), ("validation", "validation"), ("test", "test"))
        if any(split in event for event in evaluations)
    }
    columns = [f"{name} {field}" for name in splits.values() for field in ("loss", "accuracy")]
    recalls = [
        (classes[i], sum(row), row[i], recall[i], precision[i])
        for i, row in enumerate(matrix if matrix and recall else ())
    ]
    return {
        "title": _title(facts),
        "subtitle": _subtitle(facts),
        "refresh": None if facts.state == "finished" else REFRESH_SECONDS,
        "state": facts.state,
        "ended": _when(facts.last("end").get("time", "")),
        "reason": facts.last("failed").get("reason"),
        "command": f"nin train --resume {shlex.quote(str(facts.folder))}",
        "how_far": f"step {units.count(step)} of {units.count(total)}",
        "step": step,
        "total": total,
        "cautions": [str(caution) for caution in start.get("cautions", ())],
        "dead": _dead(facts),
        "newest": newest,
        "judged": judged,
        "judgement": figures_of,
        "seconds": facts.metrics.get("training_seconds", latest.get("seconds")),
        "speed": facts.metrics.get("images_per_second", _mean_speed(facts, latest)),
        "curves": figures.drawn(figures.learning_curves, facts.events) if latest else None,
        "evaluations": evaluations,
        "splits": list(splits),
        "epoch_header": ["epoch", *columns, "training time"],
        "confusion": figures.drawn(figures.confusion, matrix, classes) if matrix else None,
        "recalls": recalls,
        "recall_bars": figures.drawn(figures.recall_bars, recall, classes) if recalls else None,
        **_mistakes(classes, figures_of.get("mistakes", ()), pictures),
        "blocks": block_costs(facts.network),
        "cost": total_cost(facts.network),
        "input": facts.network.input,
        "recipe": facts.recipe.strip(),
        "versions": start.get("versions"),
    }


def _title(facts: _Facts) -> str:
    """ "nin-small on fashion-mnist"; the network alone where the recipe names no data set."""
    dataset = facts.fields.get("dataset")
    return f"{facts.network.name} on {dataset}" if dataset else facts.network.name


def _subtitle(facts: _Facts) -> str:
    start = facts.last("start")
    parts = [f"Run {facts.folder.resolve().name}"]
    if start:
        parts.append(f"{start['framework']} on {start['device']}")
        if start.get("threads"):
            parts.append(units.counted(start["threads"], "thread"))
        parts.append(f"started {_when(facts.all('start')[0]['time'])}")
    return " · ".join(parts)


def _dead(facts: _Facts) -> list[tuple[str, int]]:
    """Classes that are dead after the newest epoch, and the first epoch in which they were."""
    events = facts.all("dead_class")
    newest = max((e["epoch"] for e in (*events, *facts.all("evaluation"))), default=0)
    first: dict[str, int] = {}
    for event in events:
        first.setdefault(event["class"], event["epoch"])
    return [(e["class"], first[e["class"]]) for e in events if e["epoch"] == newest]


def _mean_speed(facts: _Facts, latest: Event) -> float | None:
    """Training images per second so far: what a finished run has in its metrics."""
    batch_size = facts.fields.get("batch_size")
    if not batch_size or not latest.get("seconds"):
        return None
    return float(latest["step"] * batch_size / latest["seconds"])


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
