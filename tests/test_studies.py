"""Studies: the plan, statistics, runs in processes of their own, resuming, the page."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from netinnet.data.source import Facts
from netinnet.errors import FrameworkError, NetinnetError, RecipeError
from netinnet.frameworks import FRAMEWORKS
from netinnet.studies import fields, outcome, plan, reliability, statistics, tables, timing, workers
from netinnet.studies.arms import Arm
from netinnet.studies.estimate import Estimate
from netinnet.studies.events import Timing
from netinnet.studies.outcome import DeadClass, Outcome
from netinnet.studies.plan import Job, Plan
from netinnet.studies.workload import Workload
from netinnet.training import events
from netinnet.training import recipe as recipes
from netinnet.training.events import Event
from netinnet.training.parts import network_for
from netinnet.training.run import Run
from tests.conftest import made_once, needs, nin

NETWORK = network_for(recipes.load("fashion"))
TINY = ["--train-examples", "160", "--test-examples", "60", "--epochs", "1"]
DYING = [
    *("--recipe", "book", "--image-size", "67", "--learning-rate", "5"),
    *("--train-examples", "256", "--test-examples", "100", "--epochs", "2"),
    *("--vary", "logits_relu=true,false", "--seeds", "1"),
]
"""A rate far too high kills the ReLU of the last convolution, as in the chapter's failed runs."""


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def dying_study(fashion_mnist: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of two runs, one of which has dead classes (about 15 s)."""

    def make(folder: Path) -> None:
        done = nin("reliability", *DYING, "--output", folder / "study", "--json")
        assert done.returncode == 0, done.stderr
        (folder / "study/printed.json").write_text(done.stdout)
        (folder / "study/said.txt").write_text(done.stderr)

    return made_once("dying", tmp_path_factory, make) / "study"


# Statistics


@pytest.mark.parametrize(
    ("probability", "degrees", "value"),
    [
        (0.975, 1, 12.7062),
        (0.975, 2, 4.30265),
        (0.975, 3, 3.18245),
        (0.975, 4, 2.77645),
        (0.975, 9, 2.26216),
        (0.975, 30, 2.04227),
        (0.975, 1000, 1.96234),
        (0.95, 5, 2.01505),
        (0.995, 7, 3.49948),
        (0.5, 6, 0.0),
    ],
)
def test_t_quantiles_are_the_tables(probability: float, degrees: int, value: float) -> None:
    assert statistics.t_quantile(probability, degrees) == pytest.approx(value, abs=1e-4)


def test_t_quantile_refuses_what_it_cannot() -> None:
    with pytest.raises(ValueError, match="no such quantile"):
        statistics.t_quantile(0.2, 3)


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (8, 10, 0.4902, 0.9433), (10, 10, 0.7225, 1.0), (1, 2, 0.0945, 0.9055)],
)
def test_wilson_interval(count: int, total: int, low: float, high: float) -> None:
    found = statistics.share_interval(count, total)
    assert found is not None
    assert found.estimate == count / total
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_paired_difference_is_over_common_seeds() -> None:
    found = statistics.paired_difference({0: 0.9, 1: 0.8, 2: 0.7}, {0: 0.8, 1: 0.8, 3: 0.1})
    assert found is not None
    assert found.count == 2
    assert found.estimate == pytest.approx(0.05)
    # Student's t with one degree of freedom: 12.706 · (0.1 / √2) / √2.
    assert found.high == pytest.approx(0.05 + 12.7062 * 0.05, abs=1e-4)
    assert found.low is not None
    assert found.low < 0 < found.high
    alone = statistics.paired_difference({4: 0.5}, {4: 0.4})
    assert alone is not None
    assert alone.low is None
    assert statistics.paired_difference({1: 0.5}, {2: 0.5}) is None


# The plan


def test_grid_is_every_combination() -> None:
    vary = fields.parse_vary(["logits_relu=true,false", "initialisation=xavier,he"])
    arms = plan.grid("book", recipes.load("book"), vary)
    assert [arm.name for arm in arms] == [
        "logits_relu=true, initialisation=xavier",
        "logits_relu=true, initialisation=he",
        "logits_relu=false, initialisation=xavier",
        "logits_relu=false, initialisation=he",
    ]
    assert [arm.recipe.logits_relu for arm in arms] == [True, True, False, False]
    assert plan.grid("book", recipes.load("book"), {})[0].name == "book"


def test_values_have_the_fields_types() -> None:
    found = fields.parse_vary(["dropout=null,0.5", "pointwise=0,3", "narrowing=128-32,10-10"])
    assert found == {
        "dropout": [None, 0.5],
        "pointwise": [0, 3],
        "narrowing": ["128-32", "10-10"],
    }


def made(**changes: object) -> Plan:
    base = recipes.load("book", image_size=67)
    arms = plan.grid("book", base, {"logits_relu": [True, False]})
    return dataclasses.replace(
        Plan("reliability", arms, (0, 1), threshold=0.8),
        **changes,  # type: ignore[arg-type]
    )


def test_plan_to_toml_and_back() -> None:
    whole = made(arms=(Arm('a "b" ü', recipes.load("fashion", dropout=0.1)), *made().arms))
    assert plan.from_toml(whole.to_toml(), "x") == whole


def test_runs_are_seed_by_seed_in_folders_of_their_own(tmp_path: Path) -> None:
    jobs = made().jobs(tmp_path)
    assert [(job.arm, job.seed) for job in jobs] == [
        ("logits_relu=true", 0),
        ("logits_relu=false", 0),
        ("logits_relu=true", 1),
        ("logits_relu=false", 1),
    ]
    assert jobs[2].folder == tmp_path / "runs/logits_relu=true/seed-1"
    assert jobs[2].recipe.seed == 1


def test_a_study_grows_but_does_not_change(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    assert plan.settle(made(), folder) == (made(), folder)
    (folder / plan.PLAN_FILE).write_text(made().to_toml())
    grown, _ = plan.settle(made(seeds=(1, 2)), folder)
    assert grown.seeds == (0, 1, 2)
    said = r"another study \(threshold: 0.8 there, 0.9 here\); choose another --output"
    with pytest.raises(NetinnetError, match=said):
        plan.settle(made(threshold=0.9), folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("")
    with pytest.raises(NetinnetError, match="is not empty; choose another --output"):
        plan.settle(made(), tmp_path / "other")


MISTAKES = {
    "seed": (["--seed", "3"], "a study has many seeds; --seeds and --first-seed say which"),
    "unknown field": (["--vary", "logit_relu=true"], "(did you mean 'logits_relu'?)"),
    "no values": (["--vary", "logits_relu"], "--vary takes a field and its values"),
    "not a truth": (["--vary", "logits_relu=maybe"], "logits_relu must be true or false"),
    "not a number": (["--vary", "epochs=1,x"], "--vary: epochs must be of type int, got 'x'"),
    "twice": (["--vary", "epochs=1,1"], "epochs has a value twice: 1,1"),
    "seed as arm": (["--vary", "seed=1,2"], "--vary: seed is no arm of a study"),
    "split as arm": (
        ["--vary", "split=60/40,80/20"],
        "--vary: split decides which pictures there are, so all arms have the same",
    ),
    "out of range": (["--vary", "pointwise=1,9"], "pointwise must be between 0 and 8, got 9"),
    "no such option": (["--network", "lenet", "--pointwise", "1"], "lenet has no option pointwise"),
    "first seed": (["--first-seed", "-1"], "--first-seed: seeds are from 0 to 2147483647, got -1"),
    "threads as arm": (["--vary", "threads=1,2"], "threads is no arm of a study; --threads decide"),
    "far too many": (["--seeds", "1000000000"], "a study may have 10,000 runs at most"),
    "a number that is no number": (
        ["--vary", f"narrowing={'9' * 5000}"],
        "narrowing must be channel counts joined by hyphens, as in 128-32, got '999",
    ),
    "what no arm may train": (
        ["--network", "lenet", "--vary", "recalibrate=null,100"],
        "recalibrate is for batch norm, and lenet has none: leave it out",
    ),
    "seeds": (["--seeds", "0"], "--seeds must be at least 1, got 0"),
    "workers": (["--workers", "0"], "--workers must be at least 1, got 0"),
    "threshold": (["--threshold", "80"], "--threshold must be between 0 and 1, got 80"),
    "nothing to resume": (["--resume", "nowhere"], "nowhere: no study here, it has no study.toml"),
    "too many": (["--seeds", "10001"], "a study may have 10,000 runs at most"),
}


@pytest.mark.usefixtures("fashion_mnist")  # fetching it prints a line
@needs("pytorch")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_no_folder(mistake: str, tmp_path: Path) -> None:
    arguments, message = MISTAKES[mistake]
    done = nin("reliability", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind = ", "not a TOML file"),
        ('kind = "x"', "not the plan of a study"),
        ('kind = "x"\nseeds = ["a"]\n[arms.b]\n', "seeds must be whole numbers"),
        ('kind = "x"\nseeds = [0]\n[arms.b]\nepoch = 3\n', "arm b: unknown field 'epoch'"),
        ('kind = "x"\nseeds = []\n[arms.b]\n', "at least 1 seed"),
        ('kind = "x"\nseeds = [0]\n[arms]\n', "at least 1 arm"),
        ('kind = "reliability"\nseeds = [0]\nthreshold = "a"\n[arms.b]\n', "threshold must be of"),
        ('kind = "tune"\nseeds = [0]\n[arms.b]\n', "not the plan of a study .KeyError..trials"),
        (f"kind = {'9' * 5000}", "not a TOML file"),
    ],
)
def test_a_damaged_plan_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(NetinnetError, match=message):
        plan.load(tmp_path)


@pytest.mark.usefixtures("fashion_mnist")
@needs("pytorch")
def test_dry_run_prints_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Steps at 224 pixels take a while; the next test times some.
    monkeypatch.setattr(timing, "seconds_of_a_run", lambda arms, *_: {a.name: 60.0 for a in arms})
    flags = ["--recipe", "book", "--vary", "pointwise=1,2", "--seeds", "3", "--dry-run"]
    found = json.loads(nin("reliability", *flags, "--json", cwd=tmp_path).stdout)
    assert found["runs"] == 6
    assert [arm["parameters"] for arm in found["arms"]] == [1_769_112, 1_992_166]
    assert {arm["steps"] for arm in found["arms"]} == {4690}
    assert {arm["evaluated"] for arm in found["arms"]} == {110_000}
    assert found["seconds"] == pytest.approx(6 * 60 / found["workers"])
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("fashion_mnist")
@needs("pytorch")
def test_dry_run_says_how_long_it_will_take(tmp_path: Path) -> None:
    done = nin("compare", "lenet", "nin-small", *TINY, "--seeds", "2", "--dry-run", cwd=tmp_path)
    assert "timing a few steps of 2 arms" in done.stderr
    assert "4 runs" in done.stdout
    assert re.search(r"By the time of a few steps, this will take about \d+ s here\.", done.stdout)


@pytest.mark.usefixtures("fashion_mnist")
def test_dry_run_without_the_framework_says_why_no_time_is_known(tmp_path: Path) -> None:
    missing = next((n for n, f in FRAMEWORKS.items() if not f.is_installed), None)
    if missing is None:
        pytest.skip("every framework is installed here")
    flags = ["ablate", "pointwise", *TINY, "--framework", missing, "--dry-run"]
    done = nin(*flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "20 runs: 4 arms, 5 seeds" in done.stdout
    assert f"not known: {FRAMEWORKS[missing].title} is not installed" in done.stdout


# Time left


def test_estimate_learns_each_arms_speed(tmp_path: Path) -> None:
    slow, fast = (
        Job(name, 0, recipes.load("fashion"), NETWORK, tmp_path / name) for name in ("slow", "fast")
    )
    estimate = Estimate({"slow": 100.0, "fast": 10.0}, {})
    assert estimate.seconds_left([slow, fast], 1) is None
    estimate.started(slow, 0.0)
    estimate.saw(slow, 0.1, 10.0)
    estimate.saw(slow, 0.2, 20.0)
    # 10 units in 10 s: 80 are left, and 10 of the arm not seen yet, with 10 s to start it.
    assert estimate.seconds_left([slow], 1) == pytest.approx(80)
    assert estimate.seconds_left([slow, fast], 1) == pytest.approx(80 + 10 + 10)
    assert estimate.seconds_left([slow, fast], 2) == pytest.approx(80)
    # Killed and begun again: what was watched before is forgotten.
    estimate.saw(slow, 0.0, 100.0)
    assert estimate.seconds_left([slow], 1) is None


def test_estimate_begins_with_timed_steps(tmp_path: Path) -> None:
    jobs = [
        Job(name, 0, recipes.load("fashion"), NETWORK, tmp_path / name)
        for name in ("timed", "unknown")
    ]
    estimate = Estimate({"timed": 100.0, "unknown": 10.0}, {"timed": 50.0})
    # The arm that was not timed is judged by its work: a tenth of the other one's.
    assert estimate.seconds_left(jobs, 1) == pytest.approx(55)
    estimate.saw(jobs[0], 0.0, 100.0)
    estimate.saw(jobs[0], 0.25, 150.0)
    # Steps that were watched count for more: a whole run would take 200 s.
    assert estimate.seconds_left(jobs[:1], 1) == pytest.approx(150)


@needs("pytorch")
def test_only_long_studies_are_timed_before_they_begin() -> None:
    arms = (Arm("nin", recipes.load("fashion", threads=1)), Arm("lenet", recipes.load("lenet")))
    whole = Plan("x", arms, (0,))
    cost = Workload("nin", 0, 10**7, 0, 2345, 300_000, 60_000)
    tiny = Workload("lenet", 0, 10**5, 0, 1, 100, 0)
    heard: list[Event] = []
    both = [cost, tiny]
    assert timing.before_a_long_study(whole, both, [], 1, heard.append) == {}
    assert timing.before_a_long_study(whole, both, ["lenet"] * 5, 1, heard.append) == {}
    assert not heard
    found = timing.before_a_long_study(whole, both, ["nin", "nin"], 1, heard.append)
    assert heard == [Timing(1)]
    assert list(found) == ["nin"]
    assert found["nin"] > 0


def test_arms_that_cannot_be_timed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(module: str, request: dict[str, dict[str, object]], environment: object) -> list[float]:
        if request["recipe"]["network"] == "lenet":
            raise FrameworkError("no such device")
        return [0.2, 0.1, 0.3]

    monkeypatch.setattr(timing, "ask", ask)
    arms = (Arm("nin", recipes.load("fashion")), Arm("lenet", recipes.load("lenet")))
    both = [Workload(name, 0, 1, 0, 1, 12_800, 384) for name in ("nin", "lenet")]
    # 12,800 pictures and a third of 384, in batches of 128 at the median of .2 s.
    assert timing.seconds_of_a_run(arms, both, 2) == {"nin": pytest.approx(20.2, abs=1)}
    with pytest.raises(FrameworkError, match="no such device"):
        timing.seconds_of_a_run(arms[1:], both, 2)


def test_whole_runs_are_shared_out(tmp_path: Path) -> None:
    jobs = [
        Job("a", seed, recipes.load("fashion"), NETWORK, tmp_path / str(seed)) for seed in range(5)
    ]
    estimate = Estimate({"a": 1.0}, {"a": 100.0})
    assert [estimate.seconds_left(jobs, n) for n in (1, 2, 4, 8)] == [500, 300, 200, 100]


# Results


def run_of(
    arm: str, seed: int, accuracy: float | None, *dead: str, state: str = "finished"
) -> Outcome:
    return Outcome(
        arm,
        seed,
        Path("x"),
        state,
        accuracy=accuracy,
        dead=tuple(DeadClass(name, 1, 5, 0.0) for name in dead),
    )


def test_converged_needs_accuracy_and_all_classes() -> None:
    arm = "logits_relu=true"
    rows = reliability.table(
        made(),
        [
            run_of(arm, 0, 0.80),
            run_of(arm, 1, 0.7999),
            run_of(arm, 2, 0.85, "Bag"),
            run_of(arm, 3, None, state="diverged"),
            run_of(arm, 4, None, state="failed"),
            run_of(arm, 5, None, state="unfinished"),
        ],
    )
    row = rows[0]
    assert (row.converged, row.ended, row.runs_with_dead_classes) == (1, 5, 1)
    assert (row.diverged, row.failed) == (1, 1)
    assert row.share is not None
    assert row.share.estimate == 0.2
    assert row.accuracy is not None
    assert row.accuracy.count == 3
    assert rows[1].share is None


def test_first_dead_epoch_is_that_of_the_last_unbroken_row(tmp_path: Path) -> None:
    (job,) = dataclasses.replace(made(), arms=made().arms[:1], seeds=(0,)).jobs(tmp_path)
    run = Run(job.folder)
    job.folder.mkdir(parents=True)
    run.recipe_file.write_text(job.recipe.to_toml())
    recall = [0.0] * 10
    figures = {"loss": 1.0, "accuracy": 0.5, "recall": recall}
    for epoch in (1, 2, 3, 4):
        run.log(events.Evaluation(epoch, 5 * epoch, 1.0, train=figures, test=figures))
        # Dress dies, comes back, and dies for good; Coat dies within the last epoch.
        if epoch != 2:
            run.log(events.DeadClass(epoch, 5 * epoch, "Dress"))
    metrics = {"test": figures, "train": figures, "training_seconds": 4.0, "wall_seconds": 5.0}
    metrics |= {"images_per_second": 10.0, "peak_memory_bytes": None}
    run.metrics_file.write_text(json.dumps(metrics))
    run.model_file.write_text("")
    outcome.write(run, {"state": "finished", "dead_classes": ["Dress", "Coat"]})
    found = outcome.read(job)
    assert found.dead == (
        DeadClass("Dress", 3, 15, 0.0),
        DeadClass("Coat", None, None, 0.0),
    )
    assert [point.epoch for point in found.curve] == [1, 2, 3, 4]


# Whole studies


@needs("pytorch")
def test_dead_classes_are_found(dying_study: Path) -> None:
    printed = json.loads((dying_study / "printed.json").read_text())
    with_relu, without = printed["arms"]
    (run,) = with_relu["runs"]
    assert run["state"] == "finished"
    assert "Ankle boot" in [dead["name"] for dead in run["dead"]]
    assert with_relu["runs_with_dead_classes"] == 1
    assert (with_relu["converged"], with_relu["ended"]) == (0, 1)
    assert all(not run["dead"] for run in without["runs"])
    assert without["ended"] == 1
    said = (dying_study / "said.txt").read_text()
    assert "2 runs: 2 arms, 1 seed" in said
    assert re.search(r"logits_relu=true, seed 0: test acc 0\.\d{4}, .*, dead: .*Ankle boot", said)


@needs("pytorch")
def test_runs_are_ordinary_runs(dying_study: Path) -> None:
    run = dying_study / "runs/logits_relu=true/seed-0"
    assert {path.name for path in run.iterdir()} >= {
        *("recipe.toml", "network.json", "events.jsonl", "metrics.json"),
        *("model.safetensors", "model.onnx", "report.html", "outcome.json"),
    }
    assert nin("evaluate", run, "--examples", "100").returncode == 0
    assert recipes.load(str(run / "recipe.toml")).threads == 1


@needs("pytorch")
def test_the_page_needs_nothing_else(dying_study: Path) -> None:
    page = (dying_study / "report.html").read_text()
    assert 'src="data:image/svg+xml;base64,' in page
    assert not re.search(r'(src|href)="(https?:|//)', page)
    assert "Ankle boot" in page
    assert "2 of 2 runs done" in page
    assert 'http-equiv="refresh"' not in page
    assert "runs/logits_relu%3Dtrue/seed-0/report.html" in page
    assert page.index("Recall by class") < page.index("When they died")


@needs("pytorch")
def test_recall_of_each_class(dying_study: Path) -> None:
    """Dead classes find nothing, the one that is left gets every picture."""
    jobs = {job.arm: job for job in plan.load(dying_study).jobs(dying_study)}
    found = outcome.read(jobs["logits_relu=true"])
    assert len(found.dead) == 9
    assert {dead.recall for dead in found.dead} == {0.0}
    assert sorted(r or 0.0 for r in found.recall) == [0.0] * 9 + [1.0]
    alive = outcome.read(jobs["logits_relu=false"])
    assert len(alive.recall) == 10
    assert all(r is not None and 0 <= r <= 1 for r in alive.recall)


def test_a_page_where_nothing_lives(tmp_path: Path) -> None:
    """All classes dead in the only finished run: no best accuracy to compare with."""
    from netinnet.studies.pages import reliability as page

    names = [f"c{i}" for i in range(10)]
    dead = tuple(DeadClass(name, 1, 5, 0.0) for name in names)
    whole = made(seeds=(0,))
    found = [
        Outcome(
            "logits_relu=true",
            0,
            tmp_path,
            "finished",
            accuracy=0.1,
            dead=dead,
            recall=(1.0, *[0.0] * 9),
        ),
        Outcome("logits_relu=false", 0, tmp_path, "unfinished"),
    ]
    text = page.write(tmp_path, whole, found, "running").read_text()
    assert "Dead classes" in text


def test_arms_read_their_pictures_alike() -> None:
    """Else they would be judged on other pictures."""
    first = recipes.load("fashion", dataset="./photos", split="60/40")
    facts = Facts(("a", "b"), None, (0.5,), (0.5,))
    arms = tuple(
        Arm(name, first.replace(split=split), given=facts)
        for name, split in (("a", "60/40"), ("b", "80/20"))
    )
    with pytest.raises(NetinnetError, match=r"^a and b read \./photos by another split: give all"):
        Plan("comparison", arms, (0,))


@pytest.mark.parametrize(
    ("common", "field", "values", "is_refused"),
    [
        ({}, "test_examples", [2, 8], True),
        ({"evaluate": "both", "validation": 0.1}, "test_examples", [2, None], True),
        ({"evaluate": "validation", "validation": 0.1}, "test_examples", [2, 8], False),
        ({"evaluate": "validation"}, "validation", [0.1, 0.4], True),
        ({"evaluate": "validation"}, "validation", [0.0, 0.4], True),
        ({"evaluate": "validation", "validation": 0.1}, "train_examples", [50, None], True),
        # The data set's own validation split is the same.
        ({"evaluate": "validation"}, "train_examples", [50, None], False),
        ({}, "train_examples", [50, None], False),
        ({}, "validation", [0.0, 0.4], False),
    ],
)
def test_arms_are_judged_on_the_same_pictures(
    common: dict[str, Any], field: str, values: list[Any], is_refused: bool
) -> None:
    base = recipes.load("fashion", **common)
    refused = pytest.raises(NetinnetError, match=f"fashion-mnist by another {field}: give all")
    with refused if is_refused else contextlib.nullcontext():
        arms = plan.grid("reliability", base, {field: values})
        assert len(Plan("reliability", arms, (0,), 0.8).arms) == 2


@needs("pytorch")
def test_finished_runs_are_not_run_again(dying_study: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(dying_study, tmp_path / "study")
    model = folder / "runs/logits_relu=true/seed-0/model.safetensors"
    before = model.stat().st_mtime_ns
    again = nin("reliability", "--resume", folder)
    assert again.returncode == 0, again.stderr
    assert "2 done" in again.stderr
    assert "logits_relu=true" in again.stdout
    same = nin("reliability", *DYING, "--output", folder, "--quiet")
    assert same.returncode == 0
    assert same.stderr == ""
    assert model.stat().st_mtime_ns == before
    wrong = nin("ablate", "--resume", folder)
    assert wrong.returncode == 2
    assert "this study is continued with nin reliability --resume" in wrong.stderr
    decided = nin("reliability", "--resume", folder, "--epochs", "3")
    assert "--resume uses the study's own plan; leave out --epochs" in decided.stderr
    first = nin("reliability", "--resume", folder, "--first-seed", "9", "--dry-run")
    assert first.returncode == 2
    assert "--first-seed with --resume adds seeds: say how many with --seeds" in first.stderr


@pytest.mark.usefixtures("fashion_mnist")
@needs("pytorch")
def test_a_run_that_fails_is_not_the_end(tmp_path: Path) -> None:
    # The last of two batches of 159 has one picture: batch norm of its 1×1 maps can't be.
    flags = ["--image-size", "4", "--vary", "batch_size=159,32", "--seeds", "1"]
    done = nin("reliability", *TINY, *flags, "--output", tmp_path / "study", "--json")
    assert done.returncode == 0, done.stderr
    failed, finished = json.loads(done.stdout)["arms"]
    assert failed["failed"] == 1
    assert "one value per channel" in failed["runs"][0]["reason"]
    assert finished["runs"][0]["state"] == "finished"
    assert "1 failed: batch_size=159, seed 0" in (tmp_path / "study/report.html").read_text()
    alone = nin(
        "reliability", *TINY, *flags[:2], "--batch-size", "159", "--seeds", "1", cwd=tmp_path
    )
    assert alone.returncode == 2
    assert "every run failed" in alone.stderr.splitlines()[-1]


LONG = [
    *("--network", "nin-mnist", "--train-examples", "112", "--test-examples", "20"),
    *("--batch-size", "16", "--epochs", "3", "--checkpoint-seconds", "0", "--threads", "1"),
]


def begin(folder: Path, *flags: str) -> subprocess.Popen[str]:
    """Start a study of two runs side by side, as from a terminal."""
    command = [sys.executable, "-m", "netinnet.cli.main", "reliability", *LONG]
    return subprocess.Popen(
        [*command, "--seeds", "2", "--workers", "2", "--output", str(folder), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_steps(folder: Path, step: int) -> None:
    """Until both runs have done so many steps."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        runs = [Run(path) for path in folder.glob("runs/*/seed-*")]
        done = [max(map(events.step_of, run.events()), default=0) for run in runs]
        if len(done) == 2 and min(done) >= step:
            return
        time.sleep(0.02)
    raise AssertionError("the runs did not get so far")


def workers_of(folder: Path) -> list[int]:
    """Process numbers of the study's workers: what they say goes to its logs."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            log = (entry / "fd/2").readlink() if entry.name.isdigit() else Path()
            if log.parent == folder.absolute() / "logs" and "-seed-" in log.name:
                found.append(int(entry.name))
    return found


def wait_for_no_workers(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while workers_of(folder):
        assert time.monotonic() < deadline, "the workers did not stop"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def undisturbed(fashion_mnist: object, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Digests of the models that `nin train` makes of the same recipes."""

    def make(folder: Path) -> None:
        for seed in ("0", "1"):
            done = nin("train", *LONG, "--seed", seed, "--output", folder / seed, "--quiet")
            assert done.returncode == 0, done.stderr

    folder = made_once("undisturbed", tmp_path_factory, make)
    return [digest(folder / seed / "model.safetensors") for seed in ("0", "1")]


def models(folder: Path) -> list[str]:
    return [digest(folder / f"runs/fashion/seed-{n}/model.safetensors") for n in (0, 1)]


@needs("pytorch")
def test_kills_change_nothing(undisturbed: list[str], tmp_path: Path) -> None:
    """The study's process killed, then a worker: the models are those of undisturbed runs."""
    folder = tmp_path / "study"
    process = begin(folder)
    wait_for_steps(folder, 3)
    process.kill()
    process.communicate()
    # The workers notice, save and stop; or the new study waits for them.
    process = begin(folder)
    wait_for_steps(folder, 6)
    for number in workers_of(folder)[:1]:
        os.kill(number, signal.SIGKILL)
    said, _ = process.communicate(timeout=180)
    assert process.returncode == 0, said
    assert models(folder) == undisturbed
    wait_for_no_workers(folder)
    assert not list(folder.rglob("*.tmp"))


@needs("pytorch")
@pytest.mark.usefixtures("fashion_mnist")
@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_forked_run_is_that_of_a_fresh_process(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same bytes, figures and versions, and of about the same peak of memory."""
    flags = [*LONG[:-2], "--threads", str(threads), "--seeds", "1"]
    seen: list[dict[str, Any]] = []
    for forked in (False, True):
        monkeypatch.setattr(workers, "can_be_forked", lambda recipe, forked=forked: forked)
        folder = tmp_path / f"forked={forked}"
        done = nin("reliability", *flags, "--output", folder, in_this_process=True)
        assert done.returncode == 0, done.stderr
        assert not list((folder / "logs").iterdir())
        run = Run(folder / "runs/fashion/seed-0")
        metrics = run.metrics()
        assert metrics["threads"] == threads
        for name in ("training_seconds", "wall_seconds", "images_per_second"):
            del metrics[name]
        seen.append(metrics | {"model": digest(run.model_file), "graph": digest(run.onnx_file)})
    fresh, forked = (figures.pop("peak_memory_bytes") for figures in seen)
    assert seen[0] == seen[1]
    assert forked == pytest.approx(fresh, rel=0.15)


@pytest.mark.parametrize(
    ("changes", "files", "expected"),
    [
        ({}, (), True),
        ({"framework": "tensorflow"}, (), False),
        ({"framework": "jax"}, (), False),
        ({"framework": "mxnet"}, (), False),
        ({"device": "cuda"}, (), False),
        ({}, ("/dev/nvidiactl",), False),
        ({"device": "cpu"}, ("/dev/nvidiactl",), True),
    ],
)
def test_forks_only_where_it_is_safe(
    changes: dict[str, str],
    files: tuple[str, ...],
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = recipes.load("fashion").replace(framework="pytorch").replace(**changes)
    monkeypatch.setattr(os.path, "exists", lambda path: path in files)
    monkeypatch.setattr(workers, "IS_POSSIBLE", True)
    assert workers.can_be_forked(recipe) == expected
    monkeypatch.setattr(workers, "IS_POSSIBLE", False)
    assert not workers.can_be_forked(recipe)


@needs("pytorch")
def test_ctrl_c_saves_and_says_how_to_go_on(undisturbed: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "study"
    process = begin(folder)
    wait_for_steps(folder, 3)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert f"0 of 2 runs done, all saved; nin reliability --resume {folder} continues" in said
    assert "Traceback" not in said
    assert not workers_of(folder)
    for run in folder.glob("runs/*/seed-*"):
        assert isinstance(Run(run).events()[-1], events.Interrupted)
    assert "Interrupted: 0 of 2 runs done" in (folder / "report.html").read_text()
    done = nin("reliability", "--resume", folder)
    assert done.returncode == 0, done.stderr
    assert models(folder) == undisturbed


@needs("pytorch")
@pytest.mark.usefixtures("fashion_mnist")
def test_a_study_is_one_process(tmp_path: Path) -> None:
    """A second one is told so, while the first one works or is at a stop (its lock is held)."""
    folder = tmp_path / "study"
    process = begin(folder)
    wait_for_steps(folder, 1)
    process.send_signal(signal.SIGSTOP)
    second = nin("reliability", "--resume", folder)
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert second.returncode == 2
    assert "another process is training in this folder" in second.stderr


@pytest.mark.usefixtures("fashion_mnist")
@needs("pytorch")
def test_python_api(tmp_path: Path) -> None:
    import netinnet

    settings = {"train_examples": 64, "test_examples": 40, "epochs": 1}
    rows = netinnet.reliability(seeds=1, output=tmp_path / "study", **settings)
    assert [(row["arm"], row["ended"]) for row in rows] == [("fashion", 1)]
    assert not any(isinstance(value, list | tuple | dict) for value in rows[0].values())
    rows = netinnet.reliability(seeds=2, output=tmp_path / "study", **settings)
    assert rows[0]["accuracy_count"] == 2
    assert 0 <= rows[0]["accuracy_mean"] <= 1
    assert len(list((tmp_path / "study/runs/fashion").iterdir())) == 2


def test_a_plain_table_has_the_same_columns_where_figures_are_missing() -> None:
    rows = tables.plain(reliability.table(made(), [run_of("logits_relu=true", 0, 0.9)]))
    assert [row["arm"] for row in rows] == ["logits_relu=true", "logits_relu=false"]
    assert list(rows[0]) == list(rows[1])
    assert (rows[0]["accuracy_mean"], rows[0]["accuracy_sd"]) == (0.9, None)
    assert (rows[1]["accuracy_mean"], rows[1]["share_low"]) == (None, None)
    assert "runs" not in rows[0]


def test_default_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "cores", lambda: 8)
    base = recipes.load("fashion")
    one = Plan("x", (Arm("a", plan.with_threads(base)),), (0,))
    assert one.arms[0].recipe.threads == 1
    assert workers.workers_for(one, None) == 8
    three = Plan("x", (Arm("a", plan.with_threads(base.replace(threads=3))),), (0,))
    assert workers.workers_for(three, None) == 2


def test_two_arms_of_one_name() -> None:
    with pytest.raises(NetinnetError, match="two arms have the same name"):
        Plan("x", (Arm("a/b", recipes.load("book")), Arm("a-b", recipes.load("book"))), (0,))
    with pytest.raises(RecipeError, match="unknown field"):
        plan.grid("x", recipes.load("book"), {"epoch": [1]})


# Studies of 0.1.0


OLD_RELIABILITY = """\
kind = "reliability"
seeds = [0, 1]
threshold = 0.6

[arms."logits_relu=true"]
network = "nin"
logits_relu = true
threads = 1

[arms."logits_relu=false"]
network = "nin"
logits_relu = false
threads = 1
"""


def test_a_study_file_of_0_1_0_still_loads(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(OLD_RELIABILITY)
    found = plan.load(tmp_path)
    assert isinstance(found, Plan)
    assert (found.kind, found.seeds, found.threshold) == ("reliability", (0, 1), 0.6)
    assert [arm.recipe.logits_relu for arm in found.arms] == [True, False]
    grown, folder = plan.settle(dataclasses.replace(found, seeds=(2,)), tmp_path)
    assert (grown.seeds, folder) == ((0, 1, 2), tmp_path)


def test_an_ablation_has_no_threshold(tmp_path: Path) -> None:
    text = OLD_RELIABILITY.replace("reliability", "ablate")
    with pytest.raises(RecipeError, match="unknown setting 'threshold'"):
        plan.from_toml(text, "study.toml")
    found = plan.from_toml(text.replace("threshold = 0.6\n", ""), "study.toml")
    assert "threshold" not in found.to_toml()
