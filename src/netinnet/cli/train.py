"""`nin train`: a recipe with single fields overridden, progress, then the chapter's numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netinnet import units
from netinnet.cli import recipe_flags
from netinnet.cli.calibrate import calibration_line
from netinnet.cli.console import Switch, WholeNumber, print_json, say
from netinnet.cli.recipe_flags import RecipeFlags
from netinnet.errors import RecipeError

if TYPE_CHECKING:
    from netinnet.cli.progress import TrainingProgress
    from netinnet.training.prepared import Prepared
    from netinnet.training.run import Run


def train(
    *,
    recipe: str | None = None,
    output: Path | None = None,
    resume: Path | None = None,
    more_epochs: WholeNumber | None = None,
    time: str | None = None,
    dry_run: Switch = False,
    processes: WholeNumber = 1,
    data_dir: Path | None = None,
    verify: Switch = False,
    detect_anomaly: Switch = False,
    quiet: Switch = False,
    json: Switch = False,
    overrides: RecipeFlags = None,
) -> None:
    """Train a network and watch it learn.

    A recipe decides everything: `fashion` (the default) trains a small network on Fashion-MNIST in
    a few minutes, `book` follows the chapter exactly. `--dataset ./photos` trains on a folder of
    your own pictures; network, input size and width are chosen to suit them. Each field of a recipe
    is also a flag. The run's folder gets the model, its figures and report.html, which can be read
    while it trains. Ctrl-C saves and stops; `--resume` continues.

    Parameters
    ----------
    recipe
        A shipped recipe, such as `fashion` or `book`, or the path of a TOML file. If not given, the
        data set's own (`pictures` for a folder of pictures), else `fashion`.
    output
        Folder of the run; runs/DATE-NETWORK-FRAMEWORK if not given.
    resume
        Continue the interrupted run in this folder.
    more_epochs
        With --resume of a finished run: train this many more epochs, as a new run.
    time
        Time for the training, as in 90s, 10m, 1.5h. The number of epochs (for a folder of pictures
        also network, size and width) is chosen to fit, by timing a few steps.
    dry_run
        Only say what would be trained, and how long it will take here.
    processes
        Processes on this machine that train together (a power of two), with shards = 8 if the
        recipe gives none. Under torchrun they are those that it starts.
    data_dir
        Folder with the data set's files; found or fetched if not given.
    verify
        Compare the SHA-256 of a folder's pictures with that of the last inspection, instead of
        trusting size and time.
    detect_anomaly
        If the numbers are no longer finite, go through the steps since the last checkpoint again
        and name the layer in which the first such number arises. Costs nothing before that.
    quiet
        No progress, only the result.
    json
        Print the result as JSON; progress goes to standard error.
    """
    from netinnet.cli.progress import TrainingProgress
    from netinnet.data import datasets
    from netinnet.frameworks.processes import count_here, rank_here
    from netinnet.reports import html
    from netinnet.training import choice, follow, start
    from netinnet.training.listening import data_progress
    from netinnet.training.prepared import prepare
    from netinnet.training.run import open_run
    from netinnet.training.team import in_shards

    if rank_here():
        follow.follow(data_dir)
        return
    changes = recipe_flags.given(overrides)
    threads: int | None = None
    if resume is not None:
        if more_epochs is None:
            threads = changes.pop("threads", None)  # not of the run's numbers, if it has shards
        new = {"output": output if more_epochs is None else None, "dry_run": dry_run or None}
        recipe_flags.refuse({"recipe": recipe, "time": time, **new, **changes}, "run's own recipe")
    elif more_epochs is not None:
        raise RecipeError("--more-epochs continues a finished run: name it with --resume RUN")
    # A mistake is said before other processes start.
    if resume is None:
        with recipe_flags.named(changes):
            wish, before = choice.wish(recipe, changes, time=time), None
        wanted = wish.recipe
    else:
        opened = open_run(resume)
        wish, before = None, opened.dataset()
        wanted = opened.recipe()
    sharded = in_shards(wanted, count_here() if processes == 1 else processes)
    with TrainingProgress(quiet=quiet, stderr=json) as progress:
        common: dict[str, Any] = {"data_dir": data_dir, "listener": progress, "report": html.write}
        common["detect_anomaly"] = detect_anomaly
        if verify:
            datasets.verify(wanted.dataset, data_dir, data_progress(progress), before)
        if wish is not None and dry_run:
            with start.led():
                pass  # torchrun's others have nothing to train
            # As all processes together train it: their threads are those of this one here.
            wish = dataclasses.replace(wish, recipe=sharded)
            _show(prepare(wish, data_dir=data_dir, listener=progress), progress, json)
            return
        with follow.started(processes, data_dir):
            if resume is None:
                assert wish is not None
                run = start.train(wish, output=output, **common)
            elif more_epochs is not None:
                run = start.train_more(resume, more_epochs, output=output, **common)
            else:
                run = start.resume(resume, threads=threads, **common)
    _show_result(run, json)


def _show_result(run: Run, json: bool) -> None:
    """The figures of a finished run."""
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
    say(f"run: {run.folder}  (report: {run.report_file})")


def _show(prepared: Prepared, progress: TrainingProgress, json: bool) -> None:
    """What would be trained, what should be known of it, and how long that takes."""
    from netinnet.costs import counts
    from netinnet.training.cautions import cautions

    known = cautions(prepared.recipe, prepared.network, prepared.data)
    progress.caution(known)
    recipe, network = prepared.recipe, prepared.network
    cost, seconds = counts.total_cost(network), prepared.seconds()
    splits = {name: len(source) for name, source in prepared.splits.items()}
    if json:
        print_json(
            {
                "recipe": recipe,
                "network": network.to_dict(),
                "parameters": cost.parameters,
                "macs": cost.macs,
                "pictures": splits,
                "reasons": prepared.reasons,
                "cautions": known,
                "seconds": seconds,
            }
        )
        return
    counts_of = ", ".join(f"{count:,} {name}" for name, count in splits.items())
    say(f"data: {prepared.data.name}, {len(network.classes)} classes, pictures: {counts_of}")
    print(
        f"network: {network.name} for {network.takes}, {cost.parameters:,} parameters, "
        f"{units.operations(cost.macs)} multiply-accumulates a picture"
    )
    print(f"training: {recipe.epochs} epochs with {recipe.framework}")
    print(f"this will take about {units.estimate(seconds)} here")
