"""Starting a training, new or resumed: from a recipe or a run folder to the loop."""

from __future__ import annotations

import shlex
from pathlib import Path

from netinnet import frameworks, weights
from netinnet.data import datasets
from netinnet.data.source import Dataset, Facts, Source
from netinnet.errors import NetinnetError
from netinnet.frameworks.learner import LearnerSettings
from netinnet.networks import zoo
from netinnet.networks.network import Network, Preprocessing
from netinnet.optimizer import Optimizer
from netinnet.training import checkpoint, run
from netinnet.training.checkpoint import Progress
from netinnet.training.listening import Listener, data_progress
from netinnet.training.loop import Report, Training
from netinnet.training.recipe import Recipe
from netinnet.training.run import Run


def _no_report(folder: Path, pictures: Source) -> None:
    """For callers that want none."""


def network_for(recipe: Recipe, facts: Facts | None = None) -> Network:
    """The network a recipe trains: input, classes and preprocessing by the facts of its data set.

    Without `facts` they are those of the data set that the recipe names.
    """
    data = facts or datasets.facts(recipe.dataset)
    own = zoo.entry(recipe.network).input
    size = recipe.image_size or own.height
    return zoo.network(
        recipe.network,
        image_size=size,
        channels=data.channels,
        classes=data.classes,
        logits_relu=recipe.logits_relu,
        dropout=recipe.dropout,
        pointwise=recipe.pointwise,
        narrowing=recipe.narrowing,
        head=recipe.head,
        width=recipe.width,
        preprocessing=Preprocessing(data.mean, data.std) if recipe.normalise else None,
    )


def train(
    recipe: Recipe,
    *,
    dataset: Dataset | None = None,
    output: Path | None = None,
    data_dir: Path | None = None,
    listener: Listener = lambda event: None,
    report: Report = _no_report,
) -> Run:
    """Train from the start and return the finished run.

    `listener` hears every event of docs/architecture.md, progress after each step. `report` is
    called with the run and the split that judges after each epoch. `dataset` is what is learnt
    where it isn't the recipe's. Raises Interrupted when asked to stop; the run can then be resumed.
    """
    adapter = frameworks.adapter(recipe.framework)
    if dataset is not None:
        recipe = recipe.replace(dataset=f"{datasets.OBJECT}{dataset.name}")
    data = dataset or datasets.load(recipe.dataset, data_dir, data_progress(listener))
    network = network_for(recipe, data.facts)
    settings = learner_settings(recipe, network, data.facts)
    learner = adapter.learner(settings, _initial(recipe, network))
    training = Training(recipe, network, data, learner, listener, report)
    # The folder last: what can't be trained leaves none behind.
    return training.run(run.create(recipe, network, output, data.record), Progress())


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
    have the same content; `dataset` gives one that is no folder.
    """
    opened = run.open_run(folder)
    if opened.is_finished:
        opened.remove_checkpoints()
        raise NetinnetError(
            f"{folder}: the run is finished; "
            f"nin evaluate {shlex.quote(str(folder))} shows its results"
        )
    recipe = opened.recipe()
    first = next((e for e in opened.events() if e["event"] == "start"), {})
    settled = recipe.replace(
        threads=recipe.threads or first.get("threads"), device=first.get("device", recipe.device)
    )
    record = opened.dataset()
    network = network_for(recipe, record.facts)
    adapter = frameworks.adapter(recipe.framework)
    data = dataset or datasets.load(recipe.dataset, data_dir, data_progress(listener))
    record.check(data.record)
    settings = learner_settings(settled, network, record.facts)
    learner = adapter.learner(settings, _initial(recipe, network))
    opened.remove_temporary()
    progress = checkpoint.restore(opened.checkpoints, learner, run.identity(recipe, network))
    return Training(recipe, network, data, learner, listener, report).run(opened, progress)


def _initial(recipe: Recipe, network: Network) -> weights.Weights:
    return weights.initial(network, recipe.seed, recipe.initialisation)


def learner_settings(recipe: Recipe, network: Network, facts: Facts) -> LearnerSettings:
    return LearnerSettings(
        network=network,
        optimizer=Optimizer(
            recipe.optimizer, recipe.momentum, recipe.nesterov, recipe.weight_decay
        ),
        source=facts.shape or network.input,
        label_smoothing=recipe.label_smoothing,
        device=recipe.device,
        threads=recipe.threads,
    )
