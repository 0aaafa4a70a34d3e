"""Ablation and comparison of networks: their plans, tables, pages and figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from netinnet.errors import NetinnetError, RecipeError, RecipeWarning
from netinnet.studies import ablation, comparison
from netinnet.studies.outcome import Outcome, Point
from netinnet.studies.pages import figures
from netinnet.studies.statistics import Interval, Summary
from netinnet.training import recipe as recipes
from netinnet.training.parts import network_for
from tests.conftest import needs, nin

TINY = ["--train-examples", "64", "--test-examples", "40", "--epochs", "2", "--batch-size", "32"]


def finished(arm: str, seed: int, accuracy: float) -> Outcome:
    point = Point(1, 2.0, 1.0, accuracy, 1.0, accuracy)
    return Outcome(
        arm,
        seed,
        Path("x"),
        "finished",
        accuracy=accuracy,
        training_seconds=2.0,
        images_per_second=100.0,
        model_bytes=4_000_000,
        peak_memory_bytes=5_000_000,
        curve=(point,),
    )


ARMS = {
    "nin": [
        *("baseline", "pointwise=0", "pointwise=1", "pointwise=3", "inner=3", "last-step=128-32"),
        *("dropout=0.0", "logits-relu=no", "head=dense", "head=dense-dropout"),
    ],
    "nin-small": [
        *("baseline", "pointwise=0", "pointwise=1", "pointwise=3", "inner=3"),
        *(
            "last-step=10-10",
            "last-step=32-16",
            "dropout=0.5",
            "logits-relu=yes",
            "head=dense",
            "head=dense-dropout",
        ),
    ],
    "nin-mnist": [
        *("baseline", "pointwise=0", "pointwise=1", "pointwise=3", "inner=3"),
        *(
            "last-step=10-10",
            "last-step=32-16",
            "dropout=0.0",
            "logits-relu=no",
            "head=dense",
            "head=dense-dropout",
        ),
    ],
}


@pytest.mark.parametrize("network", ARMS)
def test_arms_change_one_thing_and_leave_out_what_is_there(network: str) -> None:
    base = recipes.load("book", network=network, image_size=None, logits_relu=None, dropout=None)
    plan = ablation.plan(base, questions=(), seeds=(0, 1))
    assert [arm.name for arm in plan.arms] == ARMS[network]
    networks = [network_for(arm.recipe).to_json() for arm in plan.arms]
    assert len(set(networks)) == len(networks)


def test_levers_change_the_training_only() -> None:
    base = recipes.load("fashion")
    plan = ablation.plan(base, questions=("levers", "flips"), seeds=(0,))
    assert [arm.name for arm in plan.arms] == [
        *("baseline", "flips=none", "flips=alternating", "crops=2", "erasing=0.25", "mixup=0.2"),
        *("cutmix=1.0", "smoothing=0.1", "averaging=0.99", "averaging=0.999"),
        *("recalibration=100", "decay=0.0", "schedule=linear", "schedule=cosine"),
    ]
    assert len({arm.recipe for arm in plan.arms}) == len(plan.arms)
    assert {arm.network for arm in plan.arms} == {plan.arms[0].network}
    assert ablation.question_of("crops=2") == "crops"


def test_levers_need_no_nin() -> None:
    plan = ablation.plan(recipes.Recipe(network="lenet"), questions=("crops",), seeds=(0,))
    assert [arm.name for arm in plan.arms] == ["baseline", "crops=2"]


def test_what_a_network_has_no_part_for_is_left_out_and_said() -> None:
    """lenet has no batch norm: what is planned can be trained."""
    base = recipes.Recipe(network="lenet")
    with pytest.warns(RecipeWarning, match=r"^recalibration=100 is left out: .*lenet has none"):
        plan = ablation.plan(base, questions=("levers",), seeds=(0,))
    names = [arm.name for arm in plan.arms]
    assert "crops=2" in names
    assert not any("recalibration" in name for name in names)
    for questions in (("recalibration",), ("levers", "recalibration")):
        with pytest.raises(RecipeError, match="recalibrate is for batch norm, and lenet has none"):
            ablation.plan(base, questions=questions, seeds=(0,))


def test_a_recipe_that_uses_a_lever_is_compared_with_one_that_does_not() -> None:
    base = recipes.load("fashion-best")
    plan = ablation.plan(base, questions=("crops", "averaging", "flips"), seeds=(0,))
    assert [arm.name for arm in plan.arms] == [
        *("baseline", "crops=0", "averaging=none", "averaging=0.99", "flips=none", "flips=random"),
    ]


@pytest.mark.parametrize(
    ("network", "questions", "message"),
    [
        ("lenet", (), "lenet is not a NiN"),
        ("nin", ("pointwize",), "unknown question 'pointwize' (did you mean 'pointwise'?)"),
    ],
)
def test_what_cannot_be_ablated(network: str, questions: tuple[str, ...], message: str) -> None:
    base = recipes.Recipe(network=network)
    with pytest.raises(NetinnetError) as raised:
        ablation.plan(base, questions=questions, seeds=(0,))
    assert message in str(raised.value)


def test_differences_are_paired_by_seed() -> None:
    plan = ablation.plan(recipes.load("fashion"), questions=("head",), seeds=(0, 1, 2))
    lost = Outcome("head=dense", 2, Path("x"), "diverged", "…")
    rows = ablation.table(
        plan,
        [
            *(finished("baseline", seed, 0.9 + 0.01 * seed) for seed in (0, 1, 2)),
            *(finished("head=dense", seed, 0.89 + 0.01 * seed) for seed in (0, 1)),
            lost,
        ],
    )
    baseline, dense, dropout = rows
    assert (baseline.difference, baseline.question) == (None, None)
    assert dense.difference is not None
    assert dense.difference.estimate == pytest.approx(-0.01)
    assert dense.difference.high == pytest.approx(-0.01)
    assert (dense.difference.count, dense.lost, dense.question) == (2, 1, "head")
    assert dense.parameters == baseline.parameters + 490 * 10 + 10
    assert dropout.accuracy is None
    assert dropout.difference is None


@pytest.mark.parametrize(
    ("name", "network", "rate", "size"),
    [
        ("nin", "nin", 0.1, 224),
        ("nin-small", "nin-small", 0.15, 28),
        ("lenet", "lenet", 0.9, 28),
        ("alexnet", "alexnet", 0.01, 224),
        ("vgg11", "vgg11", 0.05, 224),
        ("vgg11-quarter", "vgg11-quarter", 0.05, 224),
        ("nin-mnist", "nin-mnist", 0.15, 28),
        ("book", "nin", 0.1, 224),
    ],
)
def test_each_network_has_its_own_recipe(name: str, network: str, rate: float, size: int) -> None:
    recipe = comparison.recipe_of(name, epochs=3)
    assert (recipe.network, recipe.learning_rate, recipe.epochs) == (network, rate, 3)
    assert network_for(recipe).input.height == size


def test_what_cannot_be_compared() -> None:
    with pytest.raises(NetinnetError, match=r"unknown network 'vgg' \(did you mean 'vgg11'\?\)"):
        comparison.plan(["nin", "vgg"], seeds=(0,))
    with pytest.raises(NetinnetError, match="two arms have the same name"):
        comparison.plan(["nin", "nin"], seeds=(0,))
    with pytest.raises(RecipeError, match="cannot be read"):
        comparison.plan(["none.toml"], seeds=(0,))


def test_comparison_table() -> None:
    plan = comparison.plan(["lenet", "nin-small"], seeds=(0, 1))
    outcomes = [finished("lenet", 0, 0.8), finished("lenet", 1, 0.9)]
    lenet, small = comparison.table(plan, outcomes)
    assert lenet.accuracy == Summary(
        2, pytest.approx(0.85), pytest.approx(0.0707, abs=1e-4), 0.8, pytest.approx(0.85), 0.9
    )
    assert (lenet.parameters, lenet.file_bytes, lenet.image_size) == (61_706, 4_000_000, 28)
    assert (small.parameters, small.accuracy, small.file_bytes) == (96_080, None, None)


@needs("pytorch")
@pytest.mark.usefixtures("fashion_mnist")
def test_ablate_command(tmp_path: Path) -> None:
    """Four runs in processes of their own, about 10 s."""
    folder = tmp_path / "study"
    flags = ["head", *TINY, "--seeds", "1", "--output", folder, "--quiet"]
    done = nin("ablate", *flags)
    assert done.returncode == 0, done.stderr
    assert "head=dense-dropout" in done.stdout
    assert "100,990" in done.stdout
    found = json.loads(nin("ablate", "--resume", folder, "--quiet", "--json").stdout)
    assert [arm["question"] for arm in found["arms"]] == [None, "head", "head"]
    page = (folder / "report.html").read_text()
    assert "Global average pooling or a fully connected layer?" in page
    assert "Learning curves" in page
    import netinnet

    settings = {"train_examples": 64, "test_examples": 40, "epochs": 2, "batch_size": 32}
    rows = netinnet.ablate("head", output=folder, seeds=1, **settings)
    assert [row["arm"] for row in rows] == [arm["arm"] for arm in found["arms"]]
    assert rows[1]["difference_estimate"] == found["arms"][1]["difference"]["estimate"]
    # Any arm can be trained by nin train alone.
    recipe = folder / "runs/head=dense/seed-0/recipe.toml"
    assert recipes.load(str(recipe)).head == "dense"


@needs("pytorch")
@pytest.mark.usefixtures("fashion_mnist")
def test_compare_command(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    done = nin("compare", "lenet", "nin-small", *TINY, "--seeds", "1", "--output", folder, "--json")
    assert done.returncode == 0, done.stderr
    lenet, small = json.loads(done.stdout)["networks"]
    assert (lenet["parameters"], small["parameters"]) == (61_706, 96_080)
    model = folder / "runs/nin-small/seed-0/model.safetensors"
    assert small["file_bytes"] == model.stat().st_size
    assert 0 <= small["accuracy"]["mean"] <= 1
    assert small["images_per_second"]["mean"] > 0
    assert "Accuracy and what it costs" in (folder / "report.html").read_text()


def summary(value: float) -> Summary:
    return Summary(2, value, 0.01, value, value, value)


FIGURES: dict[str, Callable[[figures.Format], bytes]] = {
    "strips": lambda form: figures.accuracy_strips(
        {"a": [(0.1, True), (0.9, False)], "$none$": []}, 0.8, form
    ),
    "dead": lambda form: figures.dead_and_accuracy([(0, 0.9), (10, 0.1)], 10, 0.9, form),
    "curves": lambda form: figures.curves_with_bands(
        [("one", {"a": [[0.1, 0.5], [0.2, 0.6, 0.7]]}), ("", {"b": [[0.3]]})], form
    ),
    "effects": lambda form: figures.effects(
        [("a", Interval(0.1, 0.0, 0.2, 3)), ("b", Interval(0.1, None, None, 1))], form
    ),
    "costs": lambda form: figures.accuracy_against_cost(
        ["a", "b"],
        {"parameters": [1000, 10**7], "training time (s)": [3.0, 900.0]},
        [summary(0.9), summary(0.8)],
        form,
    ),
}


TEXTS = {
    "strips": ["accuracy (%)", "with dead classes", "$none$"],
    "dead": ["dead classes (of 10)", "one run"],
    "curves": ["one", "epoch"],
    "effects": ["percentage points"],
    "costs": ["training time (s)", "parameters"],
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_say_what_they_show(name: str) -> None:
    import matplotlib as mpl

    # Text as text, so that it can be looked for.
    with mpl.rc_context({"svg.fonttype": "none"}):
        svg = FIGURES[name]("svg").decode()
    for text in TEXTS[name]:
        assert text in svg
    assert FIGURES[name]("png").startswith(b"\x89PNG")
