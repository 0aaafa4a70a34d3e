"""The studies as Python functions: each asks a question of many runs and returns a plain table."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netinnet.networks import Named
    from netinnet.studies.plan import Plan, SearchPlan
    from netinnet.studies.tables import Row
    from netinnet.studies.tuning import Tuning
    from netinnet.training.listening import Listener
    from netinnet.training.recipe import Recipe

MODULES = {"reliability": "reliability", "ablate": "ablation", "compare": "comparison"}
"""The module of each kind of study of arms and seeds, here and in `pages`."""


def reliability(
    recipe: str | Path | Recipe = "fashion",
    *,
    network: Named | None = None,
    vary: Mapping[str, Sequence[Any]] | None = None,
    seeds: int = 10,
    first_seed: int = 0,
    threshold: float = 0.8,
    output: str | Path | None = None,
    workers: int | None = None,
    data_dir: str | Path | None = None,
    listener: Listener | None = None,
    **changes: Any,
) -> list[Row]:
    """Train a recipe over many seeds and say how often it learns.

    A run has converged when no class is dead and its accuracy is at least the threshold.

    Args:
        recipe: a shipped recipe's name, a TOML file or a `Recipe`.
        network: what is trained instead of the recipe's network.
        vary: fields of the recipe and their values; each combination is an arm.
        seeds: number of seeds.
        first_seed: the first of them.
        threshold: least accuracy of a run that has converged, from 0 to 1.
        output: the study's folder, studies/DATE-reliability if None; that of an earlier call is
            gone on with.
        workers: runs at a time; by the number of cores if None.
        data_dir: folder with the data set's files; found or fetched if None.
        listener: called with each event of the study, an object of `netinnet.studies.events`;
            nothing is printed without one.
        changes: values for single fields of the recipe.

    Returns:
        A row for each arm: a dict of numbers and texts.

    Raises:
        NetinnetError: for what cannot be run; Interrupted after a signal, with all runs saved.

    Example:
        >>> reliability("book", vary={"logits_relu": [True, False]}, seeds=3, epochs=1)
    """
    from netinnet.studies import plan as plans
    from netinnet.studies import reliability as studies

    plan = studies.plan(
        recipe,
        vary=vary or {},
        seeds=plans.seeds(seeds, first_seed),
        threshold=threshold,
        network=network,
        data_dir=_path(data_dir),
        **changes,
    )
    return conduct(plan, output, workers, data_dir, listener)


def ablate(
    *questions: str,
    recipe: str | Path | Recipe = "fashion",
    network: Named | None = None,
    seeds: int = 5,
    first_seed: int = 0,
    output: str | Path | None = None,
    workers: int | None = None,
    data_dir: str | Path | None = None,
    listener: Listener | None = None,
    **changes: Any,
) -> list[Row]:
    """Change one thing of a NiN at a time and compare over the same seeds.

    Args:
        questions: what to change: "pointwise", "inner", "last-step", "dropout",
            "logits-relu", "head"; all of them if none is named.
        recipe: a shipped recipe's name, a TOML file or a `Recipe`.
        network: what is trained instead of the recipe's network.
        seeds: number of seeds.
        first_seed: the first of them.
        output: the study's folder, studies/DATE-ablate if None; that of an earlier call is gone on
            with.
        workers: runs at a time; by the number of cores if None.
        data_dir: folder with the data set's files; found or fetched if None.
        listener: called with each event of the study, an object of `netinnet.studies.events`;
            nothing is printed without one.
        changes: values for single fields of the recipe.

    Returns:
        A row for each arm, the baseline first: a dict of numbers and texts.

    Raises:
        NetinnetError: for what cannot be run; Interrupted after a signal, with all runs saved.

    Example:
        >>> ablate("head", seeds=2, epochs=1)
    """
    from netinnet.studies import ablation as studies
    from netinnet.studies import plan as plans

    common: dict[str, Any] = {"network": network, "data_dir": _path(data_dir), **changes}
    count = plans.seeds(seeds, first_seed)
    plan = studies.plan(recipe, questions=questions, seeds=count, **common)
    return conduct(plan, output, workers, data_dir, listener)


def compare(
    *networks: Named,
    seeds: int = 3,
    first_seed: int = 0,
    output: str | Path | None = None,
    workers: int | None = None,
    data_dir: str | Path | None = None,
    listener: Listener | None = None,
    **changes: Any,
) -> list[Row]:
    """Compare networks, each trained by its own recipe.

    Args:
        networks: names, paths of descriptions or of recipes, or `networks.Network` objects; one
            that has no recipe of its own learns by `fashion`. `nin-small`, `lenet`, `alexnet` and
            `vgg11-quarter` if none is named.
        seeds: number of seeds.
        first_seed: the first of them.
        output: the study's folder, studies/DATE-compare if None; that of an earlier call is gone on
            with.
        workers: runs at a time; by the number of cores if None.
        data_dir: folder with the data set's files; found or fetched if None.
        listener: called with each event of the study, an object of `netinnet.studies.events`;
            nothing is printed without one.
        changes: the budget, the same for all: values for single fields of every recipe.

    Returns:
        A row for each network: a dict of numbers and texts.

    Raises:
        NetinnetError: for what cannot be run; Interrupted after a signal, with all runs saved.

    Example:
        >>> compare("nin-small", "lenet", seeds=2, epochs=1)
    """
    from netinnet.studies import comparison as studies
    from netinnet.studies import plan as plans

    plan = studies.plan(
        networks, seeds=plans.seeds(seeds, first_seed), data_dir=_path(data_dir), **changes
    )
    return conduct(plan, output, workers, data_dir, listener)


def tune(
    recipe: str | Path | Recipe = "fashion",
    *,
    network: Named | None = None,
    search: Sequence[str] = (),
    trials: int | None = 20,
    minutes: float | None = None,
    pruner: str = "median",
    storage: str | None = None,
    name: str = "tune",
    output: str | Path | None = None,
    workers: int | None = None,
    data_dir: str | Path | None = None,
    listener: Listener | None = None,
    **changes: Any,
) -> list[Row]:
    """Search for a better recipe, judged on a validation split.

    The best recipe is best.toml in the study's folder, which `train` takes.

    Args:
        recipe: a shipped recipe's name, a TOML file or a `Recipe`: the first trial.
        network: what is trained instead of the recipe's network.
        search: what may be tried, as in ["learning_rate=0.01..0.5:log", "batch_size=64,128"]; all
            that `nin tune` searches if empty.
        trials: number of trials of all searchers; None where only time ends the search.
        minutes: no trial is started after so long.
        pruner: which trials are stopped early: "median", "hyperband" or "none".
        storage: the URL of an SQL database; searches that name the same one share their trials.
        name: the search's name there.
        output: the study's folder, studies/DATE-tune if None; that of an earlier call is gone on
            with.
        workers: trials at a time; by the number of cores if None.
        data_dir: folder with the data set's files; found or fetched if None.
        listener: called with each event of the search, an object of `netinnet.studies.events`;
            nothing is printed without one.
        changes: values for single fields of the recipe.

    Returns:
        A row for each trial: a dict of numbers and texts.

    Raises:
        NetinnetError: for what cannot be searched; Interrupted after a signal, with all saved.

    Example:
        >>> tune(search=["learning_rate=0.01..0.5:log"], trials=5, epochs=1)
    """
    from netinnet.studies import search_space, tuning

    plan = tuning.plan(
        recipe,
        space=search_space.parse(search) if search else None,
        trials=trials,
        pruner=pruner,
        storage=storage,
        name=name,
        network=network,
        data_dir=_path(data_dir),
        **changes,
    )
    more = {"minutes": minutes, "storage": storage}
    return conduct(plan, output, workers, data_dir, listener, **more)


def conduct(
    plan: Plan | SearchPlan,
    output: str | Path | None,
    workers: int | None = None,
    data_dir: str | Path | None = None,
    listener: Listener | None = None,
    **search: Any,
) -> list[Row]:
    """Run what is left of a study, or of a `search` with its limits, and return its table."""
    from netinnet.studies import tables
    from netinnet.studies.plan import SearchPlan

    common: dict[str, Any] = {"output": _path(output), "data_dir": _path(data_dir)}
    common |= {"workers": workers, "listener": listener or (lambda event: None)}
    if isinstance(plan, SearchPlan):
        return tables.plain(run_search(plan, **common, **search).trials)
    return tables.plain(run_study(plan, **common)[2])


def run_study(plan: Plan, **options: Any) -> tuple[Plan, Path, list[Any]]:
    """`study.conduct` with the page of the plan's kind: the plan, the folder and the table."""
    from netinnet.studies import study

    module = MODULES[plan.kind]
    page = import_module(f"netinnet.studies.pages.{module}")
    plan, folder, outcomes = study.conduct(plan, report=page.write, **options)
    return plan, folder, import_module(f"netinnet.studies.{module}").table(plan, outcomes)


def run_search(plan: SearchPlan, **options: Any) -> Tuning:
    """`search.conduct` with its page."""
    from netinnet.studies import search
    from netinnet.studies.pages import tuning as page

    return search.conduct(plan, report=page.write, **options)


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)
