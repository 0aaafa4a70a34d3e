"""`nin compare`: networks side by side on the same data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from netinnet.cli import recipe_flags, study
from netinnet.cli.console import WholeNumber, megabytes, print_json, print_table
from netinnet.cli.progress import duration
from netinnet.cli.recipe_flags import RecipeFlags
from netinnet.report import study_comparison
from netinnet.studies import comparison as studies
from netinnet.studies import plan as plans
from netinnet.studies.comparison import NetworkFigures


def compare(
    *networks: str,
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
    """Compare networks: size, work, memory, speed and accuracy over several seeds.

    Each network is trained by its own recipe: the book's for `nin`, `lenet`, `alexnet` and
    `vgg11-quarter`, `fashion` for `nin-small`. The budget is the same for all where it is given:
    `--epochs`, `--train-examples`, `--image-size` or any other field. Ctrl-C saves all; `--resume`,
    or the same command with the same `--output`, goes on, and more seeds may be added.

    Parameters
    ----------
    networks
        Networks of the zoo, shipped recipes or paths of TOML files; nin-small, lenet, alexnet and
        vgg11-quarter if none is named.
    seeds
        Number of seeds, 3 if not given.
    first_seed
        The first of them.
    workers
        Runs at a time; cores divided by threads of a run (1 unless --threads says more) if not
        given. For speeds to be compared, 1.
    output
        Folder of the study; studies/DATE-compare if not given.
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
        decided = {"output": output, "networks": networks}
        plan = study.resumed(resume, studies.KIND, {**decided, **changes}, seeds, first_seed)
    else:
        count = plans.seeds(3 if seeds is None else seeds, first_seed)
        plan = studies.plan(networks, seeds=count, **changes)
    if dry_run:
        study.show_plan(plan, workers=workers, data_dir=data_dir, json=json)
        return
    plan, folder, outcomes = study.conduct(
        plan,
        study_comparison.write,
        output=resume or output,
        workers=workers,
        data_dir=data_dir,
        quiet=quiet,
    )
    rows = studies.table(plan, outcomes)
    if json:
        print_json({"study": str(folder), "networks": study.as_json(rows)})
        return
    headers = ("network", "parameters", "MACs", "memory", "file", "images/s", "time", "test acc")
    print_table(headers, [_row(row) for row in rows], right=(1, 2, 3, 4, 5, 6))
    print(f"study: {folder}  (report: {folder / 'report.html'})")


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
