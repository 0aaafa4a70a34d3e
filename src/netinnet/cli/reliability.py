"""`nin reliability`: one recipe, or a grid of them, over many seeds."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from netinnet import units
from netinnet.cli import study
from netinnet.cli.console import WholeNumber
from netinnet.cli.recipe_flags import RecipeFlags
from netinnet.cli.study import NO_FLAGS, StudyFlags
from netinnet.studies import reliability as studies
from netinnet.studies.fields import parse_vary
from netinnet.studies.statistics import Interval, Summary


def reliability(
    *,
    recipe: str | None = None,
    vary: Annotated[list[str] | None, Parameter(negative=())] = None,
    seeds: WholeNumber | None = None,
    first_seed: WholeNumber | None = None,
    threshold: float | None = None,
    flags: StudyFlags = NO_FLAGS,
    overrides: RecipeFlags = None,
) -> None:
    """Train a recipe over many seeds and say how often it learns.

    A run has converged when its accuracy is at least the threshold and no class is dead. A class is
    dead when its logit is 0 for every evaluated picture. Runs are ordinary run folders in the
    study's folder. Ctrl-C saves all runs; `--resume`, or the same command with the same `--output`,
    continues, and more seeds may be added.

    Parameters
    ----------
    recipe
        A shipped recipe (`fashion` if not given) or the path of a TOML file.
    vary
        A field and its values, as in logits_relu=true,false; each value is an arm. If repeated,
        each combination of values is an arm.
    seeds
        Number of seeds, 10 if not given.
    first_seed
        The first of them; 0 if not given.
    threshold
        Accuracy that a converged run has at least; 0.8 if not given.
    """
    study.run(
        studies.KIND,
        flags,
        overrides,
        decided={"recipe": recipe, "vary": vary, "threshold": threshold},
        seeds=(seeds, first_seed, 10),
        plan=lambda changes, seeds: studies.plan(
            recipe or "fashion",
            vary=parse_vary(vary or ()),
            seeds=seeds,
            threshold=studies.THRESHOLD if threshold is None else threshold,
            data_dir=flags.data_dir,
            **changes,
        ),
        headers={
            "arm": lambda row: row.arm,
            "converged": lambda row: f"{row.converged}/{row.ended}",
            "95 %": lambda row: _text("{0.low:.2f} to {0.high:.2f}", row.share),
            "median {judged} acc": lambda row: _text("{0.median:.4f}", row.accuracy),
            "range": lambda row: _text("{0.minimum:.4f} to {0.maximum:.4f}", row.accuracy),
            # Runs with dead classes, and those that diverged or failed.
            "dead": lambda row: str(row.runs_with_dead_classes),
            "lost": lambda row: str(row.lost),
        },
        right=(1, 3, 5, 6),
    )


def _text(form: str, value: Interval | Summary | None) -> str:
    return units.MISSING if value is None else form.format(value)
