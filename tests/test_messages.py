"""What the command says where something is missing, damaged or stopped: the cause, and its cure."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import netinnet
from netinnet import files
from netinnet.cli import standard_streams
from netinnet.data import picture_look
from netinnet.errors import ModelError, NetinnetError, RecipeError, RunWarning
from netinnet.export import card, examples
from netinnet.serve import decoding
from netinnet.serve.limits import Limits
from netinnet.serve.problems import Problem
from netinnet.studies import outcome, search_space
from netinnet.studies import plan as plans
from netinnet.studies.arms import Arm
from netinnet.training import recipe as recipes
from netinnet.training.run import Run

from .conftest import FRAMEWORK, nin
from .test_own_pictures import fill, header_only

BINARY = Path(sys.executable).with_name("nin")
QUICK = [*("--epochs", "1", "--batch-size", "8", "--image-size", "16"), "--framework", FRAMEWORK]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NETINNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    """A finished run that the test may change."""
    return shutil.copytree(small_run, tmp_path / "run")


def test_a_finished_run_without_its_model(run: Path, tmp_path: Path) -> None:
    before, onnx = ((run / f"model.{kind}").read_bytes() for kind in ("safetensors", "onnx"))
    found = (run / "model.onnx").stat()
    times = (found.st_atime, found.st_mtime)
    (run / "model.safetensors").unlink()
    (run / "model.onnx").unlink()
    resume = f"nin train --resume {run}"
    for command in (
        ["evaluate", run],
        ["export", run, tmp_path / "a.md"],
        ["train", "--resume", run],
        ["train", "--resume", run, "--more-epochs", "1"],
        ["train", "--resume", run],
    ):
        done = nin(*command)
        assert done.returncode == 2
        assert done.stderr == (
            f"nin: {run}: the run is finished, but its model.safetensors is missing: put it back, "
            f"or remove metrics.json, and {resume} trains the run again\n"
        )
    (run / "model.onnx").write_bytes(onnx)
    os.utime(run / "model.onnx", times)
    os.utime(run / "report.html")
    assert nin("train", "--resume", run).stderr == done.stderr  # the rest is there
    # And so it does.
    (run / "metrics.json").unlink()
    done = nin("train", "--resume", run, "--quiet")
    assert done.returncode == 0, done.stderr
    assert (run / "model.safetensors").read_bytes() == before


STOPPED_WHILE_AT_WORK = """
import os, signal
from netinnet.cli import zoo
from netinnet.cli.main import main
def stop(json=False):
    os.kill(os.getpid(), signal.{name})
    signal.pause()
zoo.zoo = stop
main(["zoo"])
"""


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_what_is_stopped_says_so(name: str, status: int) -> None:
    code = STOPPED_WHILE_AT_WORK.format(name=name)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (status, b"", b"nin: stopped\n")


@pytest.mark.parametrize(
    "command", [[BINARY], [sys.executable, "-m", "netinnet"]], ids=["nin", "python -m netinnet"]
)
def test_what_is_stopped_while_it_starts_says_so(command: list[Any], tmp_path: Path) -> None:
    (tmp_path / "cyclopts.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    paths = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run([*command, "zoo"], capture_output=True, check=False, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"nin: stopped\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["zoo"], ["zoo", "--json"], ["--version"]])
def test_a_full_disk_behind_standard_output(arguments: list[str], unbuffered: str) -> None:
    """Be it noticed while the command prints or at its end."""
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "netinnet", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            env=environment,
        )
    said = b"nin: standard output: No space left on device; free some space\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_another_full_disk_is_not_standard_output() -> None:
    """An error without a name stays one."""
    code = (
        "import errno, os\nfrom netinnet.cli import zoo\nfrom netinnet.cli.main import main\n"
        "def fail(json=False):\n    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))\n"
        "zoo.zoo = fail\nmain(['zoo'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    said = b"nin: the system: No space left on device; free some space\n"
    assert (done.returncode, done.stderr) == (2, said)


@pytest.mark.parametrize("command", ["train", "evaluate", "reliability", "tune"])
def test_a_folder_that_is_named_like_a_data_set(command: str, tmp_path: Path) -> None:
    if command == "tune":
        pytest.importorskip("optuna")
    for name, shown in (("photos", "./photos"), ("my photos", "'./my photos'")):
        (tmp_path / name).mkdir()
        done = nin(command, "--dataset", name, cwd=tmp_path)
        assert done.returncode == 2
        assert f"no data set '{name}'" in done.stderr
        assert done.stderr.endswith(f"; {shown} would be a folder\n")
        assert "recipe fashion" not in done.stderr


@pytest.mark.parametrize("command", ["train", "reliability", "ablate", "compare", "tune"])
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--epochs", "0"], "--epochs: must be between 1 and 100000, got 0"),
        (["--momentum", "1"], "--momentum: must be below 1, got 1"),
        (["--flips", "x"], "--flips: unknown flips 'x'; known are random, alternating"),
        (["--momentum", "0"], "--momentum: nesterov needs a momentum above 0"),
        (["--shards", "6"], "--shards: must be a power of two, got 6"),
        (["--teacher-temperature", "2"], "--teacher-temperature: needs a teacher: a run folder or"),
    ],
)
def test_what_a_flag_has_wrong_names_the_flag(command: str, flags: list[str], said: str) -> None:
    if command == "tune":
        pytest.importorskip("optuna")
    networks = ["lenet", "nin-small"] if command == "compare" else []
    done = nin(command, *networks, *flags)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"nin: {said}")


def test_what_a_recipe_has_wrong_names_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('extends = "fashion"\nepochs = 0\n')
    said = "epochs must be between 1 and 100000, got 0"
    for flags in ([], ["--seed", "1"]):
        done = nin("train", "--recipe", "own.toml", *flags, cwd=tmp_path)
        assert done.stderr == f"nin: recipe own.toml: {said}\n"
    # From Python it is a field.
    for call in (
        lambda: recipes.load("fashion", epochs=0),
        lambda: recipes.load("fashion").replace(epochs=0),
        lambda: netinnet.train("fashion", epochs=0),
    ):
        with pytest.raises(RecipeError, match=f"^{said}$"):
            call()
    with pytest.raises(RecipeError, match=r"^epochs must be of type int, got 'x'$"):
        recipes.load("fashion", epochs="x")


def test_pictures_that_have_moved(cache: Path, tmp_path: Path) -> None:
    folder = fill(tmp_path / "meine Bilder ü", {"a": 8, "b": 8})
    run, moved = tmp_path / "run", tmp_path / "moved"
    done = nin("train", "--dataset", folder, *QUICK, "--output", run, "--quiet")
    assert done.returncode == 0, done.stderr
    folder.rename(moved)
    (run / "report.html").unlink()
    for command in (["evaluate", run], ["train", "--resume", run]):
        done = nin(*command)
        assert (done.returncode, done.stderr) == (
            2,
            f"nin: {folder}: no such folder; the run was trained on it: --data-dir FOLDER names "
            f"where it is now\n",
        )
        done = nin(*command, "--data-dir", moved)
        assert done.returncode == 0, done.stderr
    assert (run / "report.html").exists()


@pytest.mark.parametrize("reason", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_a_cache_that_cannot_be_written(
    reason: int, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fill(tmp_path / "photos", {"a": 8, "b": 8})
    make = files.tempfile.mkstemp

    def refuse(**options: Any) -> Any:
        if Path(options["dir"]).is_relative_to(cache):
            raise OSError(reason, os.strerror(reason))
        return make(**options)

    monkeypatch.setattr(files.tempfile, "mkstemp", refuse)
    done = nin("data", folder)
    assert done.returncode == 0, done.stderr
    said = "NETINNET_CACHE names another folder for the cache"
    assert "caution: what was seen is not kept for the next time: " in done.stderr
    assert said in done.stderr
    assert not list(cache.rglob("*.npz"))
    # What is decoded must be somewhere.
    done = nin("train", "--dataset", folder, *QUICK, "--output", tmp_path / "run", "--quiet")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert said in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_disk_that_fills_while_a_look_is_kept(cache: Path, tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", {"a": 8, "b": 8})
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    said: list[str] = []
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        look = picture_look.look(folder, cache, lambda text, done, total: said.append(text))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(look.good) == 16
    assert "caution: what was seen is not kept for the next time" in said[-1]
    assert not list(cache.iterdir())


def test_examples_of_a_whole_folder(tmp_path: Path) -> None:
    """24 of them, evenly by class and from all parts of each, the same ones each time."""
    made = {"a": 40, "b": 3, "c": 40}
    for name, count in made.items():
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.new("L", (1, 1), i).save(tmp_path / name / f"{i}.png")
    said: list[str] = []
    chosen = examples.read([tmp_path], said.append)
    assert said == ["examples: 24 of 83 pictures, the most that a page has"]
    assert len(chosen) == 24
    assert chosen == examples.read([tmp_path], said.append)
    paths = sorted(tmp_path.rglob("*.png"))
    names = [(p.parent.name, int(p.stem)) for p in examples._some(paths)]
    assert [sum(name == one for name, _ in names) for one in made] == [11, 3, 10]
    # One of each of so many folders as there is room for.
    many = [Path(f"{i:02}/{j}.png") for i in range(48) for j in range(2)]
    assert [int(p.parent.name) for p in examples._some(many)] == [*range(0, 48, 2)]


def test_a_page_says_how_many_examples_it_has(tmp_path: Path) -> None:
    for i in range(30):
        Image.new("L", (8, 8), i).save(tmp_path / f"{i}.png")
    done = nin("export", tmp_path / "page.html", "--examples", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "24 of 30 pictures" in done.stdout


def test_a_card_of_a_run_whose_events_are_damaged(run: Path, tmp_path: Path) -> None:
    lines = (run / "events.jsonl").read_text().splitlines(keepends=True)
    ends = [i for i, line in enumerate(lines) if '"evaluation"' in line]
    said = "which classes it confuses is not known: the run's events.jsonl is damaged or missing"
    for content in ("".join(lines[: ends[-1]]), ""):  # of an earlier epoch, and none
        (run / "events.jsonl").write_text(content)
        done = nin("export", run, tmp_path / "card.md", "--force")
        assert (done.returncode, done.stderr) == (0, f"nin: {run}: {said}\n")
        assert said.capitalize() in (tmp_path / "card.md").read_text().replace(
            "Which classes it confuses: not", "Which classes it confuses is not"
        )
    with pytest.warns(RunWarning, match="is damaged or missing"):
        card.card(netinnet.load(run), Run(run))


def test_a_card_of_a_run_without_mistakes(run: Path) -> None:
    events = []
    for line in (run / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "evaluation":
            event["test"]["confusion"] = [[10 * (i == j) for j in range(10)] for i in range(10)]
        events.append(json.dumps(event) + "\n")
    (run / "events.jsonl").write_text("".join(events))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = card.card(netinnet.load(run), Run(run)).to_markdown()
    assert "none of the test pictures were mistaken" in text


def test_damaged_metrics_say_what_helps(tmp_path: Path) -> None:
    alone = tmp_path / "run"
    of_study = tmp_path / "study/runs/arm/seed-0"
    for folder in (alone, of_study):
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text("{")
    (tmp_path / "study/study.toml").write_text("")
    cure = f"; remove metrics.json, and nin train --resume {alone} trains the run again"
    with pytest.raises(ModelError, match="damaged") as error:
        Run(alone).metrics()
    assert str(error.value).endswith(cure)
    cure = f"; remove {of_study}: the study trains it again when it is continued"
    with pytest.raises(ModelError, match="damaged") as error:
        Run(of_study).metrics()
    assert str(error.value).endswith(cure)


def study(**changes: Any) -> plans.Plan:
    arm = Arm("fashion", recipes.load("fashion", **changes))
    return plans.Plan("reliability", (arm,), (0,), threshold=0.8)


def search(**changes: Any) -> plans.SearchPlan:
    space = search_space.parse(["dropout=0..0.5"])
    return dataclasses.replace(
        plans.SearchPlan(Arm("tune", recipes.load("fashion", validation=0.1)), space, 3), **changes
    )


DIFFERENCES = {
    "kind": (dataclasses.replace(study(), kind="ablate"), "kind: reliability there, ablate here"),
    "search": (search(), "kind: reliability there, tune here"),
    "field": (study(epochs=2), "epochs: 5 there, 2 here"),
    "none": (study(width=0.5), "width: not given there, 0.5 here"),
    "arms": (
        dataclasses.replace(study(), arms=(Arm("other", recipes.load("fashion")),)),
        "arms: fashion there, other here",
    ),
    "setting": (dataclasses.replace(study(), threshold=0.9), "threshold: 0.8 there, 0.9 here"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_another_study_says_what_differs(name: str, tmp_path: Path) -> None:
    other, said = DIFFERENCES[name]
    plans.write(study(epochs=5), tmp_path)
    with pytest.raises(NetinnetError) as error:
        plans.settle(other, tmp_path)
    words = f"{tmp_path} holds another study ({said}); choose another --output"
    assert str(error.value) == words


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pruner": "none"}, "pruner: median there, none here"),
        (
            {"space": search_space.parse(["momentum=0.8..0.9"])},
            "space: dropout=0..0.5 there, momentum=0.8..0.9 here",
        ),
        (
            {"given": Arm("tune", recipes.load("fashion", validation=0.1, seed=4))},
            "seed: 0 there, 4 here",
        ),
    ],
)
def test_another_search_says_what_differs(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    plans.write(search(), tmp_path)
    with pytest.raises(NetinnetError) as error:
        plans.settle(search(trials=9, **changes), tmp_path)
    assert f"holds another study ({said}); choose" in str(error.value)


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    blocked = tmp_path / "runs"
    blocked.write_text("")
    said = "its folder's name is that of a file: choose another place"
    with pytest.raises(NetinnetError) as error:
        files.write_text(blocked / "a.txt", "")
    assert str(error.value) == f"{blocked / 'a.txt'}: cannot be written (File exists); {said}"
    # Not tried for ever.
    with pytest.raises(NetinnetError) as error:
        files.new_dated_folder(blocked, "x")
    assert str(error.value) == f"{blocked}: cannot be written (File exists); {said}"


def test_a_dry_run_says_what_a_training_says(cache: Path, tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", {"a": 8, "b": 8})
    (folder / "c").mkdir()
    (folder / "c/0.png").write_bytes(b"no picture")
    flags = ["--dataset", folder, *QUICK, "--skip-bad"]
    tried = nin("train", *flags, "--dry-run", "--json")
    assert tried.returncode == 0, tried.stderr
    trained = nin("train", *flags, "--output", tmp_path / "run", "--quiet")
    assert trained.returncode == 0, trained.stderr
    cautions = [line for line in tried.stderr.splitlines() if line.startswith("caution: ")]
    assert "caution: class c is left out: not one of its 1 picture can be used" in cautions
    assert set(cautions) <= set(trained.stderr.splitlines())
    assert [f"caution: {text}" for text in json.loads(tried.stdout)["cautions"]] == cautions


@pytest.mark.parametrize(
    ("side", "limit", "said"),
    [
        (6000, 16_000_000, "6000×6000 pixels are more than 16 megapixels"),
        (4900, 16_000_000, "4900×4900 pixels are more than 16 megapixels"),
        (6000, 90_000_000, "6000×6000 pixels are more than 25 megapixels"),
        (60_000, 1_500_000, "more than 1,500,000 pixels"),  # Pillow itself refuses it
    ],
)
def test_the_limit_that_is_named_is_the_smaller_one(side: int, limit: int, said: str) -> None:
    part = decoding.Part("image/png", header_only(side, side))
    limits = Limits(max_pixels=limit, max_side=100_000)
    with pytest.raises(Problem) as error:
        decoding.decode([part], 1, limits)
    assert f"picture: {said}; make it smaller" in str(error.value)


def test_what_is_no_plain_file_stays_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Windows console, for one, writes text of its own encoding and has a number, too."""

    class Console(io.FileIO):
        pass

    written, end = os.pipe()
    out = io.TextIOWrapper(io.BufferedWriter(Console(end, "w")), "ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", out)
    standard_streams.prepare()
    assert sys.stdout is out
    print("2×3")
    out.close()
    assert os.read(written, 100) == b"2\\xd73" + os.linesep.encode()
    os.close(written)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("outcome.json", "{"),
        ("outcome.json", "{}"),
        ("events.jsonl", ""),
        ("events.jsonl", None),
        ("model.safetensors", None),
        ("metrics.json", "{}"),
    ],
)
def test_a_damaged_run_of_a_study_says_what_helps(
    file: str, content: str | None, small_run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "study/runs/a/seed-0"
    shutil.copytree(small_run, folder)
    (tmp_path / "study/study.toml").touch()
    run = Run(folder)
    job = plans.Job("a", 0, run.recipe(), netinnet.load(folder).network, folder)
    (folder / "outcome.json").write_text('{"state": "finished", "dead_classes": []}')
    assert outcome.read(job).state == "finished"
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    cure = f"remove {folder}: the study trains it again when it is continued"
    with pytest.raises(ModelError, match=re.escape(cure)):
        outcome.read(job)
