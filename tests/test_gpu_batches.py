"""Batches made where the pictures lie: the same numbers as NumPy's, here on the CPU.

No GPU is needed: what runs is the same code on PyTorch's CPU. What only a GPU does (its memory, its
kernels) was not run.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netinnet.data.augmentation import ALTERNATING, Augmentation
from netinnet.data.batches import TrainingBatches
from netinnet.data.mixing import Mixing
from netinnet.data.source import Arrays
from netinnet.data.targets import SoftTargets
from netinnet.networks.network import Preprocessing
from netinnet.networks.zoo import describe

torch = pytest.importorskip("torch")

import netinnet  # noqa: E402 - behind the check that PyTorch is there
from netinnet import weights  # noqa: E402
from netinnet.frameworks import pytorch_batches, pytorch_learner  # noqa: E402
from netinnet.frameworks.learner import LearnerSettings  # noqa: E402
from netinnet.optimizer import Optimizer  # noqa: E402
from netinnet.training import recipe as recipes  # noqa: E402

CPU = torch.device("cpu")
AUGMENTATIONS = {
    "none": Augmentation(),
    "flips": Augmentation(horizontal_flip=True),
    "alternating flips": Augmentation(horizontal_flip=True, flips=ALTERNATING),
    "shifts": Augmentation(crop_padding=2),
    "resized crops": Augmentation(resized_crop=0.3),
    "colours": Augmentation(color_jitter=0.4),
    "erasing": Augmentation(random_erasing=0.7),
    "all": Augmentation(True, 3, 0.3, 0.4, 0.7, ALTERNATING),
}
SOFT = {
    "labels": None,
    "smoothing": SoftTargets(4, 0.1),
    "mixup": SoftTargets(4, 0.0, Mixing(mixup=0.4)),
    "cutmix": SoftTargets(4, 0.1, Mixing(cutmix=1.0)),
    "both": SoftTargets(4, 0.1, Mixing(mixup=1.0, cutmix=1.0)),
}


def batches(
    augmentation: Augmentation = AUGMENTATIONS["all"],
    soft: SoftTargets | None = None,
    channels: int = 3,
    size: tuple[int, int] = (9, 7),
    seed: int = 0,
) -> TrainingBatches:
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (21, *size, channels), np.uint8)
    about = Preprocessing((0.5,) * channels, (0.2,) * channels)
    source = Arrays(pictures, rng.integers(0, 4, 21))
    return TrainingBatches(source, about, 8, seed, augmentation, soft=soft)


def check_equal(made: TrainingBatches, steps: range = range(6)) -> None:
    there = pytorch_batches.DeviceBatches(made, CPU)
    for step in steps:  # two epochs, the last batch of each is smaller
        expected, found = made(step), there(step)
        assert found.images.dtype == torch.float32
        np.testing.assert_array_equal(found.images.numpy(), expected.images)
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_array_equal(found.targets, expected.targets)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmented_pictures_are_those_of_numpy(name: str, channels: int) -> None:
    check_equal(batches(AUGMENTATIONS[name], channels=channels))


@pytest.mark.parametrize("name", SOFT)
def test_targets_and_mixtures_are_those_of_numpy(name: str) -> None:
    check_equal(batches(soft=SOFT[name]))


@pytest.mark.parametrize("name", SOFT)
def test_all_is_computed_on_the_device(name: str) -> None:
    """On one that holds no numbers: whatever is elsewhere can't be computed with."""
    made = batches(soft=SOFT[name])
    there = pytorch_batches.DeviceBatches(made, torch.device("meta"))
    for step in range(3):
        images = there(step).images
        assert images.is_meta
        assert images.shape == made(step).images.shape


@given(
    seed=st.integers(0, 1000),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    channels=st.sampled_from([1, 3]),
    padding=st.integers(0, 5),
    crop=st.floats(0.05, 1),
    jitter=st.floats(0.01, 0.9),
)
def test_pictures_of_any_size(
    seed: int, size: tuple[int, int], channels: int, padding: int, crop: float, jitter: float
) -> None:
    augmentation = Augmentation(True, padding, crop, jitter, 0.5)
    check_equal(batches(augmentation, None, channels, size, seed), range(1))


def learner() -> Any:
    network = describe("nin-small").network(classes=("a", "b", "c", "d"))
    settings = LearnerSettings(network, Optimizer("sgd", 0.9), network.input, threads=1)
    return pytorch_learner.PyTorchLearner(settings, weights.initial(network, 0), "cpu")


def test_a_learner_takes_images_that_are_there() -> None:
    made = batches(AUGMENTATIONS["shifts"], SOFT["smoothing"], 1, (28, 28))
    results = []
    for make in (made, pytorch_batches.DeviceBatches(made, CPU)):
        trained, batch = learner(), make(0)
        logits = trained.step(batch.images, batch.targets, 0.1, 1, 0)
        results.append((logits, trained.logits(batch.images), trained.weights()))
    for here, there in zip(*results, strict=True):
        pairs = zip(here.values(), there.values(), strict=True) if isinstance(here, dict) else []
        for one, other in pairs or [(here, there)]:
            np.testing.assert_array_equal(one, other)


def test_a_training_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"train_examples": 100, "test_examples": 50, "epochs": 2, "threads": 1}
    recipe = recipes.load("cifar10").replace(**asked, network="nin-small", dataset="fashion-mnist")
    trained = [netinnet.train(recipe, output=tmp_path / "as ever").model().weights]
    used: list[object] = []

    def there(self: object, made: TrainingBatches) -> pytorch_batches.DeviceBatches:
        used.append(pytorch_batches.DeviceBatches(made, CPU))
        return used[-1]

    monkeypatch.setattr(pytorch_learner.PyTorchLearner, "batches", there)
    trained.append(netinnet.train(recipe, output=tmp_path / "there").model().weights)
    assert len(used) == 1
    for one, other in zip(*(found.values() for found in trained), strict=True):
        np.testing.assert_array_equal(one, other)


def test_only_a_gpu_has_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not where they don't fit, or a teacher needs them in NumPy: that is said."""
    made, trained = batches(channels=1, size=(28, 28)), learner()
    assert trained.batches(made) is made
    trained._device = torch.device("cuda:0")
    trained.device = "cuda:0"
    free = 2 * 21 * 28 * 28
    made_there: list[Any] = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**9))
    monkeypatch.setattr(
        pytorch_batches, "DeviceBatches", lambda *given: made_there.append(given) or "there"
    )
    # A stand-in that is a text would be a reason.
    assert pytorch_batches.on_gpu(made, trained._device) == "there"
    assert made_there == [(made, torch.device("cuda:0"))]
    free -= 2
    assert trained.batches(made) is made
    said = "batches are made on the CPU, not on cuda:0: the pictures take 16.5 kB, and 32.9 kB are"
    assert trained.cautions[-1].startswith(said)
    taught = SoftTargets(4, teacher=lambda pictures: np.zeros((len(pictures), 4), np.float32))
    with_teacher = dataclasses.replace(made, soft=taught)
    assert trained.batches(with_teacher) is with_teacher
    assert trained.cautions[-1].endswith("not on cuda:0: the teacher needs them there")


def test_on_a_gpu_float32_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's convolutions would read 10 bits of each value (TF32) unless told not to."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.backends.cudnn.allow_tf32, torch.are_deterministic_algorithms_enabled()
    monkeypatch.setattr(pytorch_learner.PyTorchLearner, "_made", lambda *_: {})
    monkeypatch.setattr(pytorch_learner.Learner, "__init__", lambda self, *_: None)
    network = describe("nin-small").network()
    settings = LearnerSettings(network, Optimizer(), network.input)
    try:
        torch.backends.cudnn.allow_tf32 = True
        pytorch_learner.PyTorchLearner(settings, {}, "cuda:0")
        assert not torch.backends.cudnn.allow_tf32
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.use_deterministic_algorithms(before[1])


def test_on_a_gpu_labels_are_learnt_as_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's documentation has the loss of labels among what is not deterministic there."""
    trained, labels = learner(), np.array([1, 3])
    assert trained._answers(labels).tolist() == [1, 3]
    trained._device = torch.device("cuda:0")
    monkeypatch.setattr(torch, "from_numpy", lambda array: SimpleNamespace(to=lambda _: array))
    assert trained._answers(labels).tolist() == [[0, 1, 0, 0], [0, 0, 0, 1]]
