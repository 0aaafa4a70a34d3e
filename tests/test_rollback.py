"""A training whose numbers are no longer finite: where that begins, going back, going on."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netinnet import weights
from netinnet.errors import Diverged, NetinnetError
from netinnet.frameworks import FRAMEWORKS
from netinnet.networks import layers
from netinnet.networks.blocks import Block
from netinnet.networks.layers import Shape
from netinnet.networks.network import Network
from netinnet.reports import html
from netinnet.training import anomaly, checkpoint, pace, start
from netinnet.training.events import (
    MOST_ROLLBACKS,
    Evaluation,
    Failed,
    Progress,
    Rollback,
    Start,
    of_kind,
)
from netinnet.training.recipe import Recipe
from netinnet.training.run import Run
from tests.conftest import FRAMEWORK, needs, nin
from tests.crash import training

EPOCHS, STEPS = 4, 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data set, and a network without batch norm and ReLU, which diverges easily."""
    folder = tmp_path_factory.mktemp("tiny")
    training.make(folder)
    (folder / "net.toml").write_text(training.UNSTABLE)
    return folder


def recipe(folder: Path, framework: str = FRAMEWORK, **changes: Any) -> Recipe:
    tiny = Recipe(
        network=str(folder / "net.toml"),
        dataset=str(folder / "dots"),
        framework=framework,
        epochs=EPOCHS,
        batch_size=8,
        crop_padding=1,
        validation=0.2,
        checkpoint_seconds=0,
        learning_rate=3.0,
        on_nan="rollback",
    )
    return tiny.replace(**changes)


def model_of(run: Run) -> bytes:
    return run.model_file.read_bytes()


@pytest.mark.parametrize(
    "framework", [pytest.param(name, marks=needs(name)) for name in FRAMEWORKS]
)
def test_it_goes_back_and_on_and_says_so(framework: str, folder: Path, tmp_path: Path) -> None:
    heard: list[Any] = []
    run = start.train(
        recipe(folder, framework),
        output=tmp_path / "run",
        listener=heard.append,
        detect_anomaly=True,
    )
    rollbacks = of_kind(heard, Rollback)
    assert rollbacks
    assert [event.rollbacks for event in rollbacks] == [*range(1, len(rollbacks) + 1)]
    assert of_kind(run.events(), Rollback) == rollbacks
    # What was done again is listed once.
    assert [event.step for event in of_kind(run.events(), Progress)] == [*range(1, STEPS + 1)]
    assert [event.epoch for event in of_kind(run.events(), Evaluation)] == [*range(1, EPOCHS + 1)]
    for event in of_kind(run.events(), Progress):
        assert event.learning_rate == 3 * 0.5 ** len(rollbacks)
    assert run.metrics()["rollbacks"] == len(rollbacks)
    # The rate is that of all pictures that went through, of which some do not count.
    taken = STEPS + sum(event.diverged_at - event.back_to for event in rollbacks)
    pictures = run.metrics()["images_per_second"] * run.metrics()["training_seconds"]
    counted = EPOCHS * run.metrics()["train_examples"]
    assert pictures == pytest.approx(counted * taken / STEPS, rel=0.05)
    assert "from step 0 with 1/2 of the learning rate (rollback 1 of at most 5)" in (
        html.write(run.folder, None).read_text()
    )
    assert f"in step {rollbacks[0].diverged_at} the first activations that are not finite are " in (
        rollbacks[0].reason
    )
    assert not [*run.checkpoints.iterdir()]
    assert anomaly.is_finite(run.model().weights)


def test_the_time_left_is_estimated_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a rollback few steps are done, and the clock has run for long."""
    now = [0.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    found = pace.Pace(Start("", "", 100, 10, "", "", "", 1, {}, 1, []))
    for step in (*range(1, 901), *range(1, 51)):
        now[0] += 0.1
        found.take(Progress(step, 1, 1.0, 0.5, 80.0, 0.1, 0.0, 0.1))
    assert found.seconds_left == pytest.approx(95)


class Killed(BaseException):
    """As SIGKILL: nothing handles it."""


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An undisturbed run that goes back twice, once to the middle."""
    run = start.train(one_cycle(folder), output=tmp_path_factory.mktemp("whole") / "run")
    assert {event.back_to > 0 for event in of_kind(run.events(), Rollback)} == {True}
    return run


def one_cycle(folder: Path) -> Recipe:
    """The rate grows: the first epochs are good."""
    return recipe(folder, schedule="one-cycle", warmup=1.0, epochs=6)


@needs("pytorch")  # about files and commands: in one environment is enough
def test_killed_anywhere_it_ends_the_same(
    whole: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each checkpoint, event and removal: the same model, and the same events."""
    for at in itertools.count(0, 11):
        run, done = Run(tmp_path / str(at)), itertools.count()

        def counted(act: Any) -> Any:
            def instead(*arguments: Any, **options: Any) -> Any:
                if next(done) == at:  # noqa: B023 - used within this turn
                    raise Killed
                return act(*arguments, **options)

            return instead

        with monkeypatch.context() as patched:
            patched.setattr(Run, "log", counted(Run.log))
            patched.setattr(weights, "save_tensors", counted(weights.save_tensors))
            patched.setattr(Path, "unlink", counted(Path.unlink))
            try:
                start.train(one_cycle(folder), output=run.folder)
            except Killed:
                pass
            else:
                break
        if not run.is_finished:
            start.resume(run.folder)
        assert model_of(run) == model_of(whole), at
        for kind in (Rollback, Progress, Evaluation):
            own, other = of_kind(run.events(), kind), of_kind(whole.events(), kind)
            assert [fixed(event) for event in own] == [fixed(event) for event in other], at
    assert at > 50


def fixed(event: Any) -> dict[str, Any]:
    """What is no time."""
    timed = ("time", "seconds", "seconds_of_step", "images_per_second")
    return {name: value for name, value in event.to_dict().items() if name not in timed}


def test_after_five_it_ends(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="after 5 rollbacks: its numbers are no longer finite"):
        start.train(recipe(folder, learning_rate=1000.0), output=tmp_path / "run")
    logged = Run(tmp_path / "run").events()
    assert len(of_kind(logged, Rollback)) == MOST_ROLLBACKS
    assert isinstance(logged[-1], Failed)


def test_it_stops_if_nothing_is_said(folder: Path, tmp_path: Path) -> None:
    """With the last good checkpoint: none is written whose weights are no numbers."""
    run = Run(tmp_path / "run")
    with pytest.raises(Diverged, match=r"use a learning rate below 3$"):
        start.train(recipe(folder, on_nan=None), output=run.folder)
    kept = [*run.checkpoints.iterdir()]
    assert len(kept) == checkpoint.KEPT
    for path in kept:
        assert anomaly.is_finite(weights.load_tensors(path)[0])
    again = nin("train", "--resume", run.folder, "--detect-anomaly")
    assert again.returncode == 2
    assert "use a learning rate below 3; in step " in again.stderr
    assert " the first activations that are not finite are those of " in again.stderr


def test_on_nan_is_kept_on_resume_and_known(folder: Path, tmp_path: Path) -> None:
    assert 'on_nan = "rollback"' in recipe(folder).to_toml()
    assert "on_nan" not in Recipe().to_toml()  # as recipes of earlier versions
    with pytest.raises(NetinnetError, match="known are stop, rollback"):
        recipe(folder, on_nan="back")
    done = nin("train", "--resume", tmp_path, "--on-nan", "stop")
    assert "--resume uses the run's own recipe; leave out --on-nan" in done.stderr


# Where it begins


def _network() -> Network:
    blocks = (
        Block("block1", (layers.Conv(3, 3), layers.BatchNorm(), layers.ReLU())),
        Block("block2", (layers.Conv(3, 1), layers.GELU()), residual=True),
        Block("head", (layers.GlobalAvgPool(), layers.Flatten(), layers.Linear(2))),
    )
    return Network("n", Shape(1, 6, 6), blocks, ("a", "b"))


def _images() -> np.ndarray:
    return np.random.default_rng(0).random((4, 6, 6, 1), np.float32)


@pytest.mark.parametrize(
    ("layer", "value", "named"),
    [
        ("block1.conv1", 3e38, "block1.conv1 (conv 3×3, 3 channels)"),
        ("block1.conv1", 1e30, "block1.norm1 (batch norm)"),  # whose variance overflows
        ("block2.conv1", 3e38, "block2.conv1 (conv 1×1, 3 channels)"),
        ("head.linear1", 3.4e38, "head.linear1 (linear, 2 features)"),
    ],
)
def test_the_layer_is_named(layer: str, value: float, named: str) -> None:
    network = _network()
    before = weights.initial(network, 0)
    before["block2.conv1.bias"] += np.float32(3)  # so that the head's input is positive
    for name in before:
        if name.startswith(layer):
            before[name] = np.full_like(before[name], value)
    text = anomaly.found(network, before, _images(), before)
    assert text == f"the first activations that are not finite are those of {named}"


def test_the_gradient_nearest_to_the_loss_is_named() -> None:
    network = _network()
    before = weights.initial(network, 0)
    after = dict(before)
    for name in ("block1.conv1.weight", "block2.conv1.bias"):
        after[name] = np.full_like(before[name], np.nan)
    assert anomaly.found(network, before, _images(), after).endswith("that of block2.conv1.bias")
    assert "the logits are not" in anomaly.found(network, before, _images(), before)
