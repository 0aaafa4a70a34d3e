"""The page of a search: its history, what decides, and every trial."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from netinnet.studies import tuning
from netinnet.studies.fields import short_text
from netinnet.studies.pages import tuning_figures
from netinnet.studies.pages.page import Page, Progress, duration, figure, section, text_table
from netinnet.studies.pages.tuning_figures import Slice
from netinnet.studies.tuning import Trial, Tuning


def write(found: Tuning, state: str) -> Path:
    """Write report.html into the search's folder and return its path."""
    recipe = found.plan.recipe
    over = [trial for trial in found.trials if trial.is_over]
    best, given = found.best, found.as_given
    cards = [("trials", f"{len(over)}"), ("pruned", f"{_count(over, 'pruned')}")]
    if best is not None:
        cards.append(("best validation accuracy", f"{100 * (best.accuracy or 0):.2f}%"))
    if given is not None:
        cards.append(("as given", f"{100 * (given.accuracy or 0):.2f}%"))
    page = Page(
        f"Which recipe teaches {recipe.network} best?",
        cards,
        (
            _best(found),
            _history(found.trials),
            _importances(found),
            _slices(found),
            _trials(found),
        ),
        _warnings(found),
    )
    fields = len(found.plan.space.fields)
    subtitle = f"{fields} {'field' if fields == 1 else 'fields'} searched"
    total = max(found.plan.trials or 0, len(over))
    return page.write_into(
        found.folder, found.plan, subtitle, Progress(state, len(over), total, "trials")
    )


def _count(trials: Sequence[Trial], state: str) -> int:
    return sum(trial.state == state for trial in trials)


def _warnings(found: Tuning) -> list[str]:
    texts = []
    for state in ("diverged", "failed"):
        if count := _count(found.trials, state):
            texts.append(f"{count} {'trial' if count == 1 else 'trials'} {state}.")
    return texts


def _best(found: Tuning) -> str:
    if found.best is None:
        return section("Best recipe", "<p>No trial is finished yet.</p>")
    given = found.plan.recipe
    rows = [
        [name, short_text(value), short_text(getattr(given, name))]
        for name, value in found.best.values.items()
    ]
    table = text_table(["field", "best", "as given"], rows, numbers=())
    note = (
        f"Trial {found.best.number}, also in {tuning.BEST_FILE}: nin train --recipe "
        f"{tuning.BEST_FILE} trains it on the whole training set. The best of many trials was "
        "partly lucky on this validation split: over seeds of its own it will do a little worse. "
        "No test picture had a say."
    )
    return section(
        "Best recipe", f'<div class="narrow">{table}</div><p class="soft">{escape(note)}</p>'
    )


def _history(trials: Sequence[Trial]) -> str:
    if not any(t.state in ("finished", "pruned") and t.accuracy is not None for t in trials):
        return ""
    svg = tuning_figures.history(trials)
    caption = (
        "Validation accuracy of each trial after its last epoch, and the best finished one so far."
    )
    return section("History", figure(svg, "Accuracy of each trial", caption))


def _importances(found: Tuning) -> str:
    if not found.importances:
        return ""
    svg = tuning_figures.importances(found.importances)
    caption = (
        "Which fields tell good trials from the rest (PED-ANOVA, over finished trials; all shares "
        "together are 100 %). With few trials this is a hint, no measurement."
    )
    return section("What decides", figure(svg, "Importance of each field", caption))


def _slices(found: Tuning) -> str:
    finished = [t for t in found.trials if t.state == "finished"]
    if not finished:
        return ""
    fields = found.plan.space.fields
    slices = [
        Slice(name, [t.values[name] for t in finished], searched)
        for name, searched in fields.items()
    ]
    svg = tuning_figures.slices(
        slices, [t.accuracy or 0.0 for t in finished], [t.number for t in finished]
    )
    caption = "Every finished trial over each field; the darker a dot, the later its trial."
    return section("Slices", figure(svg, "Accuracy over each field", caption))


def _trials(found: Tuning) -> str:
    names = list(found.plan.space.fields)
    rows = [
        [
            str(trial.number),
            trial.state + (" (as given)" if trial.as_given else ""),
            "–" if trial.accuracy is None else f"{100 * trial.accuracy:.2f}",
            str(trial.epochs),
            "–" if trial.seconds is None else duration(trial.seconds),
            *(short_text(trial.values[name]) if name in trial.values else "–" for name in names),
        ]
        for trial in found.trials
    ]
    header = ["trial", "state", "accuracy (%)", "epochs", "time", *names]
    table = text_table(header, rows, numbers=(0, 2, 3, 4))
    return section(
        "Trials",
        f'<details><summary>All {len(rows)} trials</summary><div class="scroll">{table}</div>'
        "</details>",
    )
