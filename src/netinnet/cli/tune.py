"""`nin tune`: a search for a better recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from netinnet.cli import recipe_flags
from netinnet.cli.console import WholeNumber, print_json, print_table, say
from netinnet.cli.recipe_flags import RecipeFlags
from netinnet.cli.study import NO_FLAGS, StudyFlags, foretell, load_own, options, time_needed
from netinnet.cli.study_progress import StudyProgress
from netinnet.errors import NetinnetError, nin
from netinnet.studies.fields import short_text
from netinnet.studies.plan import PRUNERS, SearchPlan
from netinnet.training.recipe import Recipe
from netinnet.units import counted

INSTALL = "Optuna is not installed; pip install 'netinnet[tune]' installs it"


def tune(
    *,
    recipe: str | None = None,
    search: Annotated[list[str] | None, Parameter(negative=())] = None,
    space: Path | None = None,
    trials: WholeNumber | None = None,
    minutes: float | None = None,
    pruner: str | None = None,
    storage: str | None = None,
    name: str | None = None,
    flags: StudyFlags = NO_FLAGS,
    overrides: RecipeFlags = None,
) -> None:
    """Search for a better recipe, judged on a validation split, never on test pictures.

    The recipe as given is the first trial; then Optuna's TPE sampler proposes others, and trials
    that fall behind are stopped early. The best one is written to best.toml, which
    `nin train --recipe` takes. Ctrl-C or a kill loses no finished trial: `--resume`, or the same
    command with the same `--output`, continues. Searches on several machines that use the same
    `--storage` share their trials.

    Parameters
    ----------
    recipe
        A shipped recipe (`fashion` if not given) or the path of a TOML file.
    search
        A field and what it may be: learning_rate=0.01..0.5:log, dropout=0..0.5, batch_size=64,128,
        width=0.5..2. Given once for each field; learning rate, batch size, weight decay, momentum,
        dropout, initialisation, label smoothing and augmentation if none is given.
    space
        The same in a TOML file: learning_rate = "0.01..0.5:log", batch_size = [64, 128].
    trials
        Trials in all, those of other searchers and earlier sittings included; 20 if neither this
        nor --minutes is given.
    minutes
        Start no new trial after this many minutes.
    pruner
        Which trials are stopped early: `median` (worse than half of the others at that epoch; if
        not given), `hyperband` or `none`.
    storage
        URL of the SQL database that keeps the trials, as in postgresql+psycopg2://host/database,
        with that driver installed; study.db in the folder if not given. A password in it is never
        written down.
    name
        The search's name there; tune if not given.
    """
    _require_optuna()
    from netinnet.studies import api, search_space, tuning

    changes = recipe_flags.given(overrides)
    if flags.resume is not None:
        decided = {"recipe": recipe, "search": search, "space": space, "pruner": pruner}
        plan = load_own(flags, tuning.KIND, {**decided, "name": name, **changes})
        assert isinstance(plan, SearchPlan)
        plan = plan if trials is None else dataclasses.replace(plan, trials=trials)
    else:
        texts = [*(search_space.load(space) if space else ()), *(search or ())]
        with recipe_flags.named(changes):
            plan = tuning.plan(
                recipe or "fashion",
                space=search_space.parse(texts) if texts else None,
                trials=tuning.TRIALS if trials is None and minutes is None else trials,
                pruner=pruner or PRUNERS[0],
                storage=storage,
                name=name or tuning.KIND,
                data_dir=flags.data_dir,
                **changes,
            )
    if flags.dry_run:
        _show_plan(plan, minutes, storage, flags)
        return
    with StudyProgress(quiet=flags.quiet) as progress:
        common = {"output": flags.resume or flags.output, **options(flags, progress)}
        tuned = api.run_search(plan, minutes=minutes, storage=storage, **common)
    if tuned.best is None:
        raise NetinnetError(f"no trial has finished; {tuned.folder} says what became of them")
    best_file = tuned.folder / tuning.BEST_FILE
    if flags.json:
        best = {"best": tuned.best, "as_given": tuned.as_given, "best_recipe": best_file}
        trials_of = {"importances": tuned.importances, "trials": tuned.trials}
        print_json({"study": tuned.folder, **best, **trials_of})
        return
    best_values = {n: short_text(value) for n, value in tuned.best.values.items()}
    _print_fields("best", best_values, plan.recipe)
    text = f"best: trial {tuned.best.number}, validation accuracy {tuned.best.accuracy:.4f}"
    if tuned.as_given is not None:
        text += f" (as given {tuned.as_given.accuracy:.4f})"
    print(f"{text}, of {counted(len(tuned.trials), 'trial')}")
    say(f"recipe: {best_file}  ({nin('train', '--recipe', best_file)})")
    say(f"study: {tuned.folder}  (report: {tuned.folder / 'report.html'})")


def _print_fields(what: str, texts: Mapping[str, str], given: Recipe) -> None:
    rows = [(name, text, short_text(getattr(given, name))) for name, text in texts.items()]
    print_table(("field", what, "as given"), rows, right=(1, 2))


def _require_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise NetinnetError(INSTALL) from error


def _show_plan(
    plan: SearchPlan, minutes: float | None, storage: str | None, flags: StudyFlags
) -> None:

    expected = foretell(plan, flags, minutes=minutes, storage=storage)
    if flags.json:
        limits = {name: getattr(expected, name) for name in ("workers", "over", "seconds")}
        print_json({"kind": plan.kind, **plan.settings, "minutes": minutes, **limits})
        return
    given = plan.trial_recipe({})
    _print_fields("searched", {n: str(kind) for n, kind in plan.space.fields.items()}, given)
    ends = [counted(plan.trials, "trial")] if plan.trials else []
    ends += [f"{minutes:g} minutes"] if minutes else []
    over = f" ({expected.over} over)" if expected.over else ""
    time = ""
    if expected.runs:
        known = expected.seconds_of_runs is not None
        if_alike = " if each trial takes as long as the recipe as given" if known else ""
        time = f"{time_needed(expected)}{if_alike}.\n"
    print(
        f"{' or '.join(ends)} of {counted(given.epochs, 'epoch')} each{over}; "
        f"judged on {expected.percent_held_out:g}% of the training pictures, held out; "
        f"pruner: {plan.pruner}.\n{time}",
        end="",
    )
