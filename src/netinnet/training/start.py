"""Starting a training, new or resumed: from a recipe or a run folder to the loop."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from netinnet import frameworks
from netinnet.data.source import Dataset, Source
from netinnet.errors import NetinnetError, RecipeError, nin
from netinnet.frameworks import processes
from netinnet.inference import model_files, onnx_graph
from netinnet.networks.network import Network
from netinnet.training import checkpoint, run, space
from netinnet.training.checkpoint import Progress
from netinnet.training.choice import Wish
from netinnet.training.claim import Claim
from netinnet.training.events import OnnxFailed, Start, of_kind
from netinnet.training.listening import Listener, attempt, data_progress, write_report
from netinnet.training.loop import Report, Training
from netinnet.training.parts import learner_for, load_data
from netinnet.training.prepared import Prepared, initial_weights, prepare
from netinnet.training.recipe import Recipe
from netinnet.training.run import Run
from netinnet.training.splits import splits
from netinnet.training.team import END, Team, in_shards


def _no_report(folder: Path, pictures: Source, train: Source) -> None:
    """For callers that want none."""


def train(
    recipe: Recipe | Wish,
    *,
    network: Network | None = None,
    dataset: Dataset | None = None,
    output: Path | None = None,
    data_dir: Path | None = None,
    listener: Listener = lambda event: None,
    report: Report = _no_report,
    detect_anomaly: bool = False,
) -> Run:
    """Train from the start and return the finished run.

    `network` and `dataset` take the place of what the recipe names; a wish leaves some of it to be
    chosen for the data and the time. `listener` is called with every event of docs/architecture.md,
    progress after each step; `report` with the run, the split that judges and the one trained on.
    With `detect_anomaly`, a training that diverges says where the first number arose that is not
    finite.
    Raises Interrupted when asked to stop: the run can be resumed.
    """
    wish = recipe if isinstance(recipe, Wish) else Wish(recipe, network)
    prepared = prepare(wish, dataset=dataset, data_dir=data_dir, listener=listener)
    return begin(prepared, output, listener, report, detect_anomaly)


def begin(
    prepared: Prepared,
    output: Path | None,
    listener: Listener,
    report: Report,
    detect_anomaly: bool = False,
) -> Run:
    """Train what was prepared, as `train`."""
    network, data = prepared.network, prepared.data
    with led() as team:
        recipe = in_shards(prepared.recipe, team.processes.count)
        initial = initial_weights(recipe, network, prepared.pretrained)
        learner = learner_for(recipe, network, data.facts, initial, team.processes)
        training = Training(
            recipe,
            network,
            data,
            learner,
            listener,
            report,
            detect_anomaly,
            team,
            prepared.teacher,
        )
        space.check(learner, output or Path("runs"), recipe.on_nan)
        # The folder last: what can't be trained leaves none behind.
        copies = prepared.pretrained, prepared.teacher
        made = run.create(recipe, network, output, data.record, data.files, *copies)
        with made.claimed() as claim:
            team.introduce(recipe, network, data.record)
            return training.run(made, Progress(), claim)


@contextlib.contextmanager
def led() -> Iterator[Team]:
    """All processes of this training, led by this one; they end with the block.

    Where nothing is trained the block is empty: the others wait for what they are to do.
    """
    with processes.joined() as joined:
        if joined.rank:
            raise NetinnetError("only the first process trains; the others call follow.follow")
        team = Team(joined)
        yield team
        # After an error the others may wait for something else; they end when this process has.
        team.tell(END)


def train_more(
    folder: Path,
    epochs: int,
    *,
    dataset: Dataset | None = None,
    output: Path | None = None,
    data_dir: Path | None = None,
    listener: Listener = lambda event: None,
    report: Report = _no_report,
    detect_anomaly: bool = False,
) -> Run:
    """Go on from a finished run for so many epochs more, as a new run that starts from its weights.

    Network, recipe and data set are the same, and the learning rate goes through its schedule once
    more. Raises NetinnetError where the run is not finished, Interrupted as `train`.
    """
    opened = run.open_run(folder)
    opened.metrics()  # says where it is not finished
    recipe = opened.recipe().replace(epochs=epochs, pretrained=str(folder))
    frameworks.adapter(recipe.framework)
    data = dataset or load_data(recipe, data_dir, listener, opened.dataset())
    opened.dataset().check(data.record)
    prepared = Prepared(
        recipe, opened.network(), data, pretrained=opened.model(), teacher=opened.teacher()
    )
    return begin(prepared, output, listener, report, detect_anomaly)


def resume(
    folder: Path,
    *,
    dataset: Dataset | None = None,
    data_dir: Path | None = None,
    listener: Listener = lambda event: None,
    report: Report = _no_report,
    detect_anomaly: bool = False,
    threads: int | None = None,
) -> Run:
    """Go on with an interrupted run from its newest checkpoint, bit for bit.

    Thread count and device of the first sitting are kept: sums depend on them. With shards they
    don't depend on threads, and each sitting has `threads`, or the recipe's, or what suits its
    machine. The data set must have the same content; `dataset` gives one that is no folder. A
    finished run gets what is missing of its model.onnx and report; one that has both is a
    NetinnetError.
    """
    opened = run.open_run(folder)
    if threads is not None and not opened.recipe().shards:
        raise RecipeError(
            f"{folder}: begun without shards, so its numbers depend on the number of threads, "
            f"which is kept: leave out threads"
        )
    with opened.claimed() as claim:
        opened.remove_temporary()
        if opened.is_finished:
            return _complete(opened, dataset, data_dir, listener, report)
        return _resume(opened, threads, claim, dataset, data_dir, listener, report, detect_anomaly)


def _settled(opened: Run, threads: int | None) -> Recipe:
    """The recipe with the device of the first sitting, and the threads that this one has."""
    recipe = opened.recipe()
    wanted = threads or recipe.threads
    if starts := of_kind(opened.events(), Start):
        if not recipe.shards:
            wanted = wanted or starts[0].threads
        return recipe.replace(threads=wanted, device=starts[0].device)
    return recipe.replace(threads=wanted)


def _resume(
    opened: Run,
    threads: int | None,
    claim: Claim,
    dataset: Dataset | None,
    data_dir: Path | None,
    listener: Listener,
    report: Report,
    detect_anomaly: bool,
) -> Run:
    """Go on with a run that is claimed and not finished."""
    recipe, settled = opened.recipe(), _settled(opened, threads)
    if processes.count_here() > 1 and not recipe.shards:
        raise NetinnetError(
            f"{opened.folder}: begun without shards, so its numbers depend on one process: "
            f"go on with one"
        )
    network, record = opened.network(), opened.dataset()
    frameworks.adapter(recipe.framework)  # as in train
    data = dataset or load_data(recipe, data_dir, listener, record)
    record.check(data.record)
    # Where it is now is where the next sitting looks.
    if data.read_from != record.read_from:
        opened.write_dataset(dataclasses.replace(record, read_from=data.read_from))
    pretrained = model_files.find(opened.pretrained_file) if recipe.pretrained else None
    initial = initial_weights(recipe, network, pretrained)
    with led() as team:
        learner = learner_for(settled, network, record.facts, initial, team.processes)
        training = Training(
            recipe,
            network,
            data,
            learner,
            listener,
            report,
            detect_anomaly,
            team,
            opened.teacher(),
        )
        space.check(learner, opened.folder, recipe.on_nan)
        progress, damaged = checkpoint.restore(opened.checkpoints, learner, opened.identity())
        team.introduce(settled, network, data.record)
        return training.run(opened, progress, claim, damaged)


def _complete(
    run: Run, dataset: Dataset | None, data_dir: Path | None, listener: Listener, report: Report
) -> Run:
    """Write what a finished run lacks: it was killed in its last moments, or could not write it."""
    model = run.model()  # which says so if its file is gone
    # In the order in which they are written.
    files = (run.metrics_file, run.onnx_file, run.report_file)
    times = [file.stat().st_mtime_ns for file in files if file.is_file()]
    if len(times) == len(files) and times == sorted(times):
        run.remove_checkpoints()
        raise NetinnetError(
            f"{run.folder}: the run is finished; {nin('evaluate', run.folder)} shows its results"
        )
    with led():
        pass  # the others, if any, have nothing to train
    recipe = run.recipe()
    attempt(lambda: onnx_graph.write(run.onnx_file, model), listener, OnnxFailed)
    data = dataset or load_data(recipe, data_dir, listener, run.dataset())
    run.dataset().check(data.record)
    network = model.network
    data = data.sized(network.input, data_progress(listener), network.preprocessing)
    learnt, evaluated = splits(recipe, data)
    write_report(lambda: report(run.folder, evaluated[recipe.judged], learnt), listener)
    run.remove_checkpoints()
    return run
