"""`nin compare`: networks side by side on the same data."""

from __future__ import annotations

from collections.abc import Sequence

from netinnet.cli import recipe_flags, study
from netinnet.cli.console import WholeNumber, megabytes
from netinnet.cli.progress import duration
from netinnet.cli.recipe_flags import RecipeFlags
from netinnet.cli.study import NO_FLAGS, Result, StudyFlags
from netinnet.studies import comparison as studies
from netinnet.studies import plan as plans
from netinnet.studies.comparison import NetworkFigures
from netinnet.studies.outcome import Outcome
from netinnet.studies.pages import comparison as page
from netinnet.studies.plan import Plan


def compare(
    *networks: str,
    seeds: WholeNumber | None = None,
    first_seed: WholeNumber = 0,
    flags: StudyFlags = NO_FLAGS,
    overrides: RecipeFlags = None,
) -> None:
    """Compare networks: size, work, memory, speed and accuracy over several seeds.

    Each network is trained by its own recipe: the book's for `nin`, `lenet`, `alexnet` and
    `vgg11-quarter`, `fashion` for `nin-small`. The budget is the same for all where it is given:
    `--epochs`, `--train-examples`, `--image-size` or any other field. Ctrl-C saves all; `--resume`,
    or the same command with the same `--output`, goes on, and more seeds may be added. For speeds
    to be compared, `--workers 1`.

    Parameters
    ----------
    networks
        Networks of the zoo, shipped recipes or paths of TOML files; nin-small, lenet, alexnet and
        vgg11-quarter if none is named.
    seeds
        Number of seeds, 3 if not given.
    first_seed
        The first of them.
    """
    changes = recipe_flags.given(overrides)
    recipe_flags.refuse_seed(changes)
    if flags.resume is not None:
        decided = {"networks": networks}
        plan = study.resumed(flags, studies.KIND, {**decided, **changes}, seeds, first_seed)
    else:
        count = plans.seeds(3 if seeds is None else seeds, first_seed)
        plan = studies.plan(networks, seeds=count, **changes)
    study.carry_out(plan, flags, page.write, _result)


def _result(plan: Plan, outcomes: Sequence[Outcome]) -> Result:
    rows = studies.table(plan, outcomes)
    judged = f"{plan.judged} acc"
    return Result(
        ("network", "parameters", "MACs", "memory", "file", "images/s", "time", judged),
        [_row(row) for row in rows],
        right=(1, 2, 3, 4, 5, 6),
        document={"networks": rows},
    )


def _row(row: NetworkFigures) -> tuple[str, ...]:
    """`memory` is that of one picture's activations, `file` that of model.safetensors."""
    return (
        row.arm,
        f"{row.parameters:,}",
        study.millions(row.macs),
        megabytes(row.activation_bytes),
        megabytes(row.file_bytes) if row.file_bytes else "–",
        f"{row.images_per_second.mean:,.0f}" if row.images_per_second else "–",
        duration(row.seconds.mean) if row.seconds else "–",
        study.accuracy(row.accuracy, len(row.runs)),
    )
