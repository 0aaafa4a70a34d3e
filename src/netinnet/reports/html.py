"""The report of a run: one HTML file that needs nothing else, neither network nor folder.

It is made from the run's files alone and written anew after each epoch; until the run is finished
the page reloads itself.
"""

from __future__ import annotations

import base64
import datetime
import json
import shlex
import string
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources as package_files
from pathlib import Path
from typing import Any

import numpy as np

from netinnet.costs.counts import LayerCost, block_costs, total_cost
from netinnet.data.source import Source
from netinnet.errors import ModelError
from netinnet.files import write_text
from netinnet.networks.network import Network
from netinnet.reports import figures
from netinnet.training.run import Event, Run

REFRESH_SECONDS = 10
"""How often the page of an unfinished run reloads itself."""

_SPLITS = {"train": "training", "validation": "validation", "test": "test"}


def write(run: Path, pictures: Source | None) -> Path:
    """Write `report.html` into the run folder and return its path.

    `pictures` is the split that judges, of which the worst mistakes are shown; None leaves them
    out. Raises ModelError where the folder is no run, NetinnetError where it can't be written.
    """
    page = _page(_read_run(run), pictures)
    path = Run(run).report_file
    write_text(path, page)
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
    def start(self) -> Event:
        return self.last("start")

    @property
    def judged(self) -> str:
        """The split that judges: what `Recipe.judged` says, or the test split."""
        evaluation = self.last("evaluation")
        return "test" if "test" in evaluation or not evaluation else "validation"

    @property
    def evaluation(self) -> dict[str, Any]:
        """The newest evaluation of the split that judges, {} before the first one."""
        found: dict[str, Any] = self.last("evaluation").get(self.judged, {})
        return found

    @property
    def state(self) -> str:
        """`waiting`, `running`, `interrupted`, `failed` or `finished`."""
        kind = self.last("start", "resume", "interrupted", "failed", "end").get("event")
        known = {None: "waiting", "end": "finished", "interrupted": "interrupted"}
        return {**known, "failed": "failed"}.get(kind, "running")


def _read_run(folder: Path) -> _Facts:
    run = Run(folder)
    metrics = _read(run.metrics_file) if run.metrics_file.is_file() else "{}"
    try:
        results = json.loads(metrics)
    except ValueError as error:
        raise ModelError(f"{run.metrics_file}: damaged ({error})") from error
    return _Facts(
        folder=folder,
        network=Network.from_json(_read(run.network_file)),
        recipe=_read(run.recipe_file),
        events=run.events(),
        metrics=results if isinstance(results, dict) else {},
    )


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ModelError(f"{path}: cannot be read ({reason}); is this a run folder?") from error


def _page(facts: _Facts, pictures: Source | None) -> str:
    """The whole page. Every part below returns HTML with all foreign text escaped."""
    template = package_files.files("netinnet.reports").joinpath("page.html").read_text("utf-8")
    refresh = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">'
    sections = (
        _learning(facts),
        _confusion(facts),
        _recall(facts),
        _mistakes(facts, pictures),
        _network(facts.network),
        section("Recipe", f"<pre>{escape(facts.recipe.strip())}</pre>"),
        _versions(facts.start),
    )
    return string.Template(template).substitute(
        refresh="" if facts.state == "finished" else refresh,
        title=escape(_title(facts)),
        subtitle=escape(_subtitle(facts)),
        state=_state(facts),
        warnings=_warnings(facts),
        headline=_headline(facts),
        sections="\n".join(section for section in sections if section),
    )


def _title(facts: _Facts) -> str:
    """ "nin-small on fashion-mnist"; the network alone where the recipe names no data set."""
    try:
        dataset = tomllib.loads(facts.recipe).get("dataset")
    except tomllib.TOMLDecodeError:
        dataset = None
    return f"{facts.network.name} on {dataset}" if dataset else facts.network.name


def _subtitle(facts: _Facts) -> str:
    start = facts.start
    parts = [f"Run {facts.folder.resolve().name}"]
    if start:
        parts.append(f"{start['framework']} on {start['device']}")
        if start.get("threads"):
            parts.append(f"{start['threads']} threads")
        first = facts.all("start")[0]
        parts.append(f"started {_when(first['time'])}")
    return " · ".join(parts)


def _state(facts: _Facts) -> str:
    """A line on how far the run is, with a bar while it is running."""
    start = facts.start
    total = start.get("steps_per_epoch", 0) * start.get("epochs", 0)
    step = max((event.get("step", 0) for event in facts.events), default=0)
    of = f"step {step:,} of {total:,}"
    if facts.state == "finished":
        return f"Finished {escape(_when(facts.last('end')['time']))}"
    if facts.state == "interrupted":
        command = f"nin train --resume {shlex.quote(str(facts.folder))}"
        return f"Interrupted at {of}; <code>{escape(command)}</code> goes on"
    if facts.state == "failed":
        return f"Failed at {of}: {escape(facts.last('failed')['reason'])}"
    if facts.state == "waiting":
        return "Not started yet"
    now = datetime.datetime.now().astimezone().strftime("%H:%M:%S")
    bar = f'<progress value="{step}" max="{max(total, 1)}"></progress>'
    return f"Running: {of} (as of {now}){bar}"


def _warnings(facts: _Facts) -> str:
    """Classes that are dead after the newest epoch, and what was said at the start."""
    cautions = [str(caution) for caution in facts.start.get("cautions", ())]
    texts = [escape(f"{caution[:1].upper()}{caution[1:]}.") for caution in cautions]
    events = facts.all("dead_class")
    newest = max((e["epoch"] for e in (*events, *facts.all("evaluation"))), default=0)
    dead = [str(event["class"]) for event in events if event["epoch"] == newest]
    if dead:
        since = {name: min(e["epoch"] for e in events if e["class"] == name) for name in dead}
        names = ", ".join(f"{escape(name)} (first in epoch {since[name]})" for name in dead)
        texts.insert(
            0,
            f"<strong>Dead {'class' if len(dead) == 1 else 'classes'}: {names}.</strong> The logit "
            "was exactly 0 for every picture of the epoch: the ReLU behind the logits lets no "
            "gradient through, so the class is not learnt any more. The cure is a network without "
            "that ReLU: <code>logits_relu = false</code> in the recipe.",
        )
    return "\n".join(f'<p class="warning">{text}</p>' for text in texts)


def _mean_speed(facts: _Facts, latest: Event) -> float | None:
    """Training images per second so far: what a finished run has in its metrics."""
    batch_size = tomllib.loads(facts.recipe).get("batch_size")
    if not batch_size or not latest.get("seconds"):
        return None
    return float(latest["step"] * batch_size / latest["seconds"])


def _headline(facts: _Facts) -> str:
    """The numbers that are asked for first, as cards."""
    evaluation, metrics = facts.last("evaluation"), facts.metrics
    latest = facts.last("progress", "evaluation")
    speed = metrics.get("images_per_second", _mean_speed(facts, latest))
    cards = [
        (f"{name} {field}", text(evaluation[split].get(field)))
        for split, name in (("test", "test"), ("validation", "validation"))
        for field, text in (("accuracy", _percent), ("loss", _decimal))
        if split in evaluation
    ]
    cards.append(("parameters", f"{total_cost(facts.network).parameters:,}"))
    seconds = metrics.get("training_seconds", latest.get("seconds"))
    if seconds is not None:
        cards.append(("training time", duration(seconds)))
    if speed is not None:
        cards.append(("training images/s", f"{speed:,.0f}"))
    inside = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in cards
    )
    return f'<dl class="cards">{inside}</dl>'


def _learning(facts: _Facts) -> str:
    """Curves, and all epochs in a table that unfolds."""
    if not facts.last("progress", "evaluation"):
        return ""
    image = image_tag(figures.learning_curves(facts.events), "Loss and accuracy over the epochs")
    caption = (
        "Marked points stand for whole epochs; the thin line for single training batches. Training "
        "figures are means while the network changes, with dropout and augmentation where the "
        "recipe has them, so test points may lie better than training points."
    )
    evaluations = facts.all("evaluation")
    splits = [split for split in _SPLITS if any(split in event for event in evaluations)]
    header = ["epoch"]
    for split in splits:
        header += [f"{_SPLITS[split]} loss", f"{_SPLITS[split]} accuracy"]
    rows = []
    for event in evaluations:
        row = [str(event["epoch"])]
        for split in splits:
            values = event.get(split, {})
            row += [_decimal(values.get("loss")), _percent(values.get("accuracy"))]
        rows.append([*row, duration(event["seconds"])])
    table = text_table([*header, "training time"], rows, numbers=range(2 * len(splits) + 2))
    folded = f"<details><summary>All epochs</summary>{table}</details>" if rows else ""
    return section("Learning curves", captioned(image, caption) + folded)


def _confusion(facts: _Facts) -> str:
    matrix = facts.evaluation.get("confusion")
    if not matrix:
        return ""
    image = image_tag(figures.confusion(matrix, facts.network.classes), "Confusion matrix")
    pictures = f"{facts.judged} pictures"
    caption = f"How many {pictures} of each class (row) were taken for each class (column)."
    return section("Confusion matrix", captioned(image, caption))


def _recall(facts: _Facts) -> str:
    """Bars beside a table with the counts."""
    recall, matrix = facts.evaluation.get("recall"), facts.evaluation.get("confusion")
    if not recall or not matrix:
        return ""
    classes = facts.network.classes
    image = image_tag(figures.recall_bars(recall, classes), "Recall of each class")
    rows = [
        [name, f"{sum(row):,}", f"{row[i]:,}", _percent(recall[i])]
        for i, (name, row) in enumerate(zip(classes, matrix, strict=True))
    ]
    table = text_table(["class", "pictures", "found", "recall"], rows, numbers=range(1, 4))
    caption = f"Share of each class's {facts.judged} pictures that were found."
    return section(
        "Recall by class",
        f'<div class="beside">{captioned(image, caption)}{table}</div>',
    )


def _mistakes(facts: _Facts, pictures: Source | None) -> str:
    """The most confident mistakes as pictures."""
    if pictures is None:
        return ""
    mistakes = [m for m in facts.evaluation.get("mistakes", ()) if m["index"] < len(pictures)]
    if not mistakes:
        return ""
    classes = facts.network.classes
    captions = [
        f"{classes[m['label']]} → {classes[m['predicted']]}\n{_percent(m['probability'])}"
        for m in mistakes
    ]
    shown = pictures.pictures(np.array([m["index"] for m in mistakes]))
    grid = figures.picture_grid(shown, captions)
    alternative = "; ".join(caption.replace("\n", " ") for caption in captions)
    caption = "True class → prediction, and the probability that the network gave it."
    return section("The most confident mistakes", captioned(image_tag(grid, alternative), caption))


def _network(network: Network) -> str:
    """The table of blocks with what they cost."""

    def cells(cost: LayerCost) -> list[str]:
        return [
            cost.name,
            cost.description,
            str(cost.output),
            f"{cost.parameters:,}",
            f"{cost.macs:,}",
            f"{cost.activation_bytes / 1024:,.1f}",
        ]

    header = ["block", "layers", "output", "parameters", "multiply-adds", "activations (KiB)"]
    total = [*cells(total_cost(network))]
    total[1] = f"input {network.input}"
    table = text_table(header, map(cells, block_costs(network)), numbers=range(2, 6), footer=total)
    caption = (
        "Multiply-adds and activations (float32) are those of one picture in one forward pass."
    )
    return section("Network", f'{table}<p class="soft">{caption}</p>')


def _versions(start: Event) -> str:
    versions = start.get("versions")
    if not versions:
        return ""
    rows = [[str(name), str(version)] for name, version in versions.items()]
    table = text_table(["package", "version"], rows)
    return section("Versions", f'<div class="narrow">{table}</div>')


def section(title: str, body: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>"


def image_tag(svg: bytes, alternative: str) -> str:
    data = base64.b64encode(svg).decode()
    return f'<img alt="{escape(alternative)}" src="data:image/svg+xml;base64,{data}">'


def captioned(image: str, caption: str) -> str:
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def text_table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    numbers: Iterable[int] = (),
    footer: Sequence[str] | None = None,
) -> str:
    """A table of plain text; the columns in `numbers` are set flush right."""
    right = set(numbers)

    def line(cells: Sequence[str], tag: str) -> str:
        inside = "".join(
            f"<{tag} class='n'>{escape(cell)}</{tag}>"
            if i in right
            else f"<{tag}>{escape(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )
        return f"<tr>{inside}</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    foot = f"<tfoot>{line(footer, 'td')}</tfoot>" if footer else ""
    head = f"<thead>{line(header, 'th')}</thead>"
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody>{foot}</table></div>'


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}%"


def _decimal(value: float | None) -> str:
    """Three decimals; None stands for a number that was not finite."""
    return "not finite" if value is None else f"{value:.3f}"


def duration(seconds: float) -> str:
    """ "47 s", "6 min 45 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _when(time: str) -> str:
    """An ISO time without its T and its fractions of a second."""
    try:
        moment = datetime.datetime.fromisoformat(time)
    except ValueError:
        return time
    return moment.strftime("%Y-%m-%d %H:%M:%S %Z").strip()
