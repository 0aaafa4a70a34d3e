"""`nin reliability`: one recipe, or a grid of them, over many seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from netinnet.cli import recipe_flags, study
from netinnet.cli.console import WholeNumber
from netinnet.cli.recipe_flags import RecipeFlags
from netinnet.cli.study import NO_FLAGS, Result, StudyFlags
from netinnet.studies import plan as plans
from netinnet.studies import reliability as studies
from netinnet.studies.outcome import Outcome
from netinnet.studies.pages import reliability as page
from netinnet.studies.plan import Plan
from netinnet.studies.reliability import ArmReliability
from netinnet.training import recipe as recipes


def reliability(
    *,
    recipe: str | None = None,
    vary: Annotated[list[str] | None, Parameter(negative=())] = None,
    seeds: WholeNumber | None = None,
    first_seed: WholeNumber = 0,
    threshold: float | None = None,
    flags: StudyFlags = NO_FLAGS,
    overrides: RecipeFlags = None,
) -> None:
    """Train a recipe over many seeds and say how often it learns.

    A run has converged when its accuracy is at least the threshold and no class is dead (its logit
    0 for every picture that judges). Runs are ordinary run folders in the study's folder. Ctrl-C
    saves all; `--resume`, or the same command with the same `--output`, goes on, and more seeds may
    be added.

    Parameters
    ----------
    recipe
        A shipped recipe (`fashion` if not given) or the path of a TOML file.
    vary
        A field and its values, as in logits_relu=true,false: an arm for each. Given more than once,
        every combination is an arm.
    seeds
        Number of seeds, 10 if not given.
    first_seed
        The first of them.
    threshold
        Test accuracy that a converged run has at least; 0.8 if not given.
    """
    changes = recipe_flags.given(overrides)
    recipe_flags.refuse_seed(changes)
    if flags.resume is not None:
        decided = {"recipe": recipe, "vary": vary, "threshold": threshold}
        plan = study.resumed(flags, studies.KIND, {**decided, **changes}, seeds, first_seed)
    else:
        name = recipe or "fashion"
        plan = studies.plan(
            recipes.load(name, **changes),
            name=Path(name).stem,
            vary=plans.parse_vary(vary or ()),
            seeds=plans.seeds(10 if seeds is None else seeds, first_seed),
            threshold=studies.THRESHOLD if threshold is None else threshold,
        )
    study.carry_out(plan, flags, page.write, _result)


def _result(plan: Plan, outcomes: Sequence[Outcome]) -> Result:
    rows = studies.table(plan, outcomes)
    return Result(
        ("arm", "converged", "95 %", f"median {plan.judged} acc", "range", "dead", "lost"),
        [_row(row) for row in rows],
        right=(1, 3, 5, 6),
        document={**plan.settings, "arms": rows},
    )


def _row(row: ArmReliability) -> tuple[str, ...]:
    """`dead` counts runs with dead classes, `lost` those that diverged or failed."""
    share, accuracy = row.share, row.accuracy
    return (
        row.arm,
        f"{row.converged}/{row.ended}",
        f"{share.low:.2f} to {share.high:.2f}" if share else "–",
        f"{accuracy.median:.4f}" if accuracy else "–",
        f"{accuracy.minimum:.4f} to {accuracy.maximum:.4f}" if accuracy else "–",
        str(row.runs_with_dead_classes),
        str(row.diverged + row.failed),
    )
