"""Starting a training, new or resumed: from a recipe or a run folder to the loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from netinnet import frameworks, weights, zoo
from netinnet.data import datasets
from netinnet.data.dataset import Dataset, Split
from netinnet.errors import NetinnetError
from netinnet.frameworks.learner import LearnerSettings
from netinnet.network import Network, Preprocessing, Shape
from netinnet.optimizer import Optimizer
from netinnet.training import checkpoint, run
from netinnet.training.checkpoint import Progress
from netinnet.training.loop import Listener, Report, Training
from netinnet.training.recipe import Recipe
from netinnet.training.run import Run


def _no_report(folder: Path, pictures: Split) -> None:
    """For callers that want none."""


def network_for(recipe: Recipe) -> Network:
    """The network a recipe trains: input, classes and preprocessing taken from its data set."""
    data = datasets.DATASETS[recipe.dataset]
    own = zoo.entry(recipe.network).input
    size = recipe.image_size or own.height
    return zoo.network(
        recipe.network,
        image_size=size,
        channels=data.shape.channels,
        classes=data.classes,
        logits_relu=recipe.logits_relu,
        dropout=recipe.dropout,
        preprocessing=Preprocessing(data.mean, data.std) if recipe.normalise else None,
    )


def train(
    recipe: Recipe,
    *,
    output: Path | None = None,
    data_dir: Path | None = None,
    listener: Listener = lambda event: None,
    report: Report = _no_report,
) -> Run:
    """Train from the start and return the finished run.

    `listener` hears every event of docs/architecture.md, progress after each step. `report` is
    called with the run and the evaluated split after each epoch. Raises Interrupted when asked to
    stop; the run can then be resumed.
    """
    network = network_for(recipe)
    adapter = frameworks.adapter(recipe.framework)
    data = datasets.load(recipe.dataset, data_dir, on_progress=_data_progress(listener))
    learner = adapter.learner(learner_settings(recipe, network, data), _initial(recipe, network))
    folder = run.create(recipe, network, output)
    return Training(recipe, network, data, learner, folder, listener, report).run(Progress())


def resume(
    folder: Path,
    *,
    data_dir: Path | None = None,
    listener: Listener = lambda event: None,
    report: Report = _no_report,
) -> Run:
    """Go on with an interrupted run from its newest checkpoint, bit for bit.

    The thread count of the first sitting is kept: sums over threads depend on it.
    """
    opened = run.open_run(folder)
    if opened.is_finished:
        raise NetinnetError(
            f"{folder}: the run is finished; nin evaluate {folder} shows its results"
        )
    recipe = opened.recipe()
    threads = next((e.get("threads") for e in opened.events() if e["event"] == "start"), None)
    settled = recipe if recipe.threads or not threads else recipe.replace(threads=threads)
    network = network_for(recipe)
    adapter = frameworks.adapter(recipe.framework)
    data = datasets.load(recipe.dataset, data_dir, on_progress=_data_progress(listener))
    learner = adapter.learner(learner_settings(settled, network, data), _initial(recipe, network))
    progress = checkpoint.restore(opened.checkpoints, learner)
    return Training(recipe, network, data, learner, opened, listener, report).run(progress)


def _initial(recipe: Recipe, network: Network) -> weights.Weights:
    return weights.initial(network, recipe.seed, recipe.initialisation)


def learner_settings(recipe: Recipe, network: Network, data: Dataset) -> LearnerSettings:
    height, width, channels = data.train.images.shape[1:]
    return LearnerSettings(
        network=network,
        optimizer=Optimizer(
            recipe.optimizer, recipe.momentum, recipe.nesterov, recipe.weight_decay
        ),
        source=Shape(channels, height, width),
        label_smoothing=recipe.label_smoothing,
        device=recipe.device,
        threads=recipe.threads,
    )


def _data_progress(listener: Listener) -> Callable[[str, int, int | None], None]:
    def on_progress(what: str, done: int, total: int | None) -> None:
        listener({"event": "data", "what": what, "done": done, "total": total})

    return on_progress
