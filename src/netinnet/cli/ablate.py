"""`nin ablate`: what each part of a NiN is good for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from netinnet.cli import recipe_flags, study
from netinnet.cli.console import WholeNumber, print_json, print_table
from netinnet.cli.progress import duration
from netinnet.cli.recipe_flags import RecipeFlags
from netinnet.report import study_ablation, study_page
from netinnet.studies import ablation as studies
from netinnet.studies import plan as plans
from netinnet.studies.ablation import ArmEffect
from netinnet.training import recipe as recipes


def ablate(
    *questions: str,
    recipe: str | None = None,
    seeds: WholeNumber | None = None,
    first_seed: WholeNumber = 0,
    workers: WholeNumber | None = None,
    output: Path | None = None,
    resume: Path | None = None,
    data_dir: Path | None = None,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    quiet: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
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
    workers
        Runs at a time; cores divided by threads of a run (1 unless --threads says more) if not
        given.
    output
        Folder of the study; studies/DATE-ablate if not given.
    resume
        Go on with the study in this folder.
    data_dir
        Folder with the data set's files; found or fetched if not given.
    dry_run
        Only print the plan.
    quiet
        No progress, only the result.
    json
        Print the result as JSON.
    """
    changes = recipe_flags.given(overrides)
    recipe_flags.refuse_seed(changes)
    if resume is not None:
        decided = {"output": output, "recipe": recipe, "questions": questions}
        plan = study.resumed(resume, studies.KIND, {**decided, **changes}, seeds, first_seed)
    else:
        plan = studies.plan(
            recipes.load(recipe or "fashion", **changes),
            questions=questions,
            seeds=plans.seeds(5 if seeds is None else seeds, first_seed),
        )
    if dry_run:
        study.show_plan(plan, workers=workers, data_dir=data_dir, json=json)
        return
    plan, folder, outcomes = study.conduct(
        plan,
        study_ablation.write,
        output=resume or output,
        workers=workers,
        data_dir=data_dir,
        quiet=quiet,
    )
    rows = studies.table(plan, outcomes)
    if json:
        print_json({"study": str(folder), "arms": study.as_json(rows)})
        return
    headers = ("arm", "test acc", "against baseline (95 %)", "parameters", "MACs", "time")
    print_table(headers, [_row(row) for row in rows], right=(3, 4, 5))
    print(f"study: {folder}  (report: {folder / 'report.html'})")


def _row(row: ArmEffect) -> tuple[str, ...]:
    return (
        row.arm,
        study.accuracy(row.accuracy, len(row.runs)),
        study_page.difference(row.difference),
        f"{row.parameters:,}",
        study.millions(row.macs),
        duration(row.seconds.mean) if row.seconds else "–",
    )
