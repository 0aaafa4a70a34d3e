"""`nin ablate`: what each part of a NiN is good for."""

from __future__ import annotations

from collections.abc import Sequence

from netinnet.cli import recipe_flags, study
from netinnet.cli.console import WholeNumber
from netinnet.cli.progress import duration
from netinnet.cli.recipe_flags import RecipeFlags
from netinnet.cli.study import NO_FLAGS, Result, StudyFlags
from netinnet.studies import ablation as studies
from netinnet.studies import plan as plans
from netinnet.studies.ablation import ArmEffect
from netinnet.studies.outcome import Outcome
from netinnet.studies.pages import ablation as page
from netinnet.studies.pages.page import difference
from netinnet.studies.plan import Plan
from netinnet.training import recipe as recipes


def ablate(
    *questions: str,
    recipe: str | None = None,
    seeds: WholeNumber | None = None,
    first_seed: WholeNumber = 0,
    flags: StudyFlags = NO_FLAGS,
    overrides: RecipeFlags = None,
) -> None:
    """Change one thing of a NiN at a time and compare over the same seeds.

    The baseline is the recipe as it is. Each arm's accuracy is compared with the baseline's seed by
    seed; the interval is Student's, 95 %. Ctrl-C saves all; `--resume`, or the same command with
    the same `--output`, goes on, and more seeds may be added.

    Parameters
    ----------
    questions
        What to change: `pointwise` (1×1 convolutions in a block: 0, 1, 2, 3), `last-step` (direct
        or gradual to the classes), `dropout`, `logits-relu`, `head` (global average pooling or a
        fully connected layer); all of them if none is named.
    recipe
        A shipped recipe (`fashion` if not given) or the path of a TOML file.
    seeds
        Number of seeds, 5 if not given.
    first_seed
        The first of them.
    """
    changes = recipe_flags.given(overrides)
    recipe_flags.refuse_seed(changes)
    if flags.resume is not None:
        decided = {"recipe": recipe, "questions": questions}
        plan = study.resumed(flags, studies.KIND, {**decided, **changes}, seeds, first_seed)
    else:
        plan = studies.plan(
            recipes.load(recipe or "fashion", **changes),
            questions=questions,
            seeds=plans.seeds(5 if seeds is None else seeds, first_seed),
            data_dir=flags.data_dir,
        )
    study.carry_out(plan, flags, page.write, _result)


def _result(plan: Plan, outcomes: Sequence[Outcome]) -> Result:
    rows = studies.table(plan, outcomes)
    return Result(
        ("arm", f"{plan.judged} acc", "against baseline (95 %)", "parameters", "MACs", "time"),
        [_row(row) for row in rows],
        right=(3, 4, 5),
        document={"arms": rows},
    )


def _row(row: ArmEffect) -> tuple[str, ...]:
    return (
        row.arm,
        study.accuracy(row.accuracy, len(row.runs)),
        difference(row.difference),
        f"{row.parameters:,}",
        study.millions(row.macs),
        duration(row.seconds.mean) if row.seconds else "–",
    )
