"""The plan of a study: arms over seeds (`Plan`), or a search around a recipe (`SearchPlan`).

A study is a folder: `study.toml` (the plan), `networks/ARM.json` (what the arm's name for a
network stood for, before the recipe's own changes), `runs/ARM/seed-N` (ordinary run folders; of a
search `runs/trial-N/seed-S`), `logs/` (what the processes of runs wrote to standard error, if
anything), `report.html`.
"""

from __future__ import annotations

import itertools
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from netinnet.data.source import Dataset, DatasetRecord
from netinnet.errors import NetinnetError, RecipeError, check_name
from netinnet.files import (
    folder_name,
    make_folder,
    new_dated_folder,
    remove_temporary,
    write_text,
    writing,
)
from netinnet.networks import description_file
from netinnet.networks.network import Network
from netinnet.networks.zoo import Named
from netinnet.studies import difference, search_space
from netinnet.studies.arms import Arm, check_judged_alike
from netinnet.studies.fields import value_text
from netinnet.studies.search_space import SearchSpace
from netinnet.training import recipe as recipes
from netinnet.training.claim import LOCK_FILE
from netinnet.training.parts import facts_of
from netinnet.training.recipe import Recipe

PLAN_FILE = "study.toml"
NETWORKS = "networks"
MOST_RUNS = 10_000
LARGEST_SEED = 2**31 - 1
RELIABILITY = "reliability"
PRUNERS = ("median", "hyperband", "none")
VALIDATION = 0.1
"""Share of the training set that judges trials where the recipe holds none out."""
THREADS = 1
"""Those of a run where the recipe names none: many runs at a time do most that way."""


@dataclass(frozen=True)
class Job:
    """One run of a study: an arm (or a trial) with a seed, and its folder."""

    arm: str
    seed: int
    recipe: Recipe
    network: Network
    folder: Path


def job(study: Path, arm: str, recipe: Recipe, network: Network) -> Job:
    """The run of a recipe, which has its seed, in the study's folder."""
    folder = study / "runs" / folder_name(arm) / f"seed-{recipe.seed}"
    return Job(arm, recipe.seed, recipe, network, folder)


def study_of(job: Job) -> Path:
    """The folder of the study that a run belongs to."""
    return job.folder.parents[2]


@dataclass(frozen=True)
class Plan:
    """A study of arms over seeds, before it is run.

    `threshold` is that of a reliability study: the accuracy that a converged run has at least.
    `data` is what it keeps of its data sets, by the recipes' names for them, once they are loaded.
    """

    kind: str
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    threshold: float | None = None
    data: Mapping[str, DatasetRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.seeds or not self.arms:
            raise NetinnetError("a study needs at least 1 arm and at least 1 seed")
        folders: dict[str, Arm] = {}
        for arm in self.arms:
            if (first := folders.setdefault(folder_name(arm.name), arm)) is not arm:
                raise NetinnetError(f"two arms have the same name: {first.name}, {arm.name}")
        if len(self.arms) * len(self.seeds) > MOST_RUNS:
            raise NetinnetError(f"a study may have {MOST_RUNS:,} runs at most")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise NetinnetError(f"--threshold must be between 0 and 1, got {self.threshold:g}")
        check_judged_alike(self.arms)

    @property
    def judged(self) -> str:
        """The split that judges all runs: "test" or "validation"."""
        return self.arms[0].recipe.judged

    @property
    def settings(self) -> dict[str, Any]:
        """What the plan's file holds besides the kind, arms and seeds."""
        return {} if self.threshold is None else {"threshold": self.threshold}

    def jobs(self, folder: Path) -> list[Job]:
        """Every run, seed by seed: with some of the seeds all arms can be compared already."""
        return [
            job(folder, arm.name, arm.recipe.replace(seed=seed), arm.network)
            for seed in self.seeds
            for arm in self.arms
        ]

    def continuing(self, there: Plan | SearchPlan) -> Plan | None:
        """This study with the seeds of the one that is there before its own; None for another."""
        if not isinstance(there, Plan):
            return None
        if replace(there, seeds=self.seeds, data=there.data or self.data) != self:
            return None
        return replace(self, seeds=tuple(dict.fromkeys((*there.seeds, *self.seeds))))

    def to_toml(self) -> str:
        """The plan as TOML: settings, seeds and each arm's whole recipe."""
        return _to_toml(self, self.seeds)


@dataclass(frozen=True)
class SearchPlan:
    """A search around the recipe `given`, before it is run; its seed is that of every trial.

    `trials` are those of all its searchers; None: only time ends it. `storage` is the URL of the
    database that keeps them, without its password, "" for a file in the folder; `name` is the
    search's there.
    """

    given: Arm
    space: SearchSpace
    trials: int | None
    pruner: str = PRUNERS[0]
    storage: str = ""
    name: str = "tune"
    data: Mapping[str, DatasetRecord] = field(default_factory=dict)
    kind: ClassVar[str] = "tune"

    def __post_init__(self) -> None:
        check_name("pruner", self.pruner, PRUNERS)
        if self.trials is not None and self.trials < 1:
            raise NetinnetError(f"--trials must be at least 1, got {self.trials}")
        self.space.check(self.recipe)

    def check_end(self, minutes: float | None) -> None:
        """Raise NetinnetError for a sitting of so many minutes that can't be, or never ends."""
        if minutes is not None and not 0 < minutes < math.inf:
            raise NetinnetError(f"--minutes must be above 0, got {minutes:g}")
        if self.trials is None and minutes is None:
            raise NetinnetError("this search has no end: give --trials or --minutes")

    @property
    def recipe(self) -> Recipe:
        return self.given.recipe

    @property
    def settings(self) -> dict[str, Any]:
        """What the plan's file holds besides the kind, the recipe and its seed."""
        names = {"pruner": self.pruner, "storage": self.storage, "name": self.name}
        return {"trials": self.trials or 0, **names, "space": self.space.texts()}

    def trial_recipe(self, values: Mapping[str, Any]) -> Recipe:
        """The recipe of one trial. Raises RecipeError where the values make none."""
        evaluate = "both" if self.recipe.evaluate == "test" else self.recipe.evaluate
        judging = {"validation": self.recipe.validation or VALIDATION, "evaluate": evaluate}
        return self.recipe.replace(**{**judging, **values})

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The recipe as given, as a study's only arm."""
        return (self.given,)

    def trial(self, values: Mapping[str, Any]) -> Arm:
        """A trial. Raises RecipeError or NetworkError where the values make none."""
        recipe = self.trial_recipe(values)
        is_given = recipe.network == self.recipe.network
        base = self.given.base if is_given else None
        return Arm(self.given.name, recipe, base, self.given.facts)

    def as_study(self, trials: int) -> Plan:
        """So many trials of the recipe as given: what they cost, a search costs about."""
        return Plan(self.kind, (self.trial({}),), tuple(range(max(trials, 1))), data=self.data)

    def continuing(self, there: Plan | SearchPlan) -> SearchPlan | None:
        """This search, whose end may be another than that of the one that is there, or None."""
        if not isinstance(there, SearchPlan):
            return None
        same = replace(there, trials=self.trials, data=there.data or self.data)
        return self if same == self else None

    def to_toml(self) -> str:
        """The search as TOML: settings, the seed and the whole recipe, as its only arm."""
        return _to_toml(self, (self.recipe.seed,))


AnyPlan = TypeVar("AnyPlan", Plan, SearchPlan)


def _to_toml(plan: Plan | SearchPlan, seeds: Sequence[int]) -> str:
    def table(kind: str, name: str, lines: str) -> str:
        return f"[{kind}.{json.dumps(name, ensure_ascii=False)}]\n{lines}"

    head = recipes.toml_lines({"kind": plan.kind, "seeds": list(seeds), **plan.settings})
    kept = [table("data", n, recipes.toml_lines(r.to_dict())) for n, r in plan.data.items()]
    arms = [table("arms", arm.name, arm.recipe.to_toml()) for arm in plan.arms]
    return "\n".join([head, *kept, *arms])


_SETTINGS: dict[str, dict[str, type]] = {
    RELIABILITY: {"threshold": float},
    SearchPlan.kind: {"trials": int, "pruner": str, "storage": str, "name": str, "space": list},
}


def from_toml(
    text: str, where: str, networks: Mapping[str, Network] | None = None
) -> Plan | SearchPlan:
    """The inverse of both `to_toml`. Raises RecipeError where the text is no plan.

    `networks` are the arms' by the names of their folders; others are looked up.
    """
    known = networks or {}
    try:
        values = tomllib.loads(text)
        kind, seeds, tables = str(values.pop("kind")), values.pop("seeds"), values.pop("arms")
        records = values.pop("data", {}).items()
        data = {name: DatasetRecord.from_dict(record, where) for name, record in records}
        if not all(type(seed) is int for seed in seeds):
            raise RecipeError(f"{where}: seeds must be whole numbers, got {seeds}")
        arms = []
        for name, fields in tables.items():
            recipe = recipes.from_mapping(fields, f"{where}, arm {name}")
            facts = data[recipe.dataset].facts if recipe.dataset in data else None
            arms.append(Arm(name, recipe, known.get(folder_name(name)), facts))
        settings = _SETTINGS.get(kind, {})
        for name, expected in settings.items():
            if type(values[name]) not in (expected, int if expected is float else expected):
                raise RecipeError(f"{where}: {name} must be of type {expected.__name__}")
        if unknown := values.keys() - settings:
            raise RecipeError(f"{where}: unknown setting '{min(unknown)}'")
        if kind != SearchPlan.kind:
            return Plan(kind, tuple(arms), tuple(seeds), data=data, **values)
        if len(arms) != 1 or seeds != [arms[0].recipe.seed]:
            raise RecipeError(f"{where}: a search has one arm and its seed")
        space, trials = search_space.parse(values.pop("space")), values.pop("trials") or None
        return SearchPlan(arms[0], space, trials, data=data, **values)
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{where}: not a TOML file ({error})") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise RecipeError(f"{where}: not the plan of a study ({error!r})") from error


def load(folder: Path) -> Plan | SearchPlan:
    """The plan of the study in a folder. Raises NetinnetError where there is none."""
    file = folder / PLAN_FILE
    networks: dict[str, Network] = {}
    try:
        text = file.read_text("utf-8")
        for path in (folder / NETWORKS).glob("*.json"):
            networks[path.stem] = description_file.read(path).network()
    except OSError as error:
        raise NetinnetError(f"{folder}: no study here, it has no {PLAN_FILE}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{file}: not a TOML file ({error})") from error
    return from_toml(text, str(file), networks)


def as_begun(plan: AnyPlan, folder: Path | None) -> AnyPlan:
    """The plan with what the study in a folder, if there is one, keeps of its data sets.

    So the same command goes on with it: pictures are split as they were then, and facts are those.
    """
    if folder is None or not (folder / PLAN_FILE).exists():
        return plan
    known = load(folder).data

    def begun(arm: Arm) -> Arm:
        record = known.get(arm.recipe.dataset)
        if record is None or record.facts == arm.facts:
            return arm
        return Arm(arm.name, arm.recipe, arm.base, record.facts)

    data = {**known, **plan.data}
    if isinstance(plan, Plan):
        return replace(plan, arms=tuple(map(begun, plan.arms)), data=data)
    return replace(plan, given=begun(plan.given), data=data)


def write(plan: Plan | SearchPlan, folder: Path) -> None:
    """Write a plan into its study's folder, the networks first: with a plan, it is a study.

    What a kill left half written there is removed first.
    """
    for place in (folder, folder / NETWORKS):
        remove_temporary(place)
    for arm in plan.arms:
        write_text(folder / NETWORKS / f"{folder_name(arm.name)}.json", arm.base.to_json() + "\n")
    write_text(folder / PLAN_FILE, plan.to_toml())


def settle(plan: AnyPlan, output: Path | None) -> tuple[AnyPlan, Path]:
    """Make the study's folder, or find the same study there: the plan to follow, and the folder.

    A study may grow: more seeds are added to those of the folder, or more trials. Raises
    NetinnetError where the folder holds another study or cannot be made.
    """
    folder = output or new_dated_folder(Path("studies"), plan.kind)
    if (folder / PLAN_FILE).exists():
        there = load(folder)
        continued = plan.continuing(there)
        if continued is None:
            known = difference.words(there, plan)
            what = f" ({known})" if known else ""
            raise NetinnetError(f"{folder} holds another study{what}; choose another --output")
        return continued, folder
    with writing(folder):
        make_folder(folder)
        # A study that was killed before its plan was written leaves this, and half a file.
        if any(not _is_left_behind(path) for path in folder.iterdir()):
            raise NetinnetError(f"{folder} is not empty; choose another --output")
    return plan, folder


def _is_left_behind(path: Path) -> bool:
    return path.name in (LOCK_FILE, NETWORKS) or path.suffix == ".tmp"


def with_data(plan: AnyPlan, data: Mapping[str, Dataset]) -> AnyPlan:
    """The plan with what it keeps of its data sets."""
    return replace(plan, data={name: loaded.record for name, loaded in data.items()})


def seeds(count: int, first: int = 0) -> tuple[int, ...]:
    """`count` seeds from `first`. Raises NetinnetError for a count below 1."""
    if count < 1:
        raise NetinnetError(f"--seeds must be at least 1, got {count}")
    if count > MOST_RUNS:
        raise NetinnetError(f"a study may have {MOST_RUNS:,} runs at most")
    if not 0 <= first <= first + count - 1 <= LARGEST_SEED:
        raise NetinnetError(f"--first-seed: seeds are from 0 to {LARGEST_SEED}, got {first}")
    return tuple(range(first, first + count))


def with_threads(recipe: Recipe) -> Recipe:
    """The recipe with `THREADS` a run if it names none."""
    return recipe if recipe.threads else recipe.replace(threads=THREADS)


def given(
    name: str,
    recipe: str | Path | Recipe,
    changes: Mapping[str, Any],
    network: Named | None = None,
    data_dir: Path | None = None,
) -> Arm:
    """The arm of a recipe that is named or given, with changes and another network if there are."""
    resolved, known = recipes.resolve(recipe, changes, network)
    return Arm(name, with_threads(resolved), known, facts_of(resolved, data_dir))


def grid(
    name: str,
    base: Recipe,
    vary: Mapping[str, Sequence[Any]],
    network: Network | None = None,
    data_dir: Path | None = None,
) -> tuple[Arm, ...]:
    """An arm for every combination of the values; one arm of that name where nothing varies.

    `vary` maps fields of the recipe to values: {"logits_relu": [True, False]}. `network` is what
    the base's name for it stands for, if that need not be looked up; `data_dir` has the data.
    """
    arms = []
    for combination in itertools.product(*vary.values()):
        changes = dict(zip(vary, combination, strict=True))
        label = ", ".join(f"{field}={value_text(value)}" for field, value in changes.items())
        known = None if "network" in vary else network
        recipe = base.replace(**changes)
        arms.append(Arm(label or name, recipe, known, facts_of(recipe, data_dir)))
    return tuple(arms)
