"""Which recipe learns best? A search with Optuna, judged on a validation split (exercise 1).

A tuning is a folder: `study.toml` (the plan), `study.db` (the trials, unless another storage is
named), `searcher` (which of the trials are this folder's), `runs/trial-N/seed-S` (ordinary run
folders), `best.toml`, `report.html`. The storage may be any SQL server: searches on many machines
that name the same one share their trials.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netinnet.errors import NetinnetError, nearest
from netinnet.files import write_text
from netinnet.studies import plan as plans
from netinnet.studies import search_space
from netinnet.studies.plan import Arm, Plan
from netinnet.studies.search_space import SearchSpace
from netinnet.training.recipe import Recipe

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

KIND = "tune"
AS_GIVEN = "as given"
VALIDATION = 0.1
"""Share of the training set that judges trials where the recipe holds none out."""
TRIALS = 20
PRUNERS = ("median", "hyperband", "none")
DATABASE = "study.db"
BEST_FILE = "best.toml"
SECONDS_TO_WAIT = 60.0
"""How long a process waits for another one that writes to the same SQLite file."""


@dataclass(frozen=True)
class Trial:
    """One trial. Figures are those of its last whole epoch.

    `state` is "finished", "pruned", "diverged", "failed", "running" or "waiting"; `accuracy` is
    that of the validation split; `values` are those of the searched fields.
    """

    number: int
    state: str
    accuracy: float | None
    epochs: int
    seconds: float | None
    as_given: bool
    values: Mapping[str, Any]

    @property
    def is_over(self) -> bool:
        return self.state not in ("running", "waiting")


@dataclass(frozen=True)
class Tuning:
    """What a search has found so far; `importances` are PED-ANOVA's shares, which add up to 1."""

    folder: Path
    plan: Plan
    trials: tuple[Trial, ...]
    importances: Mapping[str, float]

    @property
    def best(self) -> Trial | None:
        finished = [trial for trial in self.trials if trial.state == "finished"]
        return max(finished, key=lambda trial: trial.accuracy or 0.0, default=None)

    @property
    def as_given(self) -> Trial | None:
        """The finished trial of the recipe as it was given."""
        found = (t for t in self.trials if t.as_given and t.state == "finished")
        return next(found, None)


def plan(
    recipe: Recipe,
    *,
    space: SearchSpace | None = None,
    trials: int | None = TRIALS,
    pruner: str = "median",
    storage: str | None = None,
    name: str = KIND,
) -> Plan:
    """A search around a recipe. `trials` are those of all its searchers; None: only time ends it.

    Raises NetinnetError for what cannot be searched.
    """
    if pruner not in PRUNERS:
        raise NetinnetError(
            f"unknown pruner '{pruner}'{nearest(pruner, PRUNERS)}; known are {', '.join(PRUNERS)}"
        )
    if trials is not None and trials < 1:
        raise NetinnetError(f"--trials must be at least 1, got {trials}")
    found = space or search_space.default(recipe)
    base = plans.with_threads(recipe)
    settings = {
        "trials": trials or 0,
        "pruner": pruner,
        "storage": shown_url(storage) if storage else "",
        "name": name,
        "space": found.texts(),
    }
    return Plan(KIND, (Arm(AS_GIVEN, base),), (recipe.seed,), settings)


def space_of(plan: Plan) -> SearchSpace:
    return search_space.parse(plan.settings["space"])


def trial_recipe(plan: Plan, values: Mapping[str, Any]) -> Recipe:
    """The recipe of one trial. Raises RecipeError where the values make none."""
    base = plan.arms[0].recipe
    evaluate = "both" if base.evaluate == "test" else base.evaluate
    validation = base.validation or VALIDATION
    return base.replace(**{"validation": validation, "evaluate": evaluate, **values})


def as_study(plan: Plan, trials: int) -> Plan:
    """So many trials of the recipe as given, as a study: what it costs, a search costs about."""
    return replace(
        plan, arms=(Arm(AS_GIVEN, trial_recipe(plan, {})),), seeds=tuple(range(max(trials, 1)))
    )


def write_best(tuning: Tuning) -> Path | None:
    """Write best.toml, which `nin train --recipe` takes, where a trial is finished.

    It trains on the whole training set, unless the recipe as given holds some out or asks for its
    evaluation.
    """
    best = tuning.best
    if best is None:
        return None
    given = tuning.plan.arms[0].recipe
    held_out = given.evaluate in ("validation", "both")
    recipe = trial_recipe(tuning.plan, best.values) if held_out else given.replace(**best.values)
    path = tuning.folder / BEST_FILE
    write_text(
        path,
        f"# Trial {best.number} of {len(tuning.trials)}: validation accuracy "
        f"{best.accuracy:.4f}, the best of all.\n{recipe.to_toml()}",
    )
    return path


def shown_url(url: str) -> str:
    """A storage's URL without its password. Raises NetinnetError where it is no URL.

    The message does not repeat what was given: there may be a password in it.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        made = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise NetinnetError(
            "--storage must be the URL of an SQL database, as in sqlite:///study.db or "
            "postgresql://user:password@host/database"
        ) from error
    if secret := _SECRETS & {name.lower() for name in made.query}:
        raise NetinnetError(
            f"--storage: {secret.pop()} must not stand behind the question mark; a password "
            f"belongs before the host, as in postgresql://user:password@host/database"
        )
    return made.render_as_string(hide_password=True)


_SECRETS = {"password", "passwd", "pwd", "sslpassword"}


def open_study(plan: Plan, folder: Path, storage: str | None = None) -> Study:
    """The Optuna study of a plan, made where it does not exist yet.

    `storage` is the plan's own, with its password where it has one: the plan keeps none. Raises
    NetinnetError where the database cannot be used or holds another search of that name.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kept = plan.settings["storage"]
    if storage and shown_url(storage) != kept:
        raise NetinnetError(f"this search's storage is {kept or folder / DATABASE}")
    url = storage or kept or f"sqlite:///{(folder / DATABASE).absolute()}"
    if ":***@" in url:
        raise NetinnetError(f"the password of {url} is not kept; give --storage with it again")
    waiting = {"connect_args": {"timeout": SECONDS_TO_WAIT}} if url.startswith("sqlite") else {}
    try:
        study = optuna.create_study(
            storage=optuna.storages.RDBStorage(url, engine_kwargs=waiting),
            sampler=optuna.samplers.TPESampler(),
            pruner=_pruner(plan),
            study_name=plan.settings["name"],
            direction="maximize",
            load_if_exists=True,
        )
        _claim(study, plan)
    except ImportError as error:
        raise NetinnetError(f"{shown_url(url)} needs a driver: {error}") from error
    except (SQLAlchemyError, optuna.exceptions.OptunaError, ValueError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise NetinnetError(f"{shown_url(url)}: cannot be used ({reason})") from error
    return study


def _claim(study: Study, plan: Plan) -> None:
    """Write the recipe and the space into a new study; refuse one that searches something else."""
    mine = {"recipe": plan.arms[0].recipe.to_toml(), "space": plan.settings["space"]}
    there = study.user_attrs
    for what, value in mine.items():
        if what not in there:
            study.set_user_attr(what, value)
        elif there[what] != value:
            raise NetinnetError(
                f"the storage's study '{study.study_name}' has another {what}; "
                "choose another --name"
            )


def _pruner(plan: Plan) -> Any:
    import optuna

    epochs = plan.arms[0].recipe.epochs
    match plan.settings["pruner"]:
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=4)
        case "hyperband":
            return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs)
        case _:
            return optuna.pruners.NopPruner()


def results(study: Study) -> tuple[Trial, ...]:
    """Every trial of the study, whoever ran it."""
    return tuple(_trial(found) for found in study.get_trials(deepcopy=False))


def _trial(found: FrozenTrial) -> Trial:
    last = max(found.intermediate_values, default=None)
    accuracy = found.value if found.value is not None else found.intermediate_values.get(last or 0)
    state = {
        "COMPLETE": "finished",
        "PRUNED": "pruned",
        "FAIL": "failed",
        "RUNNING": "running",
        "WAITING": "waiting",
    }[found.state.name]
    return Trial(
        number=found.number,
        state="diverged" if "diverged" in found.user_attrs else state,
        accuracy=None if accuracy is None or math.isnan(accuracy) else accuracy,
        epochs=last or 0,
        seconds=None if found.duration is None else found.duration.total_seconds(),
        as_given=bool(found.user_attrs.get("as_given")),
        values=found.params,
    )


def look(folder: Path, plan: Plan, study: Study) -> Tuning:
    """What the search has found so far."""
    return Tuning(folder, plan, results(study), _importances(study))


def load(folder: Path, storage: str | None = None) -> Tuning:
    """A search from its folder, without running anything."""
    found = plans.load(folder)
    if found.kind != KIND:
        raise NetinnetError(f"{folder}: this study is one of nin {found.kind}, not of nin {KIND}")
    return look(folder, found, open_study(found, folder, storage))


def _importances(study: Study) -> dict[str, float]:
    """How much each field decides of the accuracy; empty where too few trials have finished."""
    import optuna

    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    varied = [
        name
        for name in (complete[0].params if complete else {})
        if len({str(trial.params.get(name)) for trial in complete}) > 1
    ]
    if len(complete) < 4 or not varied:
        return {}
    return dict(optuna.importance.get_param_importances(study, params=varied))
