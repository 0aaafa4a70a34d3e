"""The model card: what a model is, made of, worth and not meant for, as far as its files know it.

Nothing is invented: what neither the model's file nor its run says is "not measured" or "not
known". `Card` is plain data, for Markdown here and for the page.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from netinnet import units
from netinnet.costs import counts
from netinnet.data.source import SPLITS
from netinnet.errors import RunWarning
from netinnet.export import metadata
from netinnet.files import write_text
from netinnet.networks.network import Network
from netinnet.training import learnt
from netinnet.training.events import Evaluation, of_kind
from netinnet.training.run import Run
from netinnet.weights import Model

NOT_MEASURED = "not measured"
NOT_KNOWN = "not known: neither the model's file nor a run says it"
NOT_GIVEN = "None was given for this model."
NEAR = 3
"""How many pairs of classes that are taken for each other are named."""
Row = tuple[str, str]


@dataclass(frozen=True)
class Section:
    """A part of a card: sentences, a table of facts, and a text kept as it is."""

    title: str
    sentences: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    code: str = ""


@dataclass(frozen=True)
class Card:
    """A model card. Its texts are plain: whoever shows them escapes them."""

    title: str
    sections: tuple[Section, ...]

    def to_markdown(self) -> str:
        """The card as Markdown, with every text from outside escaped."""
        parts = [f"# {_escaped(self.title)}"]
        for section in self.sections:
            parts.append(f"## {section.title}")
            parts += [_escaped(sentence) for sentence in section.sentences]
            if section.rows:
                rows = (f"| {_escaped(name)} | {_escaped(value)} |" for name, value in section.rows)
                parts.append("\n".join(("| | |", "|---|---|", *rows)))
            if section.code:
                parts.append("```toml\n" + section.code.strip().replace("```", "") + "\n```")
        return "\n\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", text)


def card(model: Model, run: Run | None = None, licence: str | None = None) -> Card:
    """The card of a model.

    Args:
        model: The model; its file's notes say what it learnt and by which recipe.
        run: The finished run that it is of, whose metrics and events say how good it is.
        licence: The model's licence, in the words that are to be written down; what its file says
            if None.

    Raises:
        NetinnetError: Where the model's notes or the run's files are damaged.

    Example:
        >>> card(netinnet.load(), licence="Apache-2.0").sections[0].title
        'What it is'
    """
    network = model.network
    return Card(
        f"Model card: {network.name}",
        (
            _what(network),
            _data(model),
            _figures(model, run),
            _use(model, run),
            _preprocessing(network),
            _making(model, run),
            Section("Licence", (licence or model.notes.get("licence") or NOT_GIVEN,)),
        ),
    )


def write(path: Path, model: Model, run: Run | None = None, licence: str | None = None) -> None:
    """Write the card as a Markdown file; it appears whole or not at all."""
    write_text(path, card(model, run, licence).to_markdown())


def _what(network: Network) -> Section:
    cost = counts.total_cost(network)
    count = len(network.classes)
    rows = (
        ("network", network.name),
        ("takes", f"a picture of {network.input} (channels×height×width) numbers"),
        ("classes", f"{count}: {', '.join(network.classes)}"),
        ("parameters", f"{cost.parameters:,}"),
        ("multiply-accumulates", f"{cost.macs:,} a picture"),
        ("weights", f"{units.size(4 * cost.parameters)} in float32"),
    )
    says = f"It looks at one picture and gives a probability for each of {count} classes."
    return Section("What it is", (f"A classifier of pictures. {says}",), rows)


def _data(model: Model) -> Section:
    record, recipe = learnt.record_of(model), learnt.recipe_values(model)
    if record is None:
        name = str(recipe.get("dataset", NOT_KNOWN))
        return Section("Data", (), (("learnt", name), ("pictures, digest", NOT_KNOWN)))
    rows = [("learnt", record.name)]
    rows += [
        (f"{split} pictures", f"{record.counts[split]:,}")
        for split in SPLITS
        if split in record.counts
    ]
    rows.append(("classes", ", ".join(record.facts.classes)))
    if record.how_split:
        rows.append(("split", record.how_split))
    rows.append(("digest of the content", record.digest))
    limits = {"training": recipe.get("train_examples"), "test": recipe.get("test_examples")}
    for split, limit in limits.items():
        if limit is not None:
            rows.append((f"of the {split} pictures", f"only the first {limit:,} were used"))
    return Section("Data", (), tuple(rows))


def _figures(model: Model, run: Run | None) -> Section:
    rows: list[Row] = []
    measured = run.metrics() if run is not None and run.is_finished else {}
    judged = str(measured.get("judged", ""))
    result = measured.get(judged)
    if isinstance(result, dict) and result.get("accuracy") is not None:
        low, high = result["accuracy_interval"]
        count = measured.get(f"{judged}_examples")
        rows.append(("measured on", f"{units.count(count)} {judged} pictures, after training"))
        interval = f"{low:.4f} to {high:.4f}: 95 %, Wilson"
        rows.append(("accuracy", f"{result['accuracy']:.4f} ({interval})"))
        if result.get("loss") is not None:
            rows.append(("loss", f"{result['loss']:.4f} nats"))
        if dead := measured.get("dead_classes"):
            rows.append(("dead classes", ", ".join(map(str, dead))))
    else:
        rows.append(("accuracy", f"{NOT_MEASURED}, as far as its file says; nin evaluate does it"))
    found = model.calibration
    if found is None:
        rows.append(("calibration", f"{NOT_MEASURED}: probabilities may be too sure"))
        return Section("How good it is", (), tuple(rows))
    before, after = found.ece
    rows += [
        ("calibrated on", f"{found.pictures:,} pictures that were held out"),
        ("expected calibration error", f"{after:.4f} ({before:.4f} before scaling)"),
        ("temperature", f"{found.temperature:.4f}"),
    ]
    if found.threshold is None:
        rows.append(("none of these", "never said: too few pictures to find a threshold"))
    else:
        share = units.percent(found.refuse)
        rows.append(("none of these", f"below a score of {found.threshold:.2f}"))
        rows.append(("good pictures refused", f"at most {share}, by its threshold"))
    if more := found.counter_examples:
        text = f"{units.percent(more.refused)} of {more.pictures:,} (AUROC {more.auroc:.3f})"
        rows.append(("pictures of other things refused", text))
    else:
        rows.append(("pictures of other things refused", NOT_MEASURED))
    return Section("How good it is", (), tuple(rows))


def _use(model: Model, run: Run | None) -> Section:
    network = model.network
    channels, height, width = network.input
    seen = "colour is turned into grey" if channels == 1 else "grey pictures are taken as they are"
    sentences = [
        "It is meant for pictures like those that it learnt: the same kinds of things, shown the "
        "same way. What it says of others is no knowledge.",
        f"It sees a picture at {height}×{width} pixels; details that are lost there don't count. "
        f"Of its colours: {seen}.",
        "It names one class a picture, not how many things there are, nor anything that is no "
        "class of its own.",
    ]
    if model.calibration is None or model.calibration.threshold is None:
        sentences.append('It always names a class: it never says "none of these".')
    else:
        sentences.append(
            'It says "none of these" of pictures whose score is below its threshold; exports '
            "without that score (plain graphs, TFLite) always name a class."
        )
    sentences.append(_confusions(network, run))
    return Section("What it is for, and its limits", tuple(sentences))


def _confusions(network: Network, run: Run | None) -> str:
    """Which classes a run's last evaluation took most often for others, as a sentence."""
    if run is None or not run.is_finished:
        return f"Which classes it confuses: {NOT_MEASURED}."
    table = _confusion(run)
    if table is None:
        reason = "the run's events.jsonl is damaged or missing"
        warnings.warn(
            f"{run.folder}: which classes it confuses is not known: {reason}", RunWarning, 2
        )
        return f"Which classes it confuses: not known: {reason}."
    near = "; ".join(_near(network, table))
    if not near:
        return (
            f"Classes that it confuses: none of the {run.recipe().judged} pictures were mistaken."
        )
    return f"Classes that it confuses most: {near}."


def _confusion(run: Run) -> list[list[int]] | None:
    """The confusion matrix after a finished run's last epoch; None where its events lack it."""
    evaluations, recipe = of_kind(run.events(), Evaluation), run.recipe()
    if not evaluations or evaluations[-1].epoch != recipe.epochs:
        return None
    return evaluations[-1].figures.get(recipe.judged, {}).get("confusion")


def _near(network: Network, table: Sequence[Sequence[int]]) -> Iterator[str]:
    pairs = [
        (count, true, taken)
        for true, row in enumerate(table)
        for taken, count in enumerate(row)
        if true != taken and count
    ]
    for count, true, taken in sorted(pairs, key=lambda pair: (-pair[0], *pair[1:]))[:NEAR]:
        names, total = network.classes, sum(table[true])
        yield f"{names[true]} taken for {names[taken]} ({count:,} of {total:,})"


def _preprocessing(network: Network) -> Section:
    how = metadata.preprocessing(network)
    mean, std = (", ".join(f"{value:.7g}" for value in how[key]) for key in ("mean", "std"))
    rows = (
        ("channels", how["channels"]),
        ("size", f"{how['height']}×{how['width']} (height×width)"),
        ("resize", how["resize"]),
        ("other aspect ratios", f"{how['fit']}: {how['fit_means']}"),
        ("values", how["formula"]),
        ("mean", mean),
        ("std", std),
    )
    return Section("From a picture to its input", (), rows)


def _making(model: Model, run: Run | None) -> Section:
    recipe = model.notes.get("recipe", "")
    values = learnt.recipe_values(model)
    measured = run.metrics() if run is not None and run.is_finished else {}
    versions = measured.get("versions")
    if versions:
        known = ", ".join(f"{name} {version}" for name, version in versions.items())
    else:
        own = model.notes.get("netinnet")
        known = f"netinnet {own}; others {NOT_KNOWN}" if own else NOT_KNOWN
    rows = [
        ("framework", str(values.get("framework", NOT_KNOWN))),
        ("versions", known),
        ("seed", str(values.get("seed", NOT_KNOWN))),
    ]
    if measured:
        rows.append(("device", str(measured.get("device", NOT_KNOWN))))
        seconds = measured.get("wall_seconds")
        rows.append(("time", units.duration(seconds)))
    if not recipe:
        return Section("How it was made", (f"The recipe is {NOT_KNOWN}.",), tuple(rows))
    rows.append(("command", "nin train --recipe recipe.toml, with this recipe.toml:"))
    return Section("How it was made", (), tuple(rows), recipe)
