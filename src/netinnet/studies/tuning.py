"""Which recipe learns best? A search with Optuna, judged on a validation split (exercise 1).

A tuning is a folder: `study.toml` (the plan), `study.db` (the trials, unless another storage is
named), `searcher` (which of the trials are this folder's), `runs/trial-N/seed-S` (ordinary run
folders), `best.toml`, `report.html`. The storage may be any SQL server: searches on many machines
that name the same one share their trials.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netinnet.errors import NetinnetError
from netinnet.files import write_text
from netinnet.networks.zoo import Named
from netinnet.studies import plan as plans
from netinnet.studies import search_space
from netinnet.studies.plan import PRUNERS, SearchPlan
from netinnet.studies.search_space import SearchSpace
from netinnet.training.recipe import Recipe

if TYPE_CHECKING:
    import optuna
    from optuna import Study
    from optuna.trial import FrozenTrial

KIND = SearchPlan.kind
AS_GIVEN = "as given"
TRIALS = 20
DATABASE = "study.db"
BEST_FILE = "best.toml"
SECONDS_TO_WAIT = 60.0
"""How long a process waits for another one that writes to the same SQLite file."""

GRPC_PORT, SECONDS_FOR_PROXY = 13_000, 10.0
"""Optuna's own port for its proxy, and how long a process waits for it."""


@dataclass(frozen=True)
class Trial:
    """One trial. Figures are those of its last whole epoch.

    `state` is "finished", "pruned", "diverged", "failed", "running" or "waiting"; `accuracy` is
    that of the validation split; `seconds` are those in which a finished one ran, however often it
    was stopped, None where they are not known; `values` are those of the searched fields.
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
    """The results of a search so far; `importances` are PED-ANOVA's shares, which add up to 1."""

    folder: Path
    plan: SearchPlan
    trials: tuple[Trial, ...]
    importances: Mapping[str, float]

    @property
    def over(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.is_over]

    @property
    def best(self) -> Trial | None:
        finished = [trial for trial in self.trials if trial.state == "finished"]
        return max(finished, key=lambda trial: trial.accuracy or 0.0, default=None)

    @property
    def as_given(self) -> Trial | None:
        """The finished trial of the recipe as it was given."""
        return next((t for t in self.trials if t.as_given and t.state == "finished"), None)


def plan(
    recipe: str | Path | Recipe,
    *,
    space: SearchSpace | None = None,
    trials: int | None = TRIALS,
    pruner: str = PRUNERS[0],
    storage: str | None = None,
    name: str = KIND,
    network: Named | None = None,
    data_dir: Path | None = None,
    **changes: Any,
) -> SearchPlan:
    """A search around a recipe. `trials` are those of all its searchers; None: only time ends it.

    The recipe has another `network` and `changes` of single fields, if they are given; `data_dir`
    has the data. Raises NetinnetError for what cannot be searched.
    """
    given = plans.given(AS_GIVEN, recipe, changes, network, data_dir)
    url = shown_url(storage) if storage else ""
    space = space or search_space.default(given.recipe)
    return SearchPlan(given, space, trials, pruner, url, name)


def write_best(tuning: Tuning) -> Path | None:
    """Write best.toml, which `nin train --recipe` takes, where a trial is finished.

    It trains on the whole training set, unless the recipe as given holds some out or asks for its
    evaluation, and with the framework's own number of threads, where the study chose one for runs
    beside each other.
    """
    best = tuning.best
    if best is None:
        return None
    given = tuning.plan.recipe
    held_out = given.evaluate in ("validation", "both")
    recipe = tuning.plan.trial_recipe(best.values) if held_out else given.replace(**best.values)
    if recipe.threads == plans.THREADS:
        recipe = recipe.replace(threads=None)
    path = tuning.folder / BEST_FILE
    write_text(
        path,
        f"# Trial {best.number} of {len(tuning.trials)}: validation accuracy "
        f"{best.accuracy:.4f}, the best of all.\n{recipe.to_toml()}",
    )
    return path


def shown_url(url: str) -> str:
    """A storage's URL without its password, a file's path absolute.

    Raises NetinnetError where it is no URL.

    The message does not repeat what was given: there may be a password in it.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        made = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise NetinnetError(
            "--storage must be the URL of an SQL database or of Optuna's proxy, as in "
            "sqlite:///study.db, postgresql://user:password@host/database or grpc://host:13000"
        ) from error
    if secret := _SECRETS & {name.lower() for name in made.query}:
        raise NetinnetError(
            f"--storage: {secret.pop()} must not stand after the question mark; a password "
            f"belongs before the host, as in postgresql://user:password@host/database"
        )
    file = made.database or ":memory:"
    if made.get_backend_name() == "sqlite" and not file.startswith((":memory:", "file:")):
        # From another folder a relative path would be another, empty database.
        made = made.set(database=str(Path(file).absolute()))
    return made.render_as_string(hide_password=True)


_SECRETS = {"password", "passwd", "pwd", "sslpassword"}


def open_study(plan: SearchPlan, folder: Path, storage: str | None = None) -> Study:
    """The Optuna study of a plan, made where it does not exist yet.

    `storage` is the plan's own, with its password where it has one: the plan keeps none. Raises
    NetinnetError where the database cannot be used or holds another search of that name.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if storage and shown_url(storage) != plan.storage:
        raise NetinnetError(f"this search's storage is {plan.storage or folder / DATABASE}")
    if storage and storage.startswith("sqlite"):
        storage = shown_url(storage)  # nothing is hidden in a path
    url = storage or plan.storage or f"sqlite:///{(folder / DATABASE).absolute()}"
    if ":***@" in url:
        raise NetinnetError(f"the password of {url} is not kept; give --storage with it again")
    try:
        study = optuna.create_study(
            storage=_storage(url),
            sampler=optuna.samplers.TPESampler(),
            pruner=_pruner(plan),
            study_name=plan.name,
            direction="maximize",
            load_if_exists=True,
        )
        _claim(study, plan)
    except ImportError as error:
        raise NetinnetError(f"{shown_url(url)} needs a driver: {error}") from error
    except (SQLAlchemyError, optuna.exceptions.OptunaError, *_UNUSABLE) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise NetinnetError(f"{shown_url(url)}: cannot be used ({reason})") from error
    return study


_UNUSABLE = (ValueError, TypeError, ConnectionError)


def _storage(url: str) -> optuna.storages.BaseStorage:
    """A database, or Optuna's proxy in front of one. Raises what its libraries do."""
    import optuna
    from sqlalchemy.engine import make_url

    if url.startswith("grpc:"):
        made = make_url(url)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            proxy = optuna.storages.GrpcStorageProxy(
                host=made.host or "localhost", port=made.port or GRPC_PORT
            )
        proxy.wait_server_ready(timeout=SECONDS_FOR_PROXY)
        return proxy
    waiting = {"connect_args": {"timeout": SECONDS_TO_WAIT}} if url.startswith("sqlite") else {}
    return optuna.storages.RDBStorage(url, engine_kwargs=waiting)


def _claim(study: Study, plan: SearchPlan) -> None:
    """Write the recipe and the space into a new study; refuse one that searches something else."""
    mine = {"recipe": plan.recipe.to_toml(), "space": plan.space.texts()}
    mine["network"] = plan.given.base.to_json()
    there = study.user_attrs
    for what, value in mine.items():
        if what not in there:
            study.set_user_attr(what, value)
        elif there[what] != value:
            raise NetinnetError(
                f"the storage's study '{study.study_name}' has another {what}; "
                "choose another --name"
            )


def _pruner(plan: SearchPlan) -> Any:
    import optuna

    match plan.pruner:
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=4)
        case "hyperband":
            epochs = plan.recipe.epochs
            return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs)
        case _:
            return optuna.pruners.NopPruner()


def results(study: Study) -> tuple[Trial, ...]:
    """Every trial of the study, whoever ran it."""
    return tuple(_trial(trial) for trial in study.get_trials(deepcopy=False))


def _trial(trial: FrozenTrial) -> Trial:
    last = max(trial.intermediate_values, default=None)
    accuracy = trial.value if trial.value is not None else trial.intermediate_values.get(last or 0)
    if accuracy is not None and math.isnan(accuracy):
        accuracy = None
    word = trial.state.name.lower()
    state = {"complete": "finished", "fail": "failed"}.get(word, word)
    if "diverged" in trial.user_attrs:
        state = "diverged"
    # Optuna's own duration also counts the hours between two sittings.
    seconds = trial.user_attrs.get("seconds")
    is_given = bool(trial.user_attrs.get("as_given"))
    return Trial(trial.number, state, accuracy, last or 0, seconds, is_given, trial.params)


def look(folder: Path, plan: SearchPlan, study: Study) -> Tuning:
    """The results of the search so far."""
    return Tuning(folder, plan, results(study), _importances(study))


def load(folder: Path, storage: str | None = None) -> Tuning:
    """A search from its folder, without running anything."""
    plan = plans.load(folder)
    if not isinstance(plan, SearchPlan):
        raise NetinnetError(f"{folder}: this study is one of nin {plan.kind}, not of nin {KIND}")
    return look(folder, plan, open_study(plan, folder, storage))


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
