"""Help, the wall between library and command, recipes that extend others, the API's silence."""

from __future__ import annotations

import ast
import inspect
import json
import warnings
from pathlib import Path
from typing import Any

import pytest

import netinnet
from netinnet.cli.main import COMMANDS, run
from netinnet.costs import measure, table
from netinnet.data.source import DatasetRecord, Facts
from netinnet.errors import DataError, NetinnetError, RecipeError, RecipeWarning
from netinnet.frameworks import FRAMEWORKS
from netinnet.networks import zoo
from netinnet.optimizer import KINDS, Optimizer
from netinnet.studies.events import RunEnd, StudyStart
from netinnet.training import events
from netinnet.training import recipe as recipes
from netinnet.training.events import Event
from netinnet.training.recipe_values import choices
from tests.conftest import FRAMEWORK, ROOT, needs

SOURCE = ROOT / "src/netinnet"
TINY: dict[str, Any] = {
    **{"train_examples": 64, "test_examples": 40, "epochs": 1, "framework": FRAMEWORK},
}


def shown(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What a command that succeeds prints, with single spaces and no lines of boxes."""
    assert run([*map(str, arguments)]) == 0
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


# Help


def test_help_is_grouped(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "--help")
    places = [text.index(f"─ {group} ─") for group in ("Start", "Look", "Use", "Study", "Convert")]
    assert places == sorted(places)
    assert [*COMMANDS] == ["Start", "Look", "Use", "Study", "Convert"]
    for commands in COMMANDS.values():
        for name, about in commands.items():
            assert f"{name} {about}" in text


@pytest.mark.parametrize("command", ["train", "reliability", "ablate", "tune", "compare"])
def test_help_shows_the_names_that_are_checked(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(capsys, command, "--help")
    for names in choices().values():
        assert f"[{' | '.join(names)}]" in text


def test_help_of_a_topic(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "help", "data") == shown(capsys, "data", "--help")
    assert shown(capsys, "help").startswith(shown(capsys, "--help"))
    assert run(["help", "network"]) == 2
    assert "unknown topic 'network' (did you mean 'networks'?)" in capsys.readouterr().err


def test_help_of_summary_shows_its_names(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("summary", "resources"):
        text = shown(capsys, command, "--help")
        for names in (KINDS, table.PRECISIONS, tuple(FRAMEWORKS)):
            assert f"[{' | '.join(names)}]" in text
    assert "--batch INT" in text
    assert "default: 128" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sumary"], 'Did you mean "summary"?'),
        (["summary", "--lyers"], "Did you mean --layers?"),
        (["train", "--optimiser", "sgd"], "Did you mean --optimizer?"),
        (["summary", "--framework", "jax"], "--framework jax is what to measure with: add --meas"),
    ],
)
def test_the_nearest_name(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    done = capsys.readouterr()
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not done.out


# Walls


def imports(file: Path) -> set[str]:
    """The modules that a file names in its imports, wherever they stand."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


def test_the_library_never_imports_the_command() -> None:
    command = (SOURCE / "cli", SOURCE / "__main__.py")  # `python -m netinnet`
    library = [f for f in SOURCE.rglob("*.py") if not {*command} & {f, *f.parents}]
    assert len(library) > 50
    for file in library:
        assert not any(name.startswith("netinnet.cli") for name in imports(file)), file


UNITS = ("megabytes", "duration", "_giga", "_giga_rate")
"""Functions that write a number in another unit."""


@pytest.mark.parametrize("file", sorted((SOURCE / "cli").glob("*.py")), ids=lambda file: file.stem)
def test_the_command_does_no_arithmetic(file: Path) -> None:
    tree = ast.parse(file.read_text())
    units = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name in UNITS
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.BinOp) or node in units:
            continue
        is_path = isinstance(node.op, ast.Div) and "/" in ast.unparse(node)
        is_path = is_path and not any(isinstance(n, ast.Call) for n in (node.left, node.right))
        products = ast.Mult | ast.FloorDiv | ast.Pow | ast.Mod | ast.MatMult
        assert not isinstance(node.op, products), ast.unparse(node)
        assert not isinstance(node.op, ast.Div) or is_path, ast.unparse(node)


PUBLIC = [name for name in netinnet.__all__ if inspect.isfunction(getattr(netinnet, name))]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_functions_are_documented(name: str) -> None:
    function = getattr(netinnet, name)
    text = function.__doc__
    for part in ("Args:", "Returns:", "Raises:", "Example:"):
        assert part in text
    for argument in inspect.signature(function).parameters:
        assert f"        {argument}: " in text, argument


# One command for costs


def test_both_names_print_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    plain = shown(capsys, "summary", "lenet")
    both = shown(capsys, "summary", "lenet", "--batch", "128")
    assert both.startswith(plain)
    assert shown(capsys, "resources", "lenet") == both
    assert shown(capsys, "summary", "lenet", "--optimizer", "sgd") == both
    assert "batch 128, muon with momentum 0.9, float16" in shown(
        capsys,
        *("summary", "lenet", "--optimizer", "muon", "--momentum", "0.9"),
        *("--precision", "float16"),
    )


def test_json_has_both_tables(capsys: pytest.CaptureFixture[str]) -> None:
    plain = json.loads(shown(capsys, "summary", "lenet", "--json"))
    both = json.loads(shown(capsys, "resources", "lenet", "--json"))
    assert [*plain] == ["network", "input", "rows", "total"]
    assert both["rows"] == plain["rows"]
    assert plain["total"].items() <= both["total"].items()
    assert len(both["layers"]) == 12


def test_what_was_not_counted_has_no_ratio() -> None:
    costs = table.costs(zoo.network("lenet"), 2, Optimizer())
    figures = dict.fromkeys(measure.Measurement.__annotations__, 10.0)
    figures |= {"prediction_bytes": None, "training_bytes": 2.0 * costs.total.training_bytes}
    measured = measure.Measurement(**figures)  # type: ignore[arg-type]
    assert costs.ratio("prediction_bytes", measured) is None
    assert costs.ratio("training_bytes", measured) == 2
    for speed in costs.speeds(measured):
        assert speed.flops_per_second == 5 * getattr(costs.total, f"{speed.phase}_flops")
        assert speed.percent_of_peak == 10 * speed.flops_per_second


# Recipes that extend others


def write(path: Path, text: str) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return str(path)


def test_a_recipe_extends_a_shipped_one(tmp_path: Path) -> None:
    name = write(tmp_path / "my.toml", 'extends = "fashion"\nepochs = 2\nmomentum = 0.8\n')
    ours = recipes.load(name, epochs=3)
    assert ours == recipes.load("fashion").replace(epochs=3, momentum=0.8)


def test_a_recipe_extends_a_file_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "base/all.toml", 'extends = "book"\nepochs = 2\n')
    name = write(tmp_path / "mine/my.toml", 'extends = "../base/all.toml"\nbatch_size = 32\n')
    monkeypatch.chdir("/")
    assert recipes.load(name) == recipes.load("book").replace(epochs=2, batch_size=32)


MISTAKES = {
    "unknown": ('extends = "fashon"', "my.toml 'fashon' (did you mean 'fashion'?); known are"),
    "missing": ('extends = "none.toml"', "none.toml: cannot be read"),
    "itself": ('extends = "my.toml"', "extends goes in a circle: my.toml → my.toml"),
    "circle": ('extends = "back.toml"', "in a circle: my.toml → back.toml → my.toml"),
    "no name": ("extends = 3", "extends must be a recipe's name or path, got 3"),
    "its field": ('extends = "odd.toml"', "recipe odd.toml: unknown field 'epoch'"),
    "own field": ('extends = "fashion"\nepoch = 1', "my.toml: unknown field 'epoch'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_extends_mistakes_are_one_line(
    mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, message = MISTAKES[mistake]
    write(tmp_path / "back.toml", 'extends = "my.toml"')
    write(tmp_path / "odd.toml", "epoch = 1")
    assert run(["train", "--recipe", write(tmp_path / "my.toml", text)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_what_a_recipe_leaves_out_is_said(tmp_path: Path) -> None:
    name = write(tmp_path / "my.toml", 'network = "lenet"\nepochs = 2\n')
    with pytest.warns(RecipeWarning) as caught:
        assert recipes.load(name, batch_size=32).optimizer == "sgd"
    message = str(caught[0].message)
    assert f'recipe {name} leaves fields out, so dataset = "fashion-mnist", optimizer = "sgd"' in (
        message
    )
    assert 'extends = "fashion" takes fashion\'s' in message
    for given in ("network", "epochs", "batch_size"):
        assert f"{given} = " not in message


@pytest.mark.usefixtures("fashion_mnist")
def test_the_command_says_it_on_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = write(tmp_path / "my.toml", f'network = "lenet"\nframework = "{FRAMEWORK}"\n')
    run(["train", "--recipe", name, "--output", str(tmp_path), "--quiet"])  # no empty folder
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"nin: recipe {name} leaves fields out, so ")
    assert "is not empty" in lines[1]


def test_a_whole_recipe_is_not_warned_of(tmp_path: Path) -> None:
    """Neither a run's recipe.toml nor a shipped one."""
    name = write(tmp_path / "recipe.toml", recipes.load("fashion").to_toml())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert recipes.load(name) == recipes.load("fashion")
        for shipped in recipes.shipped():
            recipes.load(shipped)


def test_odd_paths_in_a_recipe(tmp_path: Path) -> None:
    """TOML forbids DEL as it is; bytes that are no text can't be written at all."""
    odd = recipes.load("fashion", dataset='./a\x7fb\u2028"\\c')
    name = write(tmp_path / "recipe.toml", odd.to_toml())
    assert recipes.load(name) == odd
    message = r"dataset has bytes that are no text: './a\\udcffb'; rename it"
    with pytest.raises(RecipeError, match=message):
        recipes.load("fashion", dataset="./a\udcffb")
    with pytest.raises(DataError, match="can't be kept in a run; rename it"):
        DatasetRecord("a", Facts(("a",), None, (0.5,), (0.5,)), {}, "", read_from="/x/\udcff")


# The API


@pytest.mark.usefixtures("fashion_mnist")
def test_the_api_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    heard: list[Event] = []
    netinnet.train("lenet", output=tmp_path / "run", listener=heard.append, **TINY)
    assert isinstance(heard[-1], events.End)
    assert {events.Start, events.Progress, events.Evaluation} <= {*map(type, heard)}
    heard.clear()
    study = tmp_path / "study"
    rows = netinnet.compare("lenet", seeds=1, output=study, listener=heard.append, **TINY)
    assert {StudyStart, RunEnd} <= {*map(type, heard)}
    # A study is gone on with by its folder, as a run is.
    assert netinnet.resume(study) == rows
    with pytest.raises(NetinnetError, match="the run is finished"):
        netinnet.resume(tmp_path / "run")
    assert capfd.readouterr() == ("", "")


@needs("pytorch")
def test_a_live_curve_needs_a_notebook(tmp_path: Path) -> None:
    with pytest.raises(NetinnetError, match="live=True draws in a Jupyter notebook"):
        netinnet.train("fashion", live=True, output=tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_recipe_object_is_changed_too() -> None:
    changed, _ = recipes.resolve(recipes.load("fashion"), {"epochs": 2})
    assert (changed, None) == recipes.resolve("fashion", {"epochs": 2})
    with pytest.raises(RecipeError, match="unknown field 'epoch'"):
        recipes.resolve(changed, {"epoch": 2})
