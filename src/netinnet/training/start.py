"""Starting a training, new or resumed: from a recipe or a run folder to the loop."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

from netinnet import frameworks, weights
from netinnet.data import datasets
from netinnet.data.source import Dataset, Facts, Source
from netinnet.errors import NetinnetError
from netinnet.frameworks.learner import Learner, LearnerSettings
from netinnet.inference import onnx_graph
from netinnet.networks.network import Network, Preprocessing
from netinnet.networks.variations import Variations
from netinnet.networks.zoo import Named, resolve
from netinnet.optimizer import Optimizer
from netinnet.training import checkpoint, run
from netinnet.training.checkpoint import Progress
from netinnet.training.events import OnnxFailed, Start, of_kind
from netinnet.training.listening import Listener, attempt, data_progress, write_report
from netinnet.training.loop import Report, Training
from netinnet.training.recipe import Recipe
from netinnet.training.run import Run
from netinnet.training.splits import splits


def _no_report(folder: Path, pictures: Source) -> None:
    """For callers that want none."""


def network_for(
    recipe: Recipe, network: Named | None = None, facts: Facts | None = None
) -> Network:
    """The network a recipe trains: input, classes and preprocessing by the facts of its data set.

    `network` is what the recipe's name for it stands for, and `facts` those of the data set that it
    names, if they are known already. Raises NetworkError or DataError.
    """
    data = facts or facts_of(recipe)
    return resolve(
        recipe.network if network is None else network,
        image_size=recipe.image_size,
        channels=data.channels,
        classes=data.classes,
        preprocessing=Preprocessing(data.mean, data.std) if recipe.normalise else Preprocessing(),
        pictures=data.shape,
        **{field.name: getattr(recipe, field.name) for field in dataclasses.fields(Variations)},
    )


def facts_of(recipe: Recipe, data_dir: Path | None = None) -> Facts:
    """What is known of the data set that a recipe names. Raises DataError."""
    return datasets.facts(recipe.dataset, data_dir, recipe.skip_bad)


def load_data(recipe: Recipe, data_dir: Path | None, listener: Listener) -> Dataset:
    """The data set that a recipe names. Raises DataError."""
    progress, skip_bad = data_progress(listener), recipe.skip_bad
    return datasets.load(recipe.dataset, data_dir, progress, skip_bad=skip_bad)


def train(
    recipe: Recipe,
    *,
    network: Network | None = None,
    dataset: Dataset | None = None,
    output: Path | None = None,
    data_dir: Path | None = None,
    listener: Listener = lambda event: None,
    report: Report = _no_report,
) -> Run:
    """Train from the start and return the finished run.

    `network` and `dataset` take the place of what the recipe names. `listener` is called with every
    event of docs/architecture.md, progress after each step; `report` with the run and the split
    that judges after each epoch. Raises Interrupted when asked to stop: the run can be resumed.
    """
    # What can't be is said before data is fetched.
    if dataset is None and datasets.is_named(recipe.dataset):
        network_for(recipe, network)
    frameworks.adapter(recipe.framework)
    if dataset is not None:
        recipe = recipe.replace(dataset=f"{datasets.OBJECT}{dataset.name}")
    data = dataset or load_data(recipe, data_dir, listener)
    network = network_for(recipe, network, data.facts)
    learner = learner_for(recipe, network, data.facts)
    training = Training(recipe, network, data, learner, listener, report)
    # The folder last: what can't be trained leaves none behind.
    return training.run(run.create(recipe, network, output, data.record, data.files), Progress())


def resume(
    folder: Path,
    *,
    dataset: Dataset | None = None,
    data_dir: Path | None = None,
    listener: Listener = lambda event: None,
    report: Report = _no_report,
) -> Run:
    """Go on with an interrupted run from its newest checkpoint, bit for bit.

    Thread count and device of the first sitting are kept: sums depend on them. The data set must
    have the same content; `dataset` gives one that is no folder. A finished run gets what is
    missing of its model.onnx and report; one that has both is a NetinnetError.
    """
    opened = run.open_run(folder)
    if opened.is_finished:
        return _complete(opened, dataset, data_dir, listener, report)
    recipe = opened.recipe()
    settled = recipe
    if starts := of_kind(opened.events(), Start):
        first = starts[0]
        settled = recipe.replace(threads=recipe.threads or first.threads, device=first.device)
    network, record = opened.network(), opened.dataset()
    frameworks.adapter(recipe.framework)  # as in train
    data = dataset or load_data(recipe, data_dir, listener)
    record.check(data.record)
    learner = learner_for(settled, network, record.facts)
    opened.remove_temporary()
    progress = checkpoint.restore(opened.checkpoints, learner, opened.identity())
    return Training(recipe, network, data, learner, listener, report).run(opened, progress)


def _complete(
    run: Run, dataset: Dataset | None, data_dir: Path | None, listener: Listener, report: Report
) -> Run:
    """Write what a finished run lacks: it was killed in its last moments, or could not write it."""
    run.remove_checkpoints()
    # In the order in which they are written.
    files = (run.metrics_file, run.onnx_file, run.report_file)
    times = [file.stat().st_mtime_ns for file in files if file.is_file()]
    if len(times) == len(files) and times == sorted(times):
        raise NetinnetError(
            f"{run.folder}: the run is finished; "
            f"nin evaluate {shlex.quote(str(run.folder))} shows its results"
        )
    recipe, model = run.recipe(), run.model()
    attempt(lambda: onnx_graph.write(run.onnx_file, model), listener, OnnxFailed)
    data = dataset or load_data(recipe, data_dir, listener)
    run.dataset().check(data.record)
    data = data.sized(model.network.input, data_progress(listener))
    judged = splits(recipe, data)[1][recipe.judged]
    write_report(lambda: report(run.folder, judged), listener)
    return run


def learner_for(recipe: Recipe, network: Network, facts: Facts) -> Learner:
    """What trains the network, from its initial weights."""
    initial = weights.initial(network, recipe.seed, recipe.initialisation)
    settings = learner_settings(recipe, network, facts)
    return frameworks.adapter(recipe.framework).learner(settings, initial)


def learner_settings(recipe: Recipe, network: Network, facts: Facts) -> LearnerSettings:
    """What is fixed about the training, apart from the data."""
    rules = Optimizer(recipe.optimizer, recipe.momentum, recipe.nesterov, recipe.weight_decay)
    own = {name: getattr(recipe, name) for name in ("label_smoothing", "device", "threads")}
    return LearnerSettings(network, rules, facts.shape or network.input, **own)
