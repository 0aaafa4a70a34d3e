"""Training with the layers in bfloat16: near float32, the same bytes each time, float32 outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from netinnet import frameworks, weights
from netinnet.errors import RecipeError
from netinnet.frameworks.learner import Learner, LearnerSettings
from netinnet.networks import Shape, resolve
from netinnet.optimizer import Optimizer
from netinnet.training import start
from netinnet.training.recipe import Recipe
from tests.conftest import needs, nin

pytestmark = needs("pytorch")

SOURCE = Shape(1, 28, 28)
NETWORKS = {
    "batch norm": resolve("nin-small", width=0.25),
    "folded resize": resolve("nin", width=0.1, image_size=84, channels=1, classes=10),
    "linear layers": resolve("lenet"),
}


def learner(name: str, precision: str | None) -> Learner:
    net = NETWORKS[name]
    given = LearnerSettings(net, Optimizer("sgd", 0.9), SOURCE, "cpu", precision=precision)
    return frameworks.adapter("pytorch").learner(given, weights.initial(net, 0))


def trained(
    name: str, precision: str | None, steps: int = 6
) -> tuple[list[weights.Array], Learner]:
    """The logits of some steps on one batch."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((32, 28, 28, 1), np.float32)
    labels = rng.integers(0, 10, 32)
    made = learner(name, precision)
    return [made.step(images, labels, 0.001, step, 0) for step in range(1, steps + 1)], made


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_near_those_of_float32_but_not_equal(name: str) -> None:
    (exact, _), (mixed, _) = (trained(name, p, steps=3) for p in (None, "bfloat16"))
    for one, other in zip(exact, mixed, strict=True):
        assert other.dtype == np.float32
        # bfloat16 keeps 8 bits: 2^-8 for each value, and there are some layers; steps add to it.
        assert np.abs(one - other).max() < 0.03 * np.abs(one).max()
    assert (exact[0] != mixed[0]).any()


@pytest.mark.parametrize("name", NETWORKS)
def test_twice_the_same_bytes(name: str) -> None:
    (_, one), (_, other) = trained(name, "bfloat16"), trained(name, "bfloat16")
    for tensor, value in one.weights().items():
        assert value.dtype == np.float32
        assert value.tobytes() == other.weights()[tensor].tobytes(), tensor


@pytest.mark.parametrize("name", NETWORKS)
def test_float32_by_name_is_the_default(name: str) -> None:
    (exact, _), (named, _) = trained(name, None), trained(name, "float32")
    assert all(np.array_equal(a, b) for a, b in zip(exact, named, strict=True))


@pytest.mark.parametrize("name", NETWORKS)
def test_evaluations_are_float32(name: str) -> None:
    images = np.random.default_rng(1).standard_normal((8, 28, 28, 1), np.float32)
    assert np.array_equal(
        learner(name, None).logits(images), learner(name, "bfloat16").logits(images)
    )


def test_a_resumed_run_makes_the_same_bytes(tmp_path: Path) -> None:
    recipe = Recipe(
        epochs=2,
        train_examples=64,
        test_examples=20,
        width=0.25,
        batch_size=16,
        momentum=0.9,
        precision="bfloat16",
        checkpoint_seconds=0.0,
    )
    whole = start.train(recipe, output=tmp_path / "whole")

    def killed(event: object) -> None:
        if getattr(event, "step", 0) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start.train(recipe, output=tmp_path / "cut", listener=killed)
    cut = start.resume(tmp_path / "cut")
    assert whole.model_file.read_bytes() == cut.model_file.read_bytes()


@pytest.mark.parametrize(
    ("has", "said"),
    [
        (["amx_bf16", "avx512_bf16"], []),
        (
            ["avx512_bf16"],
            [
                "cpu multiplies bfloat16 without AMX: float32 may be faster; "
                "--dry-run says what each takes"
            ],
        ),
        ([], ["cpu has no bfloat16 arithmetic: precision float32 is faster"]),
    ],
)
def test_it_is_said_where_float32_is_faster(
    has: list[str], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(has, True))
    assert learner("linear layers", "bfloat16").cautions == said
    assert learner("linear layers", None).cautions == []


@pytest.mark.parametrize("framework", ["tensorflow", "jax", "mxnet"])
def test_other_frameworks_refuse_it(framework: str) -> None:
    with pytest.raises(RecipeError) as error:
        Recipe(framework=framework, precision="bfloat16")
    assert str(error.value) == (
        f"{framework} trains in float32 only: leave precision out, or take pytorch"
    )


def test_shards_refuse_it(tmp_path: Path) -> None:
    done = nin("train", "--precision", "bfloat16", "--shards", "8", "--output", tmp_path / "run")
    assert done.returncode == 2
    assert done.stderr == (
        "nin: --shards: shards are computed in float32: leave shards or precision out\n"
    )
    assert not (tmp_path / "run").exists()
