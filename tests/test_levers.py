"""The levers of modern recipes: what each draws and computes, and that a resume changes nothing."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netinnet import frameworks, metrics, weights
from netinnet.data import batches
from netinnet.data import folder as data_folder
from netinnet.data.augmentation import Augmentation, alternating
from netinnet.data.batches import TrainingBatches
from netinnet.data.mixing import Mixing
from netinnet.data.source import Arrays
from netinnet.data.targets import SoftTargets, as_rows, rows
from netinnet.errors import NetinnetError, RecipeError
from netinnet.frameworks import FRAMEWORKS
from netinnet.frameworks.learner import Learner, LearnerSettings
from netinnet.inference import model_files
from netinnet.inference.predictor import Predictor
from netinnet.networks.network import Network, Preprocessing
from netinnet.networks.zoo import resolve
from netinnet.optimizer import Optimizer
from netinnet.training import anomaly, parts, recalibration, splits, start, step_time, teaching
from netinnet.training.recipe import Recipe
from netinnet.training.run import Run
from netinnet.training.schedule import learning_rate
from netinnet.training.stepping import decay
from tests.conftest import FRAMEWORK, needs, nin
from tests.crash import training

EACH = [pytest.param(name, marks=needs(name)) for name in FRAMEWORKS]
MIXED = st.sampled_from([Mixing(0.3), Mixing(cutmix=1.0), Mixing(0.3, 1.0)])
KEYS = st.tuples(*[st.integers(0, 10**6)] * 3)

# Targets


@given(
    key=KEYS,
    count=st.integers(1, 9),
    smoothing=st.floats(0, 0.9),
    mixing=MIXED,
    taught=st.booleans(),
)
def test_targets_sum_to_one(
    key: tuple[int, int, int], count: int, smoothing: float, mixing: Mixing, taught: bool
) -> None:
    rng = np.random.default_rng(key)
    labels = rng.integers(0, 5, count)
    logits = rng.normal(0, 3, (count, 5)).astype(np.float32)
    teacher = (lambda _: metrics.softmax(logits)) if taught else None
    soft = SoftTargets(5, smoothing, mixing, teacher, 0.7)
    images = rng.normal(size=(count, 6, 4, 1)).astype(np.float32)
    before = images.copy()
    batch = soft(np.zeros(images.shape, np.uint8), images, labels, key)
    assert batch.targets.dtype == batch.images.dtype == np.float32
    assert batch.targets.min() >= 0
    np.testing.assert_allclose(batch.targets.sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(images, before)
    again = soft(np.zeros(images.shape, np.uint8), images, labels, key)
    for one, other in zip(batch, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_smoothed_label() -> None:
    np.testing.assert_allclose(rows(np.array([1]), 4, 0.2), [[0.05, 0.85, 0.05, 0.05]], rtol=1e-6)
    np.testing.assert_array_equal(as_rows(np.array([1]), 3), [[0, 1, 0]])


@given(key=KEYS, mixing=MIXED)
def test_a_mixture_is_as_much_of_each_picture_as_of_its_target(
    key: tuple[int, int, int], mixing: Mixing
) -> None:
    """Pictures of one value each, the label: a mixture's mean is that of its targets."""
    labels = np.arange(6)
    images = np.tile(labels.astype(np.float32)[:, None, None, None], (1, 8, 9, 1))
    batch = SoftTargets(6, mixing=mixing)(images.astype(np.uint8), images, labels, key)
    expected = batch.targets @ labels
    np.testing.assert_allclose(batch.images.mean((1, 2, 3)), expected, atol=1e-5)
    assert (batch.targets[labels, batch.labels] >= 0.5 - 1e-6).all()  # the larger part


@given(key=KEYS)
def test_cutmix_takes_a_rectangle(key: tuple[int, int, int]) -> None:
    mixture = Mixing(cutmix=1.0).draw(2, 8, 9, key)
    assert mixture is not None
    assert mixture.window is not None
    images = np.zeros((2, 8, 9, 1), np.float32)
    images[1] = 1
    taken = mixture.images(images)[0, ..., 0] if mixture.partners[0] else np.zeros((8, 9))
    inside = np.zeros((8, 9))
    inside[mixture.window] = mixture.partners[0]
    np.testing.assert_array_equal(taken, inside)


def test_both_mixings_have_half_of_the_batches_each() -> None:
    drawn = [Mixing(0.2, 1.0).draw(4, 8, 8, (0, 0, step)) for step in range(1000)]
    cuts = [mixture is not None and mixture.window is not None for mixture in drawn]
    assert 0.45 < np.mean(cuts) < 0.55
    assert Mixing().draw(4, 8, 8, (0, 0, 0)) is None


def test_what_is_mixed_is_written_down() -> None:
    """So that it is the same with every NumPy that a framework needs."""
    mixup = Mixing(mixup=0.2).draw(5, 8, 8, (1, 2, 3))
    cutmix = Mixing(cutmix=1.0).draw(5, 8, 8, (1, 2, 3))
    assert mixup is not None
    assert cutmix is not None
    assert [*mixup.partners] == [*cutmix.partners] == PARTNERS
    assert (round(mixup.share, 6), cutmix.share, cutmix.window) == DRAWN


PARTNERS = [2, 3, 0, 1, 4]
DRAWN = (0.000023, 0.6875, (slice(4, 8), slice(0, 5)))


def stepped(framework: str, targets: Any, net: Network) -> tuple[list[float], weights.Weights]:
    settings = LearnerSettings(net, Optimizer("sgd", 0.9), net.input, "cpu")
    learner = frameworks.adapter(framework).learner(settings, weights.initial(net, 0))
    images = np.random.default_rng(1).normal(size=(6, 28, 28, 1)).astype(np.float32)
    losses = []
    for step in (1, 2):
        logits = learner.step(images, targets, 0.05, step, 0)
        losses.append(float((as_rows(targets, 10) * -np.log(metrics.softmax(logits))).sum()))
    return losses, learner.weights()


@pytest.mark.parametrize("framework", EACH)
def test_rows_of_plain_labels_are_labels_to_the_bit(framework: str) -> None:
    labels, net = np.array([3, 1, 4, 1, 5, 9]), resolve("lenet")
    plain, of_labels = stepped(framework, labels, net)
    as_targets, of_rows = stepped(framework, rows(labels, 10), net)
    assert plain == as_targets
    for name, value in of_labels.items():
        np.testing.assert_array_equal(value, of_rows[name], err_msg=name)


@pytest.mark.parametrize("framework", EACH)
def test_a_step_goes_down_the_gradient_of_the_targets(framework: str) -> None:
    """The bias of the logits moves by the mean of targets less probabilities: NumPy's numbers."""
    net = resolve("lenet")
    targets = np.random.default_rng(2).dirichlet(np.ones(10), 6).astype(np.float32)
    settings = LearnerSettings(net, Optimizer(), net.input, "cpu")
    drawn = weights.initial(net, 0)
    learner = frameworks.adapter(framework).learner(settings, drawn)
    images = np.random.default_rng(1).normal(size=(6, 28, 28, 1)).astype(np.float32)
    logits = learner.step(images, targets, 1.0, 1, 0)
    name = [name for name in drawn if name.endswith("bias")][-1]
    moved = learner.weights()[name] - drawn[name]
    np.testing.assert_allclose(moved, (targets - metrics.softmax(logits)).mean(0), atol=2e-6)


# Flips and schedules


@given(count=st.integers(1, 50), seed=st.integers(0, 10**6), epoch=st.integers(0, 10**4))
def test_each_picture_is_flipped_once_in_two_epochs(count: int, seed: int, epoch: int) -> None:
    assert (alternating(count, seed, epoch) ^ alternating(count, seed, epoch + 1)).all()


def test_a_picture_is_seen_both_ways_in_two_epochs() -> None:
    images = np.zeros((10, 2, 2, 1), np.uint8)
    images[:, :, 0] = np.arange(1, 11)[:, None, None]
    make = TrainingBatches(
        Arrays(images, np.arange(10)),
        Preprocessing((0.0,), (1 / 255,)),
        4,
        3,
        Augmentation(horizontal_flip=True, flips="alternating"),
    )
    seen: list[dict[int, int]] = []
    for epoch in range(4):
        of_epoch = [make(epoch * make.per_epoch + step) for step in range(make.per_epoch)]
        seen.append(
            {
                int(label): int(image[0, 0, 0].round())
                for batch in of_epoch
                for image, label in zip(batch.images, batch.labels, strict=True)
            }
        )
    for one, other in pairwise(seen):
        assert {one[i] + other[i] - (i + 1) for i in range(10)} == {0}  # mirrored: 0 on the left
    assert seen[0] == seen[2]
    assert 0 < sum(value == 0 for value in seen[0].values()) < 10


@given(
    total=st.integers(1, 3000),
    warmup=st.floats(0, 1),
    schedule=st.sampled_from(["linear", "cosine", "one-cycle"]),
)
def test_a_schedule_ends_near_zero(total: int, warmup: float, schedule: str) -> None:
    recipe = Recipe(schedule=schedule, warmup=warmup, learning_rate=2.0)
    rates = [learning_rate(recipe, step, total) for step in range(1, total + 1)]
    assert all(0 <= rate <= 2 for rate in rates)
    if schedule == "linear":
        warmup = 0.0
    peak = int(np.argmax(rates))
    assert all(a <= b for a, b in pairwise(rates[: peak + 1]))
    assert all(a >= b for a, b in pairwise(rates[peak:]))
    if total * (1 - warmup) > 100:
        assert rates[-1] < 0.02


def test_the_schedules_numbers() -> None:
    linear, cosine = Recipe(schedule="linear", learning_rate=1.0), Recipe(schedule="cosine")
    assert [learning_rate(linear, step, 4) for step in (1, 2, 3, 4)] == [0.875, 0.625, 0.375, 0.125]
    cosine = cosine.replace(learning_rate=1.0, warmup=0.5)
    expected = [0.25, 0.75, (1 + 0.5**0.5) / 2, (1 - 0.5**0.5) / 2]
    assert [learning_rate(cosine, step, 4) for step in (1, 2, 3, 4)] == pytest.approx(expected)


# Averages


@given(highest=st.floats(0, 0.9999), step=st.integers(1, 10**6))
def test_an_average_keeps_little_at_first(highest: float, step: int) -> None:
    kept = decay(highest, step)
    assert 0 <= kept <= highest
    assert kept <= decay(highest, step + 1)
    assert decay(highest, 10**7) == pytest.approx(highest, rel=1e-4)


def averaging(framework: str) -> Learner:
    net = resolve("lenet")
    settings = LearnerSettings(net, Optimizer(), net.input, "cpu", averages=True)
    return frameworks.adapter(framework).learner(settings, weights.initial(net, 0))


@pytest.mark.parametrize("framework", EACH)
def test_an_average_is_numpys_and_of_constant_weights_constant(framework: str) -> None:
    learner = averaging(framework)
    images = np.random.default_rng(1).normal(size=(6, 28, 28, 1)).astype(np.float32)
    labels = np.arange(6)
    first = learner.weights()
    learner.step(images, labels, 0.0, 1, 0)
    learner.average(0.5)
    for name, value in first.items():
        np.testing.assert_array_equal(learner.average_weights()[name], value, err_msg=name)
    learner.step(images, labels, 0.5, 2, 0)
    learner.average(0.75)
    second = learner.weights()
    for name, value in learner.average_weights().items():
        np.testing.assert_allclose(
            value, 0.75 * first[name] + 0.25 * second[name], rtol=1e-4, atol=1e-6, err_msg=name
        )
    average = learner.final_weights()
    with learner.averaged():
        for name, value in learner.weights().items():
            np.testing.assert_array_equal(value, average[name], err_msg=name)
    for name, value in learner.weights().items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


@needs(FRAMEWORK)
def test_the_average_is_evaluated_and_saved(folder: Path, tmp_path: Path) -> None:
    run = start.train(recipe(folder, weight_averaging=0.8), output=tmp_path / "run")
    plain = start.train(recipe(folder), output=tmp_path / "plain")
    assert run.model_file.read_bytes() != plain.model_file.read_bytes()
    assert run.metrics()["train"] == plain.metrics()["train"]
    evaluated = nin("evaluate", run.folder, "--json")
    assert json.loads(evaluated.stdout)["loss"] == pytest.approx(run.metrics()["test"]["loss"])


@pytest.mark.parametrize("framework", EACH)
def test_an_average_goes_back_with_its_weights(
    framework: str, folder: Path, tmp_path: Path
) -> None:
    """A rollback, and a kill behind it."""
    (folder / "unstable.toml").write_text(training.UNSTABLE)
    fragile = recipe(
        folder,
        framework,
        network=str(folder / "unstable.toml"),
        learning_rate=3.0,
        schedule="constant",
        epochs=3,
        on_nan="rollback",
        weight_averaging=0.8,
    )
    whole = start.train(fragile, output=tmp_path / "whole")
    assert whole.metrics()["rollbacks"]
    assert anomaly.is_finite(whole.model().weights)
    run = Run(tmp_path / "killed")
    with pytest.raises(Killed):
        start.train(fragile, output=run.folder, listener=killed_at(8))
    start.resume(run.folder)
    assert run.model_file.read_bytes() == whole.model_file.read_bytes()


# Recalibration


@pytest.mark.parametrize("framework", EACH)
def test_recalibrated_statistics_are_those_of_the_batches(framework: str) -> None:
    """As NumPy computes them, whatever dropout and the statistics before."""
    net = resolve("nin-small", width=0.125, dropout=0.5)
    drawn = weights.initial(net, 0)
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (24, 28, 28, 1), np.uint8)
    made = TrainingBatches(
        Arrays(pictures, rng.integers(0, 10, 24)), net.preprocessing, 12, 0, Augmentation(True, 2)
    )
    settings = LearnerSettings(net, Optimizer("muon", 0.9), net.input, "cpu")
    found = recalibration.statistics(framework, settings, drawn, made, 2)
    plain = dataclasses.replace(made, augmentation=Augmentation())
    seen: dict[str, list[np.ndarray]] = {name: [] for name in found}
    for number in range(2):
        before = np.empty(0)
        for placed, x in anomaly._activations(net, drawn, plain(number).images):
            if f"{placed.name}.running_mean" in found:
                seen[f"{placed.name}.running_mean"].append(before.mean((0, 2, 3)))
                seen[f"{placed.name}.running_var"].append(before.var((0, 2, 3)))
            before = x.reshape(len(x), *placed.output)
    assert len(found) > 4
    for name, values in found.items():
        expected = np.mean(seen[name], 0)
        np.testing.assert_allclose(
            values, expected, rtol=0.02, atol=1e-3 * abs(expected).max(), err_msg=name
        )


def test_recalibration_is_for_batch_norm(folder: Path, tmp_path: Path) -> None:
    (folder / "plain.toml").write_text(training.UNSTABLE)
    with pytest.raises(NetinnetError, match="recalibrate is for batch norm, and plain has none"):
        start.train(
            recipe(folder, network=str(folder / "plain.toml"), recalibrate=3),
            output=tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()


# Teachers


def test_its_pass_is_in_the_time_of_a_step(
    folder: Path, taught: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    call = teaching.Teacher.__call__

    def counted(teacher: teaching.Teacher, pictures: Any) -> Any:
        asked.append(len(pictures))
        return call(teacher, pictures)

    monkeypatch.setattr(teaching.Teacher, "__call__", counted)
    monkeypatch.setattr(step_time, "MOST_STEPS", 2)
    wanted, data = recipe(folder, teacher=str(taught)), data_folder.load(folder / "dots")
    network = parts.network_for(wanted, facts=data.facts)
    assert 1 <= len(step_time.seconds_of_steps(wanted, network, data.facts)) <= 2
    assert set(asked) == {8}
    wrong = wanted.replace(teacher=str(model_files.shipped()))
    with pytest.raises(NetinnetError, match=r"its classes \(T-shirt"):
        step_time.seconds_of_steps(wrong, network, data.facts)


def test_a_teacher_must_know_the_same(folder: Path, taught: Path, tmp_path: Path) -> None:
    with pytest.raises(NetinnetError) as caught:
        start.train(recipe(folder, teacher=str(model_files.shipped())), output=tmp_path / "run")
    assert str(caught.value).startswith(f"teacher {model_files.shipped()}: its classes (T-shirt")
    assert "are not those that are learnt (0, 1)" in str(caught.value)
    with pytest.raises(NetinnetError) as caught:
        start.train(recipe(folder, teacher=str(taught), image_size=12), output=tmp_path / "run")
    assert "it takes 1×8×8, net 1×12×12; both must be the same" in str(caught.value)
    with pytest.raises(NetinnetError, match="no such"):
        start.train(recipe(folder, teacher=str(folder / "nothing")), output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_teachers_probabilities_are_a_share_of_the_targets(folder: Path, taught: Path) -> None:
    model = model_files.find(taught)
    given = recipe(
        folder, teacher="x", distillation=0.25, teacher_temperature=3.0, label_smoothing=0.0
    )
    pictures, labels = training.arrays(8, 3)
    source = Arrays(pictures, labels)
    plain = splits.training_batches(given, model.network, source)(0)
    np.testing.assert_array_equal(plain.targets, rows(plain.labels, 2))
    teacher = teaching.teacher(given, model, 1)
    learnt = splits.training_batches(given, model.network, source, teacher)
    shown = learnt.augmentation(pictures[batches.order(8, 0, 0)], (0, 0, 0))
    logits = Predictor(model).logits(shown)
    expected = 0.75 * plain.targets + 0.25 * metrics.softmax(logits / np.float32(3))
    np.testing.assert_allclose(learnt(0).targets, expected, atol=1e-6)


def test_more_epochs_have_the_same_teacher(folder: Path, taught: Path, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher.safetensors"
    teacher.write_bytes(taught.read_bytes())
    run = start.train(recipe(folder, teacher=str(teacher)), output=tmp_path / "run")
    teacher.unlink()
    more = start.train_more(run.folder, 1, output=tmp_path / "more")
    assert more.teacher_file.read_bytes() == run.teacher_file.read_bytes()


@needs("pytorch")
@pytest.mark.slow
@pytest.mark.connects("here")
def test_two_processes_learn_what_one_does(folder: Path, taught: Path, tmp_path: Path) -> None:
    pulled = recipe(folder, "pytorch", teacher=str(taught), shards=4, threads=1, **LEVERS)
    one = start.train(pulled, output=tmp_path / "one")
    (tmp_path / "levers.toml").write_text(pulled.to_toml())
    done = nin(
        "train",
        *("--recipe", tmp_path / "levers.toml", "--output", tmp_path / "two", "--processes", "2"),
        fresh=True,
    )
    assert done.returncode == 0, done.stderr
    assert Run(tmp_path / "two").model_file.read_bytes() == one.model_file.read_bytes()


# Recipes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"flips": "alternating"}, "flips says which pictures horizontal_flip mirrors: give that"),
        ({"horizontal_flip": True, "flips": "never"}, "known are random, alternating"),
        ({"schedule": "cosin"}, "'cosin' (did you mean 'cosine'?)"),
        ({"mixup": 0.0}, "mixup must be between 0.01 and 100, got 0"),
        ({"cutmix": 1000.0}, "cutmix must be between 0.01 and 100, got 1000"),
        ({"weight_averaging": 1.0}, "weight_averaging must be below 1, got 1"),
        ({"recalibrate": 0}, "recalibrate must be between 1 and 100000, got 0"),
        ({"distillation": 0.5}, "distillation needs a teacher: a run folder or model file"),
        ({"teacher_temperature": 2.0}, "teacher_temperature needs a teacher"),
        ({"teacher": "x", "distillation": 1.5}, "distillation must be between 0 and 1, got 1.5"),
    ],
)
def test_what_a_recipe_refuses(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe().replace(**changes)
    assert said in str(caught.value)


def test_levers_that_are_not_pulled_are_not_in_the_recipe() -> None:
    """So recipes, runs and checkpoints of earlier versions keep their identity."""
    written = Recipe().to_toml()
    for name in (*LEVERS, "teacher"):
        assert f"\n{name} = " not in written


LEVERS = {
    "mixup": 0.4,
    "cutmix": 1.0,
    "flips": "alternating",
    "weight_averaging": 0.9,
    "recalibrate": 2,
    "distillation": 0.3,
    "teacher_temperature": 2.0,
}
"""Beside a teacher."""


# Whole runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data set and network."""
    folder = tmp_path_factory.mktemp("tiny")
    training.make(folder)
    return folder


@pytest.fixture(scope="module")
def taught(folder: Path) -> Path:
    """A model that the tiny data set taught."""
    plain = recipe(folder, label_smoothing=0.0, epochs=3)
    return start.train(plain, output=folder / "teacher").model_file


def recipe(folder: Path, framework: str = FRAMEWORK, **changes: Any) -> Recipe:
    """Six steps in two epochs, a checkpoint after each."""
    whole = Recipe(
        network=str(folder / "net.toml"),
        dataset=str(folder / "dots"),
        framework=framework,
        epochs=2,
        batch_size=8,
        crop_padding=1,
        validation=0.2,
        checkpoint_seconds=0,
        learning_rate=0.1,
        schedule="cosine",
        horizontal_flip=True,
        label_smoothing=0.1,
    )
    return whole.replace(**changes)


class Killed(BaseException):
    """As SIGKILL: nothing handles it."""


def killed_at(step: int) -> Any:
    """A listener that ends everything when it hears of a step, before that is saved."""

    def listener(event: Any) -> None:
        if getattr(event, "step", None) == step:
            raise Killed

    return listener


@pytest.mark.parametrize("framework", EACH)
def test_a_resume_in_the_middle_changes_nothing(
    framework: str, folder: Path, taught: Path, tmp_path: Path
) -> None:
    """With every lever pulled, and a teacher that is no longer where it was."""
    teacher = tmp_path / "teacher.safetensors"
    teacher.write_bytes(taught.read_bytes())
    pulled = recipe(folder, framework, teacher=str(teacher), **LEVERS)
    whole = start.train(pulled, output=tmp_path / "whole")
    run = Run(tmp_path / "killed")
    with pytest.raises(Killed):
        start.train(pulled, output=run.folder, listener=killed_at(5))
    assert [path.stem for path in sorted(run.checkpoints.iterdir())][-1] == "step-00000004"
    teacher.unlink()
    start.resume(run.folder)
    assert run.model_file.read_bytes() == whole.model_file.read_bytes()
    for name in ("train", "test", "validation"):
        assert run.metrics()[name] == whole.metrics()[name]


@needs("pytorch")
def test_a_lever_in_shards(folder: Path, taught: Path, tmp_path: Path) -> None:
    """The same bytes by any number of threads; nearly those of the batch as a whole."""
    made = [
        start.train(
            recipe(folder, "pytorch", teacher=str(taught), **LEVERS, **own),
            output=tmp_path / str(number),
        )
        for number, own in enumerate(
            ({"shards": 4, "threads": 1}, {"shards": 4, "threads": 2}, {"threads": 1}),
        )
    ]
    models = [run.model().weights for run in made]
    for name, value in models[0].items():
        np.testing.assert_array_equal(value, models[1][name], err_msg=name)
    assert made[0].metrics()["train"]["loss"] == pytest.approx(
        made[2].metrics()["train"]["loss"], rel=0.3
    )


# Views


def test_two_views_are_reported_apart(folder: Path, taught: Path) -> None:
    data = ("--dataset", folder / "dots")
    one = json.loads(nin("evaluate", taught, *data, "--json").stdout)
    two = json.loads(nin("evaluate", taught, *data, "--views", "2", "--json").stdout)
    assert "two_views" not in one
    of_views = two.pop("two_views")
    assert one == two
    pictures, labels = training.arrays(8, 1)
    predictor = Predictor(model_files.find(taught))
    mean = (predictor.logits(pictures) + predictor.logits(pictures[:, :, ::-1].copy())) / 2
    expected = metrics.evaluate(mean, labels)
    assert of_views["accuracy"] == expected.accuracy
    assert of_views["loss"] == pytest.approx(expected.loss, rel=1e-5)
    text = nin("evaluate", taught, *data, "--views", "2").stdout
    assert "\nof two views (each picture and its mirror image, logits averaged): acc" in text
    assert nin("evaluate", taught, "--views", "3").stderr == (
        "nin: --views must be 1 or 2 (each picture and its mirror image), got 3\n"
    )
