"""The plan of a study: which recipes (arms) are trained over which seeds, and where each run lies.

A study is a folder: `study.toml` (the plan), `runs/ARM/seed-N` (ordinary run folders), `logs/`
(what the processes of runs said on standard error, if anything), `report.html`.
"""

from __future__ import annotations

import itertools
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from netinnet.data import datasets
from netinnet.data.source import Dataset, DatasetRecord, Facts
from netinnet.errors import NetinnetError, RecipeError, nearest
from netinnet.files import cannot_write, new_dated_folder
from netinnet.training import recipe as recipes
from netinnet.training.recipe import Recipe

PLAN_FILE = "study.toml"
MOST_RUNS = 10_000
LARGEST_SEED = 2**31 - 1
SETTINGS: dict[str, dict[str, tuple[type, ...]]] = {
    "reliability": {"threshold": (int, float)},
    "tune": {
        **{"trials": (int,), "pruner": (str,), "storage": (str,), "name": (str,)},
        "space": (list,),
    },
}
"""What the plan of a kind of study holds besides its arms and seeds, and of which types."""


@dataclass(frozen=True)
class Arm:
    """One recipe of a study. Its seed is that of each run in turn."""

    name: str
    recipe: Recipe


@dataclass(frozen=True)
class Job:
    """One run of a study: an arm with a seed, and its folder."""

    arm: str
    seed: int
    recipe: Recipe
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.arm}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """A study before it is run. `settings` are the kind's own, such as a threshold; `data` is what
    it keeps of its data sets, by the recipes' names for them, from the moment they are loaded."""

    kind: str
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    data: dict[str, DatasetRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.seeds or not self.arms:
            raise NetinnetError("a study needs at least 1 arm and at least 1 seed")
        folders: dict[str, str] = {}
        for arm in self.arms:
            folder = folder_name(arm.name)
            if folder in folders:
                raise NetinnetError(f"two arms have the same name: {folders[folder]}, {arm.name}")
            folders[folder] = arm.name
        if len(self.arms) * len(self.seeds) > MOST_RUNS:
            raise NetinnetError(f"a study may have {MOST_RUNS:,} runs at most")
        if len({arm.recipe.judged for arm in self.arms}) > 1:
            raise NetinnetError("all arms must be judged on one split; give all the same evaluate")

    @property
    def judged(self) -> str:
        """The split that judges all runs: "test" or "validation"."""
        return self.arms[0].recipe.judged

    def facts(self, recipe: Recipe) -> Facts:
        """What is known of the data set of an arm's recipe."""
        kept = self.data.get(recipe.dataset)
        return kept.facts if kept else datasets.facts(recipe.dataset)

    def jobs(self, folder: Path) -> list[Job]:
        """Every run, seed by seed: with some of the seeds all arms can be compared already."""
        return [
            Job(
                arm.name,
                seed,
                arm.recipe.replace(seed=seed),
                folder / "runs" / folder_name(arm.name) / f"seed-{seed}",
            )
            for seed in self.seeds
            for arm in self.arms
        ]

    def to_toml(self) -> str:
        """The plan as TOML: settings, seeds and each arm's whole recipe."""
        lines = [f"kind = {json.dumps(self.kind)}", f"seeds = {list(self.seeds)}"]
        lines += [
            f"{name} = {json.dumps(value, ensure_ascii=False)}"
            for name, value in self.settings.items()
        ]
        parts = ["\n".join(lines) + "\n"]
        for name, record in self.data.items():
            parts.append(f"[data.{json.dumps(name, ensure_ascii=False)}]\n")
            parts[-1] += recipes.toml_lines(record.to_dict())
        for arm in self.arms:
            parts.append(f"[arms.{json.dumps(arm.name, ensure_ascii=False)}]\n")
            parts[-1] += arm.recipe.to_toml()
        return "\n".join(parts)


def from_toml(text: str, where: str) -> Plan:
    """The inverse of `Plan.to_toml`. Raises RecipeError where the text is no plan."""
    try:
        data = tomllib.loads(text)
        records = data.pop("data", {}).items()
        kept = {name: DatasetRecord.from_dict(values, where) for name, values in records}
        kind, seeds, arms = str(data.pop("kind")), data.pop("seeds"), data.pop("arms")
        for name, expected in SETTINGS.get(kind, {}).items():
            if type(data[name]) not in expected:
                raise RecipeError(f"{where}: {name} must be of type {expected[-1].__name__}")
        if not all(type(seed) is int for seed in seeds):
            raise RecipeError(f"{where}: seeds must be whole numbers, got {seeds}")
        made = tuple(
            Arm(name, recipes.from_mapping(values, f"{where}, arm {name}"))
            for name, values in arms.items()
        )
        return Plan(kind, made, tuple(seeds), data, kept)
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{where}: not a TOML file ({error})") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise RecipeError(f"{where}: not the plan of a study ({error!r})") from error


def load(folder: Path) -> Plan:
    """The plan of the study in a folder. Raises NetinnetError where there is none."""
    file = folder / PLAN_FILE
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        raise NetinnetError(f"{folder}: no study here, it has no {PLAN_FILE}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{file}: not a TOML file ({error})") from error
    return from_toml(text, str(file))


def settle(plan: Plan, output: Path | None) -> tuple[Plan, Path]:
    """Make the study's folder, or find the same study there: the plan to follow, and the folder.

    A study may grow: more seeds are added to those of the folder. Raises NetinnetError where the
    folder holds another study or cannot be made.
    """
    folder = output or new_dated_folder(Path("studies"), plan.kind)
    if (folder / PLAN_FILE).exists():
        there = load(folder)
        if replace(there, seeds=plan.seeds, data=there.data or plan.data) != plan:
            raise NetinnetError(f"{folder} holds another study; choose another --output")
        plan = replace(plan, seeds=tuple(dict.fromkeys((*there.seeds, *plan.seeds))))
        return plan, folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A study that was killed before its plan was written leaves a lock.
        if any(path.name != ".lock" for path in folder.iterdir()):
            raise NetinnetError(f"{folder} is not empty; choose another --output")
    except OSError as error:
        raise cannot_write(folder, error) from error
    return plan, folder


def with_data(plan: Plan, data: Mapping[str, Dataset]) -> Plan:
    """The plan with what it keeps of its data sets."""
    return replace(plan, data={name: loaded.record for name, loaded in data.items()})


def folder_name(arm: str) -> str:
    """An arm's name as the name of a folder, on any system."""
    return re.sub(r"[^\w.=,+-]", "-", arm).strip(".") or "arm"


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
    """The recipe with one thread a run if it names none: many runs at a time do most that way."""
    return recipe if recipe.threads else recipe.replace(threads=1)


def grid(name: str, base: Recipe, vary: Mapping[str, Sequence[Any]]) -> tuple[Arm, ...]:
    """An arm for every combination of the values; one arm of that name where nothing varies.

    `vary` maps fields of the recipe to values: {"logits_relu": [True, False]}.
    """
    if not vary:
        return (Arm(name, base),)
    arms = []
    for combination in itertools.product(*vary.values()):
        changes = dict(zip(vary, combination, strict=True))
        label = ", ".join(f"{name}={value_text(value)}" for name, value in changes.items())
        arms.append(Arm(label, base.replace(**changes)))
    return tuple(arms)


def value_text(value: Any) -> str:
    """A field's value as `field_value` reads it: true, null, 0.5, he."""
    return json.dumps(value) if isinstance(value, bool) or value is None else str(value)


def short_text(value: Any) -> str:
    """A field's value with as many digits as one reads."""
    return f"{value:.4g}" if isinstance(value, float) else value_text(value)


def parse_vary(texts: Sequence[str]) -> dict[str, list[Any]]:
    """{"logits_relu": [True, False]} for ["logits_relu=true,false"], by the field's type.

    `null` stands for a field that is not given. Raises RecipeError for what is no such text.
    """
    found: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not values:
            raise RecipeError(
                f"--vary takes a field and its values, as in logits_relu=true,false; got '{text}'"
            )
        hints = recipes.field_types()
        if name not in hints:
            raise RecipeError(f"--vary: unknown field '{name}'{nearest(name, hints)}")
        if name in ("seed", "threads"):
            flag = {"seed": "--seeds", "threads": "--threads"}[name]
            raise RecipeError(f"--vary: {name} is no arm of a study; {flag} decides it")
        if name in found:
            raise RecipeError(f"--vary: {name} is given twice")
        found[name] = [field_value("--vary", name, value.strip()) for value in values.split(",")]
        if len({*map(str, found[name])}) < len(found[name]):
            raise RecipeError(f"--vary: {name} has a value twice: {values}")
    return found


def field_value(flag: str, name: str, text: str) -> Any:
    """The text as a value of a recipe's field; `null` stands for one that is not given.

    `flag` begins the text of the RecipeError for what is no such value.
    """
    kinds = recipes.field_kinds(name)
    if text == "null" and type(None) in kinds:
        return None
    kind = next(kind for kind in kinds if kind is not type(None))
    try:
        return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        wanted = "true or false" if kind is bool else f"of type {kind.__name__}"
        raise RecipeError(f"{flag}: {name} must be {wanted}, got '{text}'") from None
