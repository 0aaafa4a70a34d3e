"""Pages of studies: whatever arms, classes and folders are called; with figures and without."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest

from netinnet.cli.main import run
from netinnet.reports import live
from netinnet.studies import ablation, search_space, tuning
from netinnet.studies.arms import Arm
from netinnet.studies.outcome import DeadClass, Outcome, Point
from netinnet.studies.pages import ablation as ablation_page
from netinnet.studies.pages import comparison as comparison_page
from netinnet.studies.pages import reliability as reliability_page
from netinnet.studies.pages import tuning as tuning_page
from netinnet.studies.plan import Plan
from netinnet.training import recipe as recipes
from netinnet.training.events import Evaluation
from tests.conftest import QUICK
from tests.html_parser import parse

HOSTILE = """"><script>alert('x')</script>&amp;"""
HINT = "pip install 'netinnet[figures]' adds"


def _outcomes(plan: Plan, folder: Path) -> list[Outcome]:
    """Two finished runs an arm, one with a dead class; one that failed. The first has a report."""
    curve = tuple(Point(epoch, 1.0, 1.0, 0.5, 1.0, 0.4 + epoch / 10) for epoch in (1, 2))
    outcomes = [
        Outcome(
            job.arm,
            job.seed,
            job.folder,
            "finished",
            accuracy=0.9 - job.seed / 10,
            training_seconds=75.0,
            images_per_second=1234.0,
            model_bytes=393_656,
            peak_memory_bytes=466_000_000,
            dead=(DeadClass(HOSTILE, job.seed or None, 5, 0.0),) if job.seed else (),
            recall=(0.5,) * 10,
            curve=curve,
        )
        for job in plan.jobs(folder)
    ]
    report = outcomes[0].folder / "report.html"
    report.parent.mkdir(parents=True)
    report.touch()
    return [*outcomes, Outcome(plan.arms[0].name, 9, folder / "lost", "failed", HOSTILE)]


def _study(kind: str, write: Callable[..., Path], *arms: str) -> Callable[[Path], Path]:
    recipe = recipes.load("fashion")
    plan = Plan(
        kind,
        tuple(Arm(name, recipe) for name in arms),
        (0, 1),
        threshold=0.8 if kind == "reliability" else None,
    )
    return lambda folder: write(folder, plan, _outcomes(plan, folder), "interrupted")


def _search(folder: Path) -> Path:
    space = search_space.parse(["initialisation=he,xavier", "learning_rate=0.01..0.9:log"])
    values = {"initialisation": HOSTILE, "learning_rate": 0.1}
    trials = tuple(
        tuning.Trial(n, state, 0.5, 2, 60.0, n == 0, values)
        for n, state in enumerate(("finished", "pruned", "failed"))
    )
    plan = tuning.plan(recipes.load("fashion"), space=space)
    search = tuning.Tuning(folder, plan, trials, {"learning_rate": 1.0})
    return tuning_page.write(search, "interrupted")


PAGES: dict[str, Callable[[Path], Path]] = {
    "reliability": _study("reliability", reliability_page.write, HOSTILE, "other"),
    "comparison": _study("compare", comparison_page.write, HOSTILE, "other"),
    "ablation": _study("ablate", ablation_page.write, ablation.BASELINE, f"head={HOSTILE}"),
    "tuning": _search,
}
FIGURES = {"reliability": 4, "comparison": 2, "ablation": 2, "tuning": 3}


@pytest.mark.parametrize("kind", PAGES)
def test_names_from_outside_are_escaped(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / """ 'a' "b" <script>&amp;"""
    folder.mkdir()
    page = parse(PAGES[kind](folder).read_text("utf-8"))
    assert page.tags.count("script") == 0
    assert page.tags.count("img") == FIGURES[kind]
    assert HOSTILE in page.text
    assert str(folder) in page.text
    assert "--resume" in page.text
    for address in page.values("href"):
        assert (folder / unquote(address)).is_file()
    assert len(page.values("href")) == (0 if kind == "tuning" else 1)
    assert HINT not in page.text


@pytest.mark.parametrize("kind", PAGES)
@pytest.mark.usefixtures("without_matplotlib")
def test_without_matplotlib_the_page_says_how_to_get_figures(kind: str, tmp_path: Path) -> None:
    page = parse(PAGES[kind](tmp_path).read_text("utf-8"))
    assert "img" not in page.tags
    assert page.text.count(f"{HINT} them") == 1
    assert "table" in page.tags


def test_of_many_lost_runs_five_are_named(tmp_path: Path) -> None:
    plan = Plan("compare", (Arm("one", recipes.load("fashion")),), (0,))
    lost = [Outcome("one", seed, tmp_path, "diverged", "too fast") for seed in range(7)]
    page = parse(comparison_page.write(tmp_path, plan, lost, "finished").read_text("utf-8"))
    named = "; ".join(f"one, seed {seed} (too fast)" for seed in range(5))
    assert f"7 diverged: {named} and 2 more." in page.text


@pytest.mark.usefixtures("without_matplotlib")
def test_a_figure_without_matplotlib_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["resources", "lenet", "--figure", str(tmp_path / "x.svg")]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"nin: figures need matplotlib; {HINT} it\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("without_matplotlib")
def test_a_notebook_without_matplotlib_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_in_notebook", lambda: True)
    with pytest.warns(UserWarning, match="curve is not drawn: .* pip install 'netinnet.figures.'"):
        listener = live.listener()
    listener(Evaluation(1, 1, 0.1, {"loss": 1.0, "accuracy": 0.5}))


@pytest.mark.usefixtures("fashion_mnist")
def test_training_works_without_matplotlib(tmp_path: Path) -> None:
    """In a process that can't import it, from the start to the report."""
    hidden = (
        "import sys; sys.modules['matplotlib'] = None; from netinnet.cli.main import main; main()"
    )
    command = [sys.executable, "-c", hidden, "train", *QUICK, "--output", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{HINT} them" in parse((tmp_path / "run/report.html").read_text("utf-8")).text
