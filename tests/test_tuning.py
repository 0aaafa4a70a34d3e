"""`nin tune`: the search space, a search in worker processes, kills, shared storages, the page."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netinnet.data import datasets
from netinnet.errors import NetinnetError, RecipeError
from netinnet.studies import plan as plans
from netinnet.studies import search, search_space, takeover, tuning
from netinnet.studies.events import TrialEnd
from netinnet.studies.plan import PRUNERS
from netinnet.studies.search_space import Choices, Range
from netinnet.training import events
from netinnet.training import recipe as recipes
from netinnet.training import run as runs
from netinnet.training.events import Event, Resume, of_kind, step_of
from netinnet.training.run import Run
from tests.conftest import FRAMEWORK, made_once, nin

pytest.importorskip("optuna")

TINY = [
    *("--framework", FRAMEWORK, "--train-examples", "200", "--test-examples", "40"),
    *("--epochs", "2", "--batch-size", "60", "--validation", "0.2"),
]
SPACE = ["--search", "learning_rate=0.05..0.3:log", "--search", "horizontal_flip=true,false"]
SEARCH = ["tune", *TINY, *SPACE, "--pruner", "none"]


@pytest.fixture(scope="session")
def searched(fashion_mnist: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search of four trials."""

    def make(folder: Path) -> None:
        done = nin(*SEARCH, "--trials", "4", "--output", folder / "study", "--json")
        assert done.returncode == 0, done.stderr
        (folder / "study/printed.json").write_text(done.stdout)
        (folder / "study/said.txt").write_text(done.stderr)

    return made_once("searched", tmp_path_factory, make) / "study"


def begin(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "netinnet.cli.main", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], words: str) -> None:
    """Read what a process says until it has said the words."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if words in line:
            return
    raise AssertionError(f"it never said '{words}': {''.join(said)}")


def wait_for_steps(events: Path) -> None:
    """Until a run has done its first steps."""
    deadline = time.monotonic() + 60
    while not (events.exists() and "progress" in events.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


# The search space


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("learning_rate=0.01..0.5:log", Range(0.01, 0.5, log=True)),
        ("dropout=0..0.5", Range(0.0, 0.5)),
        ("crop_padding=0..4", Range(0, 4)),
        ("batch-size=64,128", Choices((64, 128))),
        ("horizontal_flip=true,false", Choices((True, False))),
        ("dropout=null,0.5", Choices((None, 0.5))),
        ("initialisation = he , xavier", Choices(("he", "xavier"))),
        ("network=../a.toml,../../b.toml", Choices(("../a.toml", "../../b.toml"))),
        ("teacher=null,../runs/a", Choices((None, "../runs/a"))),
        ("pretrained=../a,../b", Choices(("../a", "../b"))),
    ],
)
def test_a_field_and_its_values(text: str, found: Range | Choices) -> None:
    space = search_space.parse([text])
    assert list(space.fields.values()) == [found]
    assert search_space.parse(space.texts()) == space
    assert isinstance(found, Choices) or found.is_whole == ("crop" in text)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["learning_rate"], "takes a field and its values"),
        (["learning_rat=1..2"], "unknown field 'learning_rat' (did you mean 'learning_rate'?)"),
        (["seed=0..9"], "seed stays the same in all trials"),
        (["validation=0.1,0.2"], "validation stays the same"),
        (["dataset=fashion-mnist"], "dataset stays the same"),
        (["learning_rate=0.5..0.1"], "goes from low to high"),
        (["learning_rate=0.1.."], "must be of type float, got ''"),
        (["dropout=0..0.5:log"], "starts above 0"),
        (["dropout=0..0.5:lin"], "only ':log' may follow a range"),
        (["dropout=0..2"], "dropout must be between 0 and 1"),
        (["batch_size=1.5..3"], "must be of type int, got '1.5'"),
        (["batch_size=64,64"], "has a value twice"),
        (["initialisation=he..xavier"], "initialisation is not a number; list its values"),
        (["initialisation=he,xavie"], "unknown initialisation 'xavie'"),
        (["dropout=0..0.5", "dropout=0,0.1"], "dropout is given twice"),
        ([], "needs a field to search"),
    ],
)
def test_what_is_no_space(texts: list[str], words: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(words)):
        search_space.parse(texts).check(recipes.Recipe())


@pytest.mark.parametrize(
    ("given", "texts", "words"),
    [
        ({"horizontal_flip": True}, ["flips=random,alternating"], None),
        ({}, ["flips=random,alternating", "horizontal_flip=true,false"], None),
        ({}, ["flips=random,alternating"], "flips says which pictures horizontal_flip mirrors"),
        ({"teacher": "./t"}, ["teacher_temperature=1..4", "distillation=0..1"], None),
        ({}, ["teacher_temperature=1..4", "teacher=./a,./b"], None),
        ({}, ["teacher_temperature=1..4"], "teacher_temperature needs a teacher"),
        ({}, ["distillation=0..1"], "distillation needs a teacher"),
        ({"momentum": 0.5}, ["nesterov=true,false"], None),
        ({}, ["nesterov=true,false", "momentum=0..0.9"], None),
        ({}, ["nesterov=true,false"], "nesterov needs a momentum above 0"),
        # Some trials are refused, and the search goes on.
        ({"nesterov": True, "momentum": 0.9}, ["momentum=0..0.9"], None),
    ],
)
def test_values_are_checked_beside_the_recipe(
    given: dict[str, Any], texts: list[str], words: str | None
) -> None:
    """And beside other fields that are searched."""
    space = search_space.parse(texts)
    if words is None:
        plan = tuning.plan(recipes.Recipe(**given), space=space)
        assert plans.from_toml(plan.to_toml(), "x") == plan
    else:
        with pytest.raises(RecipeError, match=re.escape(words)):
            tuning.plan(recipes.Recipe(**given), space=space)


@given(
    st.floats(1e-6, 999, allow_nan=False).map(lambda x: float(f"{x:.6g}")),
    st.floats(1.001, 1e3).map(lambda x: float(f"{x:.6g}")),
    st.booleans(),
)
def test_ranges_are_read_as_they_are_written(low: float, factor: float, log: bool) -> None:
    high = min(float(f"{low * factor:.6g}"), 1000.0)
    if low < high:
        found = search_space.parse([f"learning_rate={Range(low, high, log)}"])
        assert found.fields["learning_rate"] == Range(low, high, log)


def test_a_space_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "space.toml"
    file.write_text('learning_rate = "0.01..0.5:log"\nnormalise = [true, false]\n')
    assert search_space.load(file) == ["learning_rate=0.01..0.5:log", "normalise=true,false"]
    file.write_text("learning_rate = 3\n")
    with pytest.raises(RecipeError, match="learning_rate must be a list or a range"):
        search_space.load(file)


@pytest.mark.parametrize("name", recipes.shipped())
def test_the_default_space_holds_every_shipped_recipe(name: str) -> None:
    recipe = recipes.load(name)
    space = search_space.default(recipe)
    outside = set(space.outside(recipe))
    assert (space.values_in(recipe) is None) == bool(outside)
    # Plain SGD in the book has rates and decays of its own, and CIFAR's crops are wider.
    assert outside <= {"learning_rate", "weight_decay", "crop_padding"}
    assert name != "fashion" or not outside
    assert ("dropout" in space.fields) == (recipe.dropout is not None)
    assert ("momentum" in space.fields) == bool(recipe.momentum)
    for field, values in space.fields.items():
        for value in values.ends:
            recipe.replace(**{field: value})  # no trial fails by it


# The plan


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--trials", "0"], "--trials must be at least 1, got 0"),
        (["--pruner", "medium"], "unknown pruner 'medium' (did you mean 'median'?)"),
        (["--storage", "study.db"], "--storage must be the URL of an SQL database"),
        (["--storage", "postgresql://h:notaport/db"], "--storage must be the URL of an SQL"),
        (["--storage", "postgresql://u@h/db?password=secret"], "password must not stand after"),
        (["--storage", "sqlite:////nonexistent/folder/x.db"], "cannot be used"),
        (["--minutes", "nan"], "--minutes must be above 0"),
        (["--minutes", "0"], "--minutes must be above 0"),
        (["--minutes", "nan", "--dry-run", "--json"], "--minutes must be above 0, got nan"),
        (["--minutes", "-5", "--dry-run"], "--minutes must be above 0, got -5"),
        (["--workers", "0"], "--workers must be at least 1"),
        (["--search", "seed=1,2"], "seed stays the same in all trials"),
        (["--space", "missing.toml"], "missing.toml: cannot be read"),
        (["--resume", "nowhere"], "no study here"),
        (["--recipe", "book", "--image-size", "3"], "nin needs at least 67×67; got 3×3"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = nin("tune", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_dry_run_makes_nothing(tmp_path: Path) -> None:
    done = nin("tune", *TINY, "--minutes", "5", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "5 minutes of 2 epochs each; judged on 20% of the training pictures" in done.stdout
    assert "0.02..0.5:log" in done.stdout
    assert not list(tmp_path.iterdir())


def test_plan_to_toml_and_back() -> None:
    made = tuning.plan(recipes.load("fashion"), storage="postgresql://me:secret@host/db", trials=3)
    assert "secret" not in made.to_toml()
    assert plans.from_toml(made.to_toml(), "x") == made
    with pytest.raises(NetinnetError, match="is not kept; give --storage with it again"):
        tuning.open_study(made, Path())


def test_without_optuna_one_line_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['optuna'] = None\n"
        "from netinnet.cli.main import run; sys.exit(run(['tune', '--dry-run']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr == (
        "nin: Optuna is not installed; pip install 'netinnet[tune]' installs it\n"
    )


# A search


def test_the_recipe_as_given_is_the_first_trial(searched: Path) -> None:
    found = tuning.load(searched)
    assert [trial.number for trial in found.trials] == [0, 1, 2, 3]
    assert [trial.as_given for trial in found.trials] == [True, False, False, False]
    assert {trial.state for trial in found.trials} == {"finished"}
    given = found.as_given
    assert given is not None
    assert given.values == {"learning_rate": 0.15, "horizontal_flip": True}


def test_the_best_is_at_least_as_good_as_given(searched: Path) -> None:
    printed = json.loads((searched / "printed.json").read_text())
    assert printed["best"]["accuracy"] >= printed["as_given"]["accuracy"]
    assert printed["best"]["accuracy"] == max(trial["accuracy"] for trial in printed["trials"])
    assert "trial 0 (as given): finished, validation acc" in (searched / "said.txt").read_text()


def test_a_trial_is_judged_by_its_validation_split(searched: Path) -> None:
    for trial in tuning.load(searched).trials:
        run = Run(searched / f"runs/trial-{trial.number:04}/seed-0")
        assert trial.accuracy == run.metrics()["validation"]["accuracy"]
        assert trial.seconds == run.metrics()["wall_seconds"]
        recipe = run.recipe()
        assert {name: getattr(recipe, name) for name in trial.values} == trial.values
        assert (recipe.validation, recipe.seed) == (0.2, 0)


def test_the_best_recipe_trains(searched: Path, tmp_path: Path) -> None:
    found = tuning.load(searched)
    assert found.best is not None
    best = recipes.load(str(searched / "best.toml"))
    assert found.plan.recipe.threads == 1
    # Alone, it may have more threads than it had beside others.
    assert best == found.plan.recipe.replace(**found.best.values, threads=None)
    done = nin("train", "--recipe", searched / "best.toml", "--output", tmp_path / "run", "--quiet")
    assert done.returncode == 0, done.stderr


def test_the_page_shows_the_search(searched: Path) -> None:
    page = (searched / "report.html").read_text()
    for words in ("Finished: 4 of 4 trials done", "Best recipe", "History", "Slices", "as given"):
        assert words in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert page.count("<img") >= 2


def test_python_api(searched: Path, tmp_path: Path) -> None:
    """The same call goes on with the study, which is finished: a row for each trial."""
    import netinnet

    rows = netinnet.tune(
        search=SPACE[1::2],
        trials=4,
        pruner="none",
        output=shutil.copytree(searched, tmp_path / "study"),
        framework=FRAMEWORK,
        train_examples=200,
        test_examples=40,
        epochs=2,
        batch_size=60,
        validation=0.2,
    )
    assert [row["number"] for row in rows] == [0, 1, 2, 3]
    assert rows[0]["learning_rate"] == 0.15
    assert {row["state"] for row in rows} == {"finished"}


def test_more_trials_are_added(searched: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(searched, tmp_path / "study")
    before = tuning.load(folder).trials
    done = nin("tune", "--resume", folder, "--trials", "5", "--json")
    assert done.returncode == 0, done.stderr
    after = tuning.load(folder).trials
    assert after[:4] == before
    assert len(after) == 5
    again = nin("tune", "--resume", folder, "--quiet")
    assert again.returncode == 0, again.stderr
    assert tuning.load(folder).trials == after


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "book"], "leave out --recipe"),
        (["--search", "dropout=0..0.5"], "leave out --search"),
        (["--epochs", "3"], "leave out --epochs"),
        (["--storage", "sqlite:///other.db"], "this search's storage is"),
    ],
)
def test_resume_keeps_the_plan(searched: Path, arguments: list[str], words: str) -> None:
    done = nin("tune", "--resume", searched, *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_other_studies_are_refused(searched: Path, tmp_path: Path) -> None:
    done = nin("reliability", "--resume", searched)
    assert done.returncode == 2
    assert "this study is continued with nin tune --resume" in done.stderr
    done = nin("tune", *TINY, "--search", "dropout=0..0.5", "--output", searched)
    assert done.returncode == 2
    said = "holds another study (pruner: none there, median here); choose another --output"
    assert said in done.stderr
    storage = f"sqlite:///{searched / 'study.db'}"
    done = nin("tune", *TINY, "--storage", storage, "--output", tmp_path / "other")
    assert done.returncode == 2
    assert "the storage's study 'tune' has another space; choose another --name" in done.stderr


# Kills, and several searchers


@pytest.mark.usefixtures("fashion_mnist")
def test_kill_9_loses_no_finished_trial(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    process = begin(*SEARCH, "--trials", "2", "--workers", "1", "--output", folder)
    wait_for(process, ": finished")
    # In the middle of the second trial, after its first steps.
    wait_for_steps(folder / "runs/trial-0001/seed-0/events.jsonl")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = tuning.load(folder).trials
    assert [trial.state for trial in before] == ["finished", "running"]
    assert (folder / "best.toml").exists()
    done = nin("tune", "--resume", folder)
    assert done.returncode == 0, done.stderr
    after = tuning.load(folder).trials
    assert after[0] == before[0]
    assert [trial.state for trial in after] == ["finished"] * 2
    # The second one went on where it was, with the same values.
    assert after[1].values == before[1].values
    assert len(list(folder.glob("runs/trial-*"))) == 2


@pytest.mark.slow  # test_studies has the same of studies, whose workers these are
@pytest.mark.usefixtures("fashion_mnist")
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    process = begin(*SEARCH, "--trials", "3", "--workers", "1", "--output", folder)
    wait_for(process, ": finished")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert f"nin tune --resume {folder} continues" in said
    assert "Traceback" not in said
    assert "Interrupted: 1 of 3 trials done" in (folder / "report.html").read_text()
    done = nin("tune", "--resume", folder, "--quiet")
    assert done.returncode == 0, done.stderr
    assert len(tuning.load(folder).trials) == 3


@pytest.mark.slow  # the same of searchers in one process is below
@pytest.mark.usefixtures("fashion_mnist")
def test_two_searchers_share_one_storage(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    flags = [*SEARCH, "--trials", "4", "--workers", "1", "--storage", storage]
    folders = [tmp_path / "a", tmp_path / "b"]
    first = begin(*flags, "--output", folders[0])
    wait_for(first, "study:")
    while not (folders[0] / "study.toml").exists():
        time.sleep(0.02)
    second = begin(*flags, "--output", folders[1])
    for process in (first, second):
        said, _ = process.communicate(timeout=180)
        assert process.returncode == 0, said
    trials = tuning.load(folders[0]).trials
    assert [trial.state for trial in trials] == ["finished"] * 4
    runs = [sorted(path.name for path in folder.glob("runs/*")) for folder in folders]
    assert runs[0], "the first searcher did nothing"
    assert runs[1], "the second searcher did nothing"
    # No trial was trained twice.
    assert sorted(runs[0] + runs[1]) == [f"trial-{n:04}" for n in range(4)]
    assert sum(trial.as_given for trial in trials) == 1


def _searcher(
    tmp_path: Path, name: str, trials: int, texts: Sequence[str] = ("learning_rate=0.1..0.2",)
) -> search.Search:
    """One of several searchers in this process that share a storage."""
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    space = search_space.parse(texts)
    plan = tuning.plan("fashion", space=space, trials=trials, storage=storage)
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    study = tuning.open_study(plan, folder)
    made = search.Search(plan, folder, study, lambda event: None, lambda *_: None, None)
    made.deadline = math.inf
    return made


@pytest.mark.parametrize("trials", [1, 2])
def test_searchers_that_ask_at_once_start_no_trial_too_many(trials: int, tmp_path: Path) -> None:
    """Both have looked whether a trial may start before either asks."""
    searchers = [_searcher(tmp_path, name, trials) for name in ("a", "b")]
    begun = []
    for _ in range(trials):
        for one in searchers:
            one._ask()
            begun += [job.folder.parent.name for job in one.waiting]
            one.waiting.clear()
    assert begun == [f"trial-{n:04}" for n in range(trials)]
    assert not any(one._may_ask() for one in searchers)
    assert all(one.next_job() is None for one in searchers)
    # What was one too many begins in a search that has more trials.
    more = _searcher(tmp_path, "a", trials + 1)
    more.waiting.clear()
    assert more._may_ask()
    more._ask()
    assert [job.folder.parent.name for job in more.waiting] == [f"trial-{trials:04}"]


def test_a_trial_that_failed_counts_once_among_searchers(tmp_path: Path) -> None:
    one = _searcher(tmp_path, "a", 2, ["momentum=0,0.9"])
    one.study.enqueue_trial({"momentum": 0.0})  # which Nesterov's step refuses
    jobs = []
    while one._may_ask():
        one._ask()
        jobs += [*one.waiting]
        one.waiting.clear()
    assert [trial.state for trial in one.so_far.trials] == ["running", "failed"]
    assert len(jobs) == 1


def test_time_between_two_sittings_is_not_the_trials(tmp_path: Path) -> None:
    import optuna

    one = _searcher(tmp_path, "a", 4)
    began = datetime.datetime(2026, 1, 1, 8)
    for attributes in ({"seconds": 12.5}, {}):
        one.study.add_trial(
            optuna.trial.FrozenTrial(
                **{"number": 0, "trial_id": 0, "state": optuna.trial.TrialState.COMPLETE},
                **{"value": 0.5, "params": {}, "distributions": {}, "intermediate_values": {}},
                **{"user_attrs": attributes, "system_attrs": {}},
                datetime_start=began,
                datetime_complete=began + datetime.timedelta(hours=9),
            )
        )
    over = one.so_far.over
    assert [trial.seconds for trial in over] == [12.5, None]
    assert one._seconds_left(over, workers=1) == pytest.approx(2 * 12.5)


@pytest.mark.usefixtures("fashion_mnist")
@pytest.mark.slow
@pytest.mark.parametrize("is_reachable", [True, False])
def test_a_killed_searchers_trial_is_taken_over(
    is_reachable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on from its checkpoint where the run's folder can be read, else it begins again."""
    monkeypatch.setattr(takeover, "BEAT_SECONDS", 1.0)
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    folder, moved, other = tmp_path / "study", tmp_path / "other-machine", tmp_path / "other"
    flags = [*SEARCH, "--checkpoint-seconds", "0", "--workers", "1", "--storage", storage]
    flags[flags.index("--epochs") + 1] = "4"
    flags += ["--trials", "1"]
    process = begin(*flags, "--output", folder)
    wait_for_checkpoint(folder / "runs/trial-0000/seed-0")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if not is_reachable:
        folder.rename(moved)
    (before,) = tuning.load(folder if is_reachable else moved).trials
    assert before.state == "running"
    done = nin(*flags, "--output", other)
    assert done.returncode == 0, done.stderr
    how = "continues here" if is_reachable else "starts again here"
    assert f"trial 0: its searcher is silent; it {how}" in done.stderr
    (after,) = tuning.load(other).trials
    assert (after.state, after.values) == ("finished", before.values)
    resumed = of_kind(Run(other / "runs/trial-0000/seed-0").events(), Resume)
    assert bool(resumed) == is_reachable
    # The first searcher leaves it to the other.
    done = nin("tune", "--resume", folder if is_reachable else moved)
    assert (done.returncode, tuning.load(other).trials) == (0, (after,))


def wait_for_checkpoint(run: Path) -> None:
    deadline = time.monotonic() + 60
    while not list(run.glob("checkpoints/step-*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.usefixtures("fashion_mnist")
def test_a_searcher_that_was_silent_leaves_its_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one has it; when that one falls silent, it comes back and goes on."""
    monkeypatch.setattr(takeover, "BEAT_SECONDS", 0.5)
    beat, stolen = takeover.Watch.beat, list[int]()

    def robbed(watch: takeover.Watch, trials: Any) -> set[int]:
        running = [t for t in trials if list(tmp_path.glob("s/runs/*/*/checkpoints/step-*"))]
        if running and not stolen:
            stolen.append(running[0].number)
            running[0].set_user_attr("searcher", "another")
            watch._next_beat = 0.0
        return beat(watch, trials)

    monkeypatch.setattr(takeover.Watch, "beat", robbed)
    events: list[Event] = []
    found = conduct(tmp_path / "s", events, trials=1, recipe={"epochs": 12})
    assert stolen == [0]
    assert [trial.state for trial in found.trials] == ["finished"]
    run = Run(tmp_path / "s/runs/trial-0000/seed-0")
    assert of_kind(run.events(), Resume)
    assert len(of_kind(events, TrialEnd)) == 1


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("ends", [False, True])
def test_a_run_is_copied_while_its_owner_still_writes(
    is_reversed: bool, ends: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever order the folder is listed, no checkpoint is newer than the copied log."""
    arm = plans.given("a", "fashion", {})
    job, owners = (plans.job(tmp_path / n, "t", arm.recipe, arm.network) for n in ("own", "other"))
    record = datasets.find("fashion-mnist").record()
    run = runs.create(owners.recipe, owners.network, owners.folder, record)
    scan, copy, steps = os.scandir, shutil.copyfile, iter(range(1, 99))

    def write() -> None:
        step = next(steps)
        run.log(events.Resume("", step))
        (run.checkpoints / f"step-{step:08}.safetensors").write_text("")
        (run.checkpoints / f"step-{step - 2:08}.safetensors").unlink(missing_ok=True)
        if ends and step == 4:
            run.log(events.End("", step, 1.0))
            run.metrics_file.write_text("{}")
            run.remove_checkpoints()
            (run.folder / "outcome.json").write_text("{}")

    @contextlib.contextmanager
    def listed(*folder: Any) -> Iterator[Iterator[os.DirEntry[str]]]:
        with scan(*folder) as found:
            yield iter(sorted(found, key=lambda entry: entry.name, reverse=is_reversed))

    def copied(*arguments: Any, **options: Any) -> Any:
        done = copy(*arguments, **options)
        write()
        return done

    write()
    write()
    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", listed)
        patched.setattr(shutil, "copyfile", copied)
        assert takeover.fetch(job, str(owners.folder), record)
    own = Run(job.folder)
    logged = own.events()
    newest = max(int(path.stem[-8:]) for path in own.checkpoints.iterdir())
    assert 0 < newest <= max(step_of(event) for event in logged)
    # What it has not reached is cut off where it goes on.
    own.log(events.Resume("", newest))
    assert max(step_of(event) for event in own.events()) == newest
    if (own.folder / "outcome.json").exists():
        assert own.is_finished
        assert of_kind(logged, events.End)


def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("grpc")
    monkeypatch.setattr(tuning, "SECONDS_FOR_PROXY", 0.2)
    plan = tuning.plan(recipes.load("fashion"), storage="grpc://localhost:1")
    with pytest.raises(NetinnetError, match="grpc://localhost:1: cannot be used"):
        tuning.open_study(plan, tmp_path)


class Clock:
    """The time as it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Clock, list[takeover.Watch], Any]:
    """A clock, three searchers of one storage, and a trial of the first."""
    clock = Clock()
    monkeypatch.setattr(takeover.time, "monotonic", clock)
    plan = tuning.plan(recipes.load("fashion"), storage=f"sqlite:///{tmp_path / 'a.db'}")
    found = [takeover.Watch(tuning.open_study(plan, tmp_path), name) for name in "abc"]
    trial = found[0].study.ask()
    found[0].own(trial, tmp_path / "run")
    return clock, found, trial


def watched(clock: Clock, watches: list[takeover.Watch], seconds: float) -> list[tuple[str, float]]:
    """Who gets the trial, and when, while nobody else beats."""
    start, taken = clock.now, []
    while clock.now < start + seconds:
        clock.now += 1
        for watch in watches:
            taken += [
                (watch.searcher, clock.now - start) for _ in watch.look(takeover.SILENT_BEATS)
            ]
    return taken


def test_a_silent_searchers_trial_has_one_new_owner_within_two_beats(
    watches: tuple[Clock, list[takeover.Watch], Any],
) -> None:
    clock, (a, b, c), trial = watches
    a.beat([trial])
    ((owner, seconds),) = watched(clock, [b, c], 2 * takeover.BEAT_SECONDS)
    assert seconds < 2 * takeover.BEAT_SECONDS  # although both claimed it in the same second
    assert (b.is_own(0), c.is_own(0)) == (owner == "b", owner == "c")
    # The first one was only slow: it hears of it at its next beat.
    assert a.beat([trial]) == {0}
    assert not a.is_own(0)


def test_a_searcher_that_beats_keeps_its_trial(
    watches: tuple[Clock, list[takeover.Watch], Any],
) -> None:
    clock, (a, b, c), trial = watches
    began = clock.now
    for _ in range(3):
        assert a.beat([trial]) == set()
        assert watched(clock, [b, c], takeover.BEAT_SECONDS) == []
    assert a.is_own(0)
    assert not b.may_take(began)  # it was heard: nobody needs to wait for it
    assert b.may_take(clock.now)
    a.study.tell(trial, 0.5)
    assert watched(clock, [b, c], 100) == []
    assert not b.may_take(clock.now)
    assert a.beat([trial]) == {0}


def test_a_searcher_with_a_free_worker_comes_first(
    watches: tuple[Clock, list[takeover.Watch], Any],
) -> None:
    clock, (a, b, c), trial = watches
    start = clock.now
    while not (taken := b.look(takeover.SILENT_BEATS)):
        clock.now += 1
        assert c.look(takeover.BUSY_BEATS) == []
    assert taken[0].number == trial.number
    assert clock.now - start < takeover.BUSY_BEATS * takeover.BEAT_SECONDS
    assert not a.is_own(trial.number)
    while not c.look(takeover.BUSY_BEATS):  # b is silent, too
        clock.now += 1
        assert b.look(math.inf) == []
    assert clock.now - start < 4 * takeover.BEAT_SECONDS


# Trials that fall behind, and those that fail


@pytest.mark.parametrize("name", PRUNERS)
def test_a_pruner_stops_what_falls_behind(name: str, tmp_path: Path) -> None:
    """Ten trials that learn and ten that don't: which are stopped before their fifth epoch."""
    plan = tuning.plan(recipes.load("fashion"), pruner=name)  # five epochs
    study = tuning.open_study(plan, tmp_path)
    stopped: list[int] = []
    for number in range(20):
        trial = study.ask()
        for epoch in range(1, 6):
            trial.report((0.1 if number % 2 else 0.8) + 0.01 * epoch + number / 1e4, epoch)
            if trial.should_prune():
                stopped.append(number)
                break
        study.tell(trial, 0.5)
    if name == "none":
        assert not stopped
    else:
        assert stopped
        assert sum(number % 2 for number in stopped) > len(stopped) / 2


def conduct(
    folder: Path,
    events: list[Event],
    *,
    first: dict[str, Any] | None = None,
    **changes: Any,
) -> tuning.Tuning:
    """A search in this process with two epochs a trial; `first` are the first trial's values."""
    recipe = recipes.load(
        "fashion",
        **{
            **{"framework": FRAMEWORK, "train_examples": 200, "test_examples": 40, "epochs": 2},
            **{"batch_size": 60, "checkpoint_seconds": 0.0, **changes.pop("recipe", {})},
        },
    )
    space = search_space.parse(changes.pop("space", ["learning_rate=0.05..0.3"]))
    storage = f"sqlite:///{folder.with_suffix('.db')}"
    plan = tuning.plan(recipe, space=space, storage=storage, **changes)
    if first is not None:
        tuning.open_study(plan, folder).enqueue_trial(first)
    return search.conduct(plan, output=folder, workers=1, listener=events.append)


@pytest.mark.slow  # what pruners decide is above; this waits for long epochs
@pytest.mark.usefixtures("fashion_mnist")
def test_a_trial_that_falls_behind_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import optuna

    class Strict(optuna.pruners.BasePruner):
        """All but the first."""

        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            return trial.number > 0

    monkeypatch.setattr(tuning, "_pruner", lambda plan: Strict())
    # Long epochs: the trial must still be at work when it is asked to stop.
    found = conduct(tmp_path / "s", [], trials=2, recipe={"train_examples": 3000, "epochs": 3})
    assert [trial.state for trial in found.trials] == ["finished", "pruned"]
    assert found.trials[1].epochs < 3
    assert found.trials[1].accuracy is not None
    assert found.best == found.trials[0]


@pytest.mark.usefixtures("fashion_mnist")
def test_a_trial_that_diverges_is_a_bad_one(tmp_path: Path) -> None:
    found = conduct(
        tmp_path / "s",
        [],
        first={"learning_rate": 1000.0},
        trials=2,
        space=["learning_rate=0.15,1000"],
        recipe={"optimizer": "sgd", "schedule": "constant"},
    )
    assert [trial.state for trial in found.trials] == ["diverged", "finished"]
    assert found.best == found.as_given == found.trials[1]


@pytest.mark.usefixtures("fashion_mnist")
def test_values_that_make_no_recipe_fail_alone(tmp_path: Path) -> None:
    """Nesterov's step without a momentum is refused; the search goes on."""
    events: list[Event] = []
    first = {"momentum": 0.0}
    found = conduct(tmp_path / "s", events, first=first, trials=2, space=["momentum=0,0.9"])
    assert [trial.state for trial in found.trials] == ["failed", "finished"]
    assert found.trials[0].values == {"momentum": 0}
    reasons = [event.reason for event in of_kind(events, TrialEnd)]
    assert "nesterov needs a momentum" in reasons[0]
    assert reasons[1] == ""


def test_a_recipe_outside_its_space_is_said(tmp_path: Path) -> None:
    recipe = recipes.load("fashion", learning_rate=0.9)
    space = search_space.parse(["learning_rate=0.05..0.3"])
    assert space.values_in(recipe) is None
    assert space.outside(recipe) == ["learning_rate"]


def _trial(number: int, state: str, accuracy: float | None, **values: Any) -> tuning.Trial:
    return tuning.Trial(number, state, accuracy, 2, 60.0, number == 0, values)


@pytest.mark.parametrize("states", [["running"], ["pruned", "failed"], ["finished", "diverged"]])
def test_a_page_of_any_state(states: Sequence[str], tmp_path: Path) -> None:
    from netinnet.studies.pages import tuning as page

    space = search_space.parse(["dropout=null,0.5", "learning_rate=0.01..0.9:log"])
    trials = tuple(
        _trial(n, state, 0.5 if state != "failed" else None, dropout=None, learning_rate=0.1)
        for n, state in enumerate(states)
    )
    plan = tuning.plan(recipes.load("fashion"), space=space)
    found = tuning.Tuning(tmp_path, plan, trials, {"dropout": 0.4, "learning_rate": 0.6})
    assert (found.best is not None) == ("finished" in states)
    text = page.write(found, "running").read_text()
    assert ("No trial is finished yet" in text) == (found.best is None)
    assert tuning.write_best(dataclasses.replace(found)) == (
        tmp_path / "best.toml" if found.best else None
    )


@pytest.mark.parametrize(("given", "kept"), [(None, None), (3, 3)])
def test_the_best_recipe_has_the_threads_that_were_given(
    given: int | None, kept: int | None, tmp_path: Path
) -> None:
    space = search_space.parse(["learning_rate=0.01..0.9:log"])
    plan = tuning.plan(recipes.load("fashion", threads=given), space=space)
    found = tuning.Tuning(tmp_path, plan, (_trial(0, "finished", 0.5, learning_rate=0.1),), {})
    file = tuning.write_best(found)
    assert file is not None
    assert recipes.load(str(file)).threads == kept


OLD_SEARCH = """\
kind = "tune"
seeds = [3]
trials = 0
pruner = "hyperband"
storage = ""
name = "tune"
space = ["learning_rate=0.02..0.5:log", "dropout=0..0.5", "batch_size=64,128"]

[arms."as given"]
network = "nin-small"
seed = 3
threads = 1
"""


def test_a_search_file_of_0_1_0_still_loads(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(OLD_SEARCH)
    plan = plans.load(tmp_path)
    assert isinstance(plan, plans.SearchPlan)
    assert (plan.recipe.network, plan.recipe.seed, plan.trials) == ("nin-small", 3, None)
    assert (plan.pruner, plan.storage, plan.name) == ("hyperband", "", "tune")
    assert plan.space.texts() == [
        *("learning_rate=0.02..0.5:log", "dropout=0..0.5", "batch_size=64,128")
    ]
    # The same search goes on there with another end; another one is refused.
    more = dataclasses.replace(plan, trials=7)
    assert plans.settle(more, tmp_path) == (more, tmp_path)
    assert plans.from_toml(more.to_toml(), "x") == more
    with pytest.raises(NetinnetError, match="holds another study"):
        plans.settle(dataclasses.replace(plan, pruner="none"), tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"hyperband"', '"hyperbnad"', "unknown pruner 'hyperbnad'"),
        ("seeds = [3]", "seeds = [3, 4]", "a search has one arm and its seed"),
        ("trials = 0", "trials = -1", "--trials must be at least 1, got -1"),
        ("trials = 0", 'trials = "a"', "trials must be of type int"),
        ('name = "tune"', 'name = "tune"\nminutes = 3', "unknown setting 'minutes'"),
        ("dropout=0..0.5", "seed=0..3", "seed stays the same in all trials"),
    ],
)
def test_a_damaged_search_is_one_line(old: str, new: str, words: str) -> None:
    with pytest.raises(NetinnetError, match=re.escape(words)):
        plans.from_toml(OLD_SEARCH.replace(old, new), "study.toml")
