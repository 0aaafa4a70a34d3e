"""`nin train`: a recipe with single fields overridden, progress, then the chapter's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netinnet import units
from netinnet.cli import recipe_flags
from netinnet.cli.calibrate import calibration_line
from netinnet.cli.console import Switch, print_json
from netinnet.cli.recipe_flags import RecipeFlags
from netinnet.training import recipe as recipes


def train(
    *,
    recipe: str | None = None,
    output: Path | None = None,
    resume: Path | None = None,
    data_dir: Path | None = None,
    quiet: Switch = False,
    json: Switch = False,
    overrides: RecipeFlags = None,
) -> None:
    """Train a network and watch it learn.

    A recipe decides everything: `fashion` (the default) trains a small network on Fashion-MNIST in
    a few minutes, `book` is the chapter to the letter. Any field of it can be given as a flag. The
    run's folder gets the model, its figures and report.html, which can be read while it trains.
    Ctrl-C saves; `--resume` goes on.

    Parameters
    ----------
    recipe
        A shipped recipe, such as `fashion` (the default) or `book`, or the path of a TOML file.
    output
        Folder of the run; runs/DATE-NETWORK-FRAMEWORK if not given.
    resume
        Go on with the interrupted run in this folder.
    data_dir
        Folder with the data set's files; found or fetched if not given.
    quiet
        No progress, only the result.
    json
        Print the result as JSON; progress goes to standard error.
    """
    from netinnet.cli.progress import TrainingProgress
    from netinnet.reports import html
    from netinnet.training import start

    changes = recipe_flags.given(overrides)
    if resume is not None:
        recipe_flags.refuse({"output": output, "recipe": recipe, **changes}, "run's own recipe")
    with TrainingProgress(quiet=quiet, stderr=json) as progress:
        common: dict[str, Any] = {"data_dir": data_dir, "listener": progress, "report": html.write}
        if resume is not None:
            run = start.resume(resume, **common)
        else:
            chosen = recipes.load(recipe or "fashion", **changes)
            run = start.train(chosen, output=output, **common)
    metrics = run.metrics()
    if json:
        print_json({"run": str(run.folder), **metrics})
        return
    judged = [name for name in ("validation", "test") if name in metrics]
    accuracies = "".join(f", {name} acc {metrics[name]['accuracy']:.4f}" for name in judged)
    train_figures = metrics["train"]
    print(
        f"loss {train_figures['loss']:.3f}, train acc {train_figures['accuracy']:.4f}{accuracies}"
    )
    for name in judged:
        low, high = metrics[name].get("accuracy_interval", (None, None))
        if low is not None:
            count = metrics[f"{name}_examples"]
            print(f"{name} acc of {count:,} pictures: {low:.4f} to {high:.4f} (95 %, Wilson)")
    print(calibration_line(metrics.get("calibration"), metrics.get("not_calibrated", "")))
    print(
        f"{units.rate(metrics['images_per_second'])} images/s on {metrics['device']}, "
        f"{units.duration(metrics['training_seconds'])} of training"
    )
    print(f"run: {run.folder}  (report: {run.report_file})")
