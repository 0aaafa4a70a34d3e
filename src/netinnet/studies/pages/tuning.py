"""The page of a search: its history, what decides, and every trial."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from netinnet import units
from netinnet.reports.figures import drawn
from netinnet.studies import tuning
from netinnet.studies.fields import short_text
from netinnet.studies.pages import page, tuning_figures
from netinnet.studies.pages.page import Progress
from netinnet.studies.pages.tuning_figures import Slice
from netinnet.studies.tuning import Tuning


def write(tuned: Tuning, state: str) -> Path:
    """Write report.html into the search's folder and return its path."""
    given, trials = tuned.plan.recipe, tuned.trials
    fields = tuned.plan.space.fields
    over = sum(trial.is_over for trial in trials)
    finished = [t for t in trials if t.state == "finished"]
    slices = [Slice(n, [t.values[n] for t in finished], kind) for n, kind in fields.items()]
    accuracies, numbers = [t.accuracy or 0.0 for t in finished], [t.number for t in finished]
    has_history = any(t.state in ("finished", "pruned") and t.accuracy is not None for t in trials)
    importances = tuned.importances
    progress = Progress(state, over, max(tuned.plan.trials or 0, over), "trials")
    subtitle = f"{units.counted(len(fields), 'field')} searched"
    return page.write(
        *("tuning.html", tuned.folder, tuned.plan, progress, subtitle),
        title=f"Which recipe teaches {given.network} best?",
        over=over,
        states=Counter(trial.state for trial in trials),
        best=tuned.best,
        as_given=tuned.as_given,
        given=given,
        best_file=tuning.BEST_FILE,
        trials=trials,
        fields=list(fields),
        text=short_text,
        history=drawn(tuning_figures.history, trials) if has_history else None,
        importances=drawn(tuning_figures.importances, importances) if importances else None,
        slices=drawn(tuning_figures.slices, slices, accuracies, numbers) if finished else None,
    )
