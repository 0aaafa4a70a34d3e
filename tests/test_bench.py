"""`nin bench`: turns, what is kept of them, ratios, who is left out; and that peers run at all."""

from __future__ import annotations

import json
import platform
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netinnet.bench import (
    chromium,
    kept,
    page,
    roofline,
    roofline_page,
    scaling,
    turns,
    verdict,
    whole_training,
)
from netinnet.bench import machine as machines
from netinnet.bench.contests import FULL, QUICK, Contest, Contestant, contests
from netinnet.bench.machine import machine, seen_by
from netinnet.bench.turns import Results
from netinnet.costs import table
from netinnet.errors import FrameworkError, NetinnetError
from netinnet.frameworks import FRAMEWORKS
from netinnet.fresh_process import ask
from netinnet.networks.zoo import describe
from netinnet.optimizer import Optimizer
from netinnet.version import VERSION
from tests.browser import BROWSER
from tests.conftest import nin

OURS = Contestant("netinnet", "prediction", {"engine": "ours", "batch": 2}, True)
SLOW = Contestant("slow", "peer", {"speed": 10})
FAST = Contestant("fast", "peer", {"speed": 20})
HERE = machine()
CONTEST = Contest("race", "A race", "pictures/s", (OURS, SLOW, FAST))


def quiet(_: turns.Turn) -> None:
    pass


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Instead of processes: the contestants measured, in order. Ours is at 15, and 30 at last."""
    order: list[str] = []

    def answer(module: str, request: Any, python: str | None = None) -> dict[str, float]:
        assert module == turns.ALONE
        order.append(request["module"])
        speed = request["options"].get("speed", 30 if order.count("prediction") == 3 else 15)
        return {"value": speed, "memory": 1e6 * len(order), "peak": 1e11}

    monkeypatch.setattr(turns, "ask", answer)
    return order


def failing(answer: Any, reason: str) -> Any:
    """The same answers, but FAST fails."""

    def fail(module: str, request: Any, python: str | None = None) -> Any:
        if request["options"].get("speed") == 20:
            raise FrameworkError(reason)
        return answer(module, request)

    return fail


def test_contestants_take_turns_and_ratios_are_of_a_round(asked: list[str], tmp_path: Path) -> None:
    results = turns.run(CONTEST, tmp_path, 3, quiet, HERE)
    assert asked == ["prediction", "peer", "peer"] * 3
    found = verdict.judged(CONTEST, results)
    assert found.fastest_peer == "fast"
    ours, slow, fast = found.rows
    assert ours.ratio == verdict.Spread(0.75, 0.75, 1.5)
    assert (slow.ratio, fast.ratio) == (None, None)
    assert ours.memory == 7e6
    assert page.cells(found)[0] == (
        *("netinnet", "15", "15 to 30", "3", "7.00 MB", "100"),
        "0.75 (0.75 to 1.50), too noisy to tell",
    )
    assert page.cells(found)[2][0] == "fast (fastest peer)"


def test_less_may_be_better(asked: list[str], tmp_path: Path) -> None:
    contest = replace(CONTEST, less_is_better=True)
    found = verdict.judged(contest, turns.run(contest, tmp_path, 2, quiet, HERE))
    assert found.fastest_peer == "slow"
    assert found.rows[0].ratio == verdict.Spread(10 / 15, 10 / 15, 10 / 15)


def test_an_interrupted_contest_goes_on(asked: list[str], tmp_path: Path) -> None:
    def stop(turn: turns.Turn) -> None:
        if (turn.round, turn.who.name, turn.value) == (2, "slow", None):
            assert turn.seconds_left is not None
            assert turn.seconds_left >= 0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        turns.run(CONTEST, tmp_path, 3, stop, HERE)
    assert len(asked) == 4
    results = turns.run(CONTEST, tmp_path, 3, quiet, HERE)
    assert len(asked) == 9
    assert [list(r) for r in results.rounds] == [["netinnet", "slow", "fast"]] * 3
    assert turns.run(CONTEST, tmp_path, 3, quiet, HERE).rounds == results.rounds
    assert len(asked) == 9


def test_who_fails_or_is_missing_is_left_out_with_the_reason(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "ask", failing(turns.ask, "no compiler here"))
    absent = Contestant("absent", "peer", {"speed": 1}, needs=("json", "no_such_package"))
    contest = replace(CONTEST, contestants=(*CONTEST.contestants, absent))
    found = verdict.judged(contest, turns.run(contest, tmp_path, 2, quiet, HERE))
    assert [row.name for row in found.rows] == ["netinnet", "slow"]
    assert found.left_out == {
        "absent": "no_such_package is not installed",
        "fast": "no compiler here",
    }
    text = page.section(found)
    assert "Left out: fast: no compiler here." in text
    alone = replace(CONTEST, name="alone", contestants=(absent,))
    with pytest.raises(NetinnetError, match=r"^alone: nothing could be measured: absent: no_such_"):
        turns.run(alone, tmp_path, 1, quiet, HERE)


def test_mxnet_is_measured_in_its_own_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pythons: dict[str, str | None] = {}

    def answer(module: str, request: Any, python: str | None = None) -> dict[str, float]:
        name = request["options"].get("framework", request["module"])
        pythons[name] = python
        return {"value": 1.0, "memory": 1e6, "peak": 1e11}

    monkeypatch.setattr(turns, "ask", answer)
    small = contests(QUICK, "/there/python")["small"]
    monkeypatch.setattr(Contestant, "missing", None)
    turns.run(small, tmp_path, 1, quiet, HERE)
    assert {name for name, python in pythons.items() if python == "/there/python"} == {"mxnet"}
    assert {python for name, python in pythons.items() if name != "mxnet"} == {None}


@pytest.mark.parametrize(
    ("program", "line"),
    [
        (None, "no Python: No such file or directory"),
        ("echo last >&2; exit 1", "no environment with mxnet and netinnet: last"),
        ("exit 3", "no environment with mxnet and netinnet: it ended with status 3"),
        ("echo 0.0.1 1.9.1", f"netinnet there is 0.0.1, and here {VERSION}"),
    ],
)
def test_another_python_must_have_mxnet(program: str | None, line: str, tmp_path: Path) -> None:
    python = tmp_path / "python"
    if program is not None:
        python.write_text(f"#!/bin/sh\n{program}\n")
        python.chmod(0o755)
    done = nin("bench", "small", "--mxnet-python", python, "--output", tmp_path / "out")
    assert (done.returncode, done.stderr) == (2, f"nin: {python}: {line}\n")
    assert not (tmp_path / "out").exists()


def test_its_version_is_kept_with_the_results(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho {VERSION} 1.9.1\n")
    python.chmod(0o755)
    assert machine(str(python))["versions"]["mxnet"] == "1.9.1"


def test_results_of_another_machine_are_not_mixed_in(asked: list[str], tmp_path: Path) -> None:
    turns.run(CONTEST, tmp_path, 1, quiet, HERE)
    file = tmp_path / "race.json"
    data = json.loads(file.read_text())
    data["machine"]["cores"] = 4096
    file.write_text(json.dumps(data))
    with pytest.raises(NetinnetError) as error:
        turns.run(CONTEST, tmp_path, 2, quiet, HERE)
    assert str(error.value) == (
        f"{file}: measured on another machine or with other versions: give another --output, "
        f"or remove it"
    )


def test_who_was_left_out_is_tried_again(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(turns, "ask", failing(turns.ask, "killed by signal 9"))
        assert list(turns.run(CONTEST, tmp_path, 2, quiet, HERE).left_out) == ["fast"]
    results = turns.run(CONTEST, tmp_path, 2, quiet, HERE)
    assert results.left_out == {}
    assert [list(r) for r in results.rounds] == [["netinnet", "slow", "fast"]] * 2


def test_rounds_of_another_size_are_not_mixed_in(asked: list[str], tmp_path: Path) -> None:
    turns.run(CONTEST, tmp_path, 1, quiet, HERE)
    with pytest.raises(NetinnetError) as error:
        turns.run(replace(CONTEST, size=QUICK.name), tmp_path, 2, quiet, HERE)
    assert str(error.value) == (
        f"{tmp_path / 'race.json'}: a full measurement, and this is a quick one: give another "
        f"--output, or --force to measure again"
    )


def test_the_page_says_of_what_size_results_are(asked: list[str], tmp_path: Path) -> None:
    results = turns.run(replace(CONTEST, size=QUICK.name), tmp_path, 1, quiet, HERE)
    assert "`nin bench race --quick`, pictures/s" in page.section(verdict.judged(CONTEST, results))
    results.size = FULL.name
    assert "`nin bench race`, pictures/s" in page.section(verdict.judged(CONTEST, results))


@pytest.mark.parametrize(
    ("info", "name"),
    [
        (
            "processor: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n"
            "flags\t: fpu avx2 avx512f avx512_bf16\n\nprocessor: 1\nmodel name: Another\n",
            "AMD EPYC (family 25, model 17, AVX2, AVX-512, bfloat16)",
        ),
        ("processor: 0\nBogoMIPS: 50.00\n", platform.processor() or platform.machine()),
    ],
)
def test_processors_of_one_name_are_told_apart(
    info: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(info)
    monkeypatch.setattr(machines, "CPU_INFO", tmp_path / "cpuinfo")
    assert machine()["processor"] == name


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mxnet", {"needs": ("mxnet",)}),
        ("chromium", {"outside": ("chromium",)}),
        ("onnxruntime-web", {"outside": ("chromium", "onnxruntime-web")}),
    ],
)
def test_a_program_outside_changes_the_machine_of_its_contests_only(
    name: str, change: dict[str, Any], asked: list[str], tmp_path: Path
) -> None:
    here = {**HERE, "versions": {**HERE["versions"], name: "1.9.1"}}
    turns.run(CONTEST, tmp_path, 1, quiet, here)
    assert turns.opened(CONTEST, tmp_path, seen_by(HERE)).rounds
    with_it = replace(CONTEST, contestants=(*CONTEST.contestants, replace(FAST, **change)))
    with pytest.raises(NetinnetError, match="measured on another machine or with other versions"):
        turns.opened(with_it, tmp_path, here)


@pytest.mark.parametrize(
    ("package", "version"), [('{"version": "1.30.0"}', "1.30.0"), ("[]", "unknown")]
)
def test_the_version_of_onnxruntime_web_is_its_packages(
    package: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "package.json").write_text(package)
    monkeypatch.chdir(tmp_path / "dist")
    assert machine(onnxruntime_web=".")["versions"]["onnxruntime-web"] == version
    (tmp_path / "package.json").unlink()
    assert machine(onnxruntime_web=".")["versions"]["onnxruntime-web"] == "unknown"


@pytest.mark.parametrize(
    ("said", "version"),
    [("Chromium 150.0.7871.100 built on Debian GNU/Linux 12", "150.0.7871.100"), ("", None)],
)
def test_the_version_of_chromium(
    said: str, version: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "chromium-browser"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert chromium.version() == version
    program.unlink()
    assert chromium.version() is None


@pytest.mark.parametrize("content", ["{", "[]", '{"contest": 1}', '{"race": {}}'])
def test_a_file_that_holds_no_results(content: str, tmp_path: Path) -> None:
    (tmp_path / "race.json").write_text(content)
    with pytest.raises(NetinnetError, match=r"race\.json: no results of nin bench: "):
        turns.run(CONTEST, tmp_path, 1, quiet, HERE)


@given(st.lists(st.floats(0.01, 100), min_size=1))
def test_a_ratio_is_clear_if_all_rounds_agree(ratios: list[float]) -> None:
    spread = verdict.Spread.of(ratios)
    assert spread.is_clear == (all(r > 1 for r in ratios) or all(r < 1 for r in ratios))
    assert spread.low <= spread.median <= spread.high


@pytest.mark.parametrize("name", contests(FULL))
def test_every_contest_has_ours_and_peers_that_exist(name: str) -> None:
    contest = contests(FULL)[name]
    assert {who.is_ours for who in contest.contestants} == {True, False}
    names = [who.name for who in contest.contestants]
    assert len(set(names)) == len(names)
    folder = Path(turns.__file__).parent / "peers"
    for who in contest.contestants:
        assert (folder / f"{who.module}.py").exists(), who
        assert (folder / f"{who.library}.py").exists(), who
    assert [c.name for c in contests(QUICK)[name].contestants] == names


def test_a_real_measurement() -> None:
    request = {"module": OURS.module, "library": OURS.library, "options": OURS.options}
    found = ask(turns.ALONE, request)
    assert found["value"] > 10
    assert found["peak"] > 1e9
    assert found["memory"] > 10e6


@pytest.mark.parametrize(("varied", "value"), [("pictures", 50_000), ("processes", 2)])
def test_a_training_is_a_point_of_the_scaling(
    varied: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def run(shape: Any, pictures: int, batch: int, **options: Any) -> whole_training.Trained:
        asked.append({"pictures": pictures, "batch": batch, **options})
        return whole_training.Trained(100.0, 2**30, 10_000)

    def of_step(network: Any, batch: int, threads: int | None) -> tuple[Any, Any]:
        asked.append({"batch": batch, "threads": threads})
        found = SimpleNamespace(process_bytes=2**28, peak_flops_per_second=1e11)
        return found, table.costs(network, batch, Optimizer("sgd", 0.9))

    monkeypatch.setattr(whole_training, "run", run)
    monkeypatch.setattr(scaling, "_of_step", of_step)
    monkeypatch.setattr(scaling, "cores", lambda: 3)
    point = scaling.measured(varied, value)
    if varied == "pictures":
        options = {"threads": 3, "processes": 1, "shards": None}
        batch, threads, pictures = 128, 3, 50_000
    else:
        options = {"threads": 1, "processes": 2, "shards": 8}
        batch, threads, pictures = 16, 2, 10_000
    assert asked[0] == {"pictures": pictures, "batch": 128, **options}
    assert asked[1] == {"batch": batch, "threads": threads}
    step = table.costs(describe("nin-small").network(), batch, Optimizer("sgd", 0.9)).total
    assert point.flops_per_second == pytest.approx(100 * step.training_flops / batch)
    assert point.bytes_measured == 2**30
    assert point.bytes_computed == 2**28 + 10_000 + step.training_bytes


@pytest.mark.slow
def test_a_whole_training() -> None:
    pytest.importorskip("torch")
    shape = describe("nin-small").network().input
    found = whole_training.run(shape, 256, 128, threads=1, processes=1, shards=None)
    assert found.images_per_second > 1
    assert found.peak_bytes is not None
    assert found.peak_bytes > 50e6
    assert found.picture_bytes == 256 * 28 * 28


@pytest.mark.parametrize("fails", [False, True])
def test_a_whole_training_is_asked_of_the_command(
    fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def run(words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.extend(words)
        assert (Path(words[words.index("--dataset") + 1]) / "train-images.npy").exists()
        found = {"images_per_second": 5.0, "peak_memory_bytes": None}
        error = "caution: x\nnin: there is no room\n" if fails else ""
        return subprocess.CompletedProcess(words, 2 * fails, json.dumps(found), error)

    monkeypatch.setattr(subprocess, "run", run)
    shape = describe("nin-small").network().input
    if fails:
        with pytest.raises(FrameworkError, match=r"^there is no room$"):
            whole_training.run(shape, 64, 32, threads=1, processes=2, shards=8)
    else:
        found = whole_training.run(shape, 64, 32, threads=1, processes=2, shards=8)
        assert found == whole_training.Trained(5.0, None, 64 * 28 * 28)
    for flag, value in {"--processes": "2", "--shards": "8", "--threads": "1"}.items():
        assert asked[asked.index(flag) + 1] == value


def test_what_cannot_be_measured_of_the_scaling_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends nothing; and where the system tells no memory there is none on the page."""
    heard: list[str] = []

    def measured(varied: str, value: float) -> scaling.Point:
        if varied == "processes":
            raise FrameworkError("no gloo here")
        return scaling.Point(varied, value, 1.0, 1e9, 1e10, None, None)

    monkeypatch.setattr(scaling, "measured", measured)
    file = tmp_path / "scaling.json"
    scaling.run(file, lambda varied, value, what: heard.append(f"{varied} {value} {what}"), HERE)
    found = scaling.kept(file, HERE)
    assert "processes" not in {point.varied for point in found}
    assert "processes 1 left out: no gloo here" in heard
    assert "| pictures trained on 2000 | " in page.write(tmp_path, [], found, [], "").read_text()


@pytest.mark.slow
def test_a_real_point_of_the_scaling(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    point = scaling.measured("width", 0.25)
    assert point.bytes_measured == pytest.approx(point.bytes_computed, rel=0.1)
    written = page.write(tmp_path, [], [point], [], "Here.")
    assert "| width 0.25 |" in written.read_text()


LAYERS = (
    roofline.LayerTime("conv", "Conv2d", 8e9, 1e6, 0.1),
    roofline.LayerTime("norm", "BatchNorm", 0.0, 4e7, 0.01),
    roofline.LayerTime("gap", "GlobalAvgPool", 0.0, 1e3, 1e-5),
)
ROOF = roofline.Roofline("net", 2, 1e11, 1e10, LAYERS)


def test_a_layer_waits_for_arithmetic_or_memory() -> None:
    assert [ROOF.bound(layer) for layer in LAYERS] == ["arithmetic", "memory", "memory"]
    assert ROOF.least_seconds(LAYERS[0]) == pytest.approx(0.08)
    assert ROOF.least_seconds(LAYERS[1]) == pytest.approx(0.004)
    assert ROOF.share == pytest.approx(0.0840001 / 0.11001)
    assert roofline_page.cells(ROOF) == [
        ("conv", "Conv2d", "100.0", "80", "0.0", "arithmetic", "80%"),
        ("norm", "BatchNorm", "10.0", "", "4.0", "memory", "40%"),
        ("1 other layer", "", "0.0", "", "", "", ""),
        ("all", "", "110.0", "73", "", "", "76%"),
    ]


def test_a_roofline_is_kept_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def answer(module: str, request: Any) -> dict[str, Any]:
        assert module == roofline.peer(request["framework"])
        asked.append((request["framework"], request["recipe"]))
        title = FRAMEWORKS[request["framework"]].title
        network = {"book": "nin", "fashion": "nin-small"}[request["recipe"]]
        roof = replace(ROOF, framework=title, network=network)
        return json.loads(json.dumps(asdict(roof)))

    monkeypatch.setattr(roofline, "ask", answer)
    monkeypatch.setattr(
        roofline, "PACKAGES", {"pytorch": "json", "tensorflow": "no_such_package", "jax": "json"}
    )
    file, said = tmp_path / "roofline.json", list[str]()
    roofline.run(file, said.append, HERE)
    assert "left out, no_such_package is not installed: book in tensorflow" in said
    assert set(asked) == {*roofline.MEASURED} - {("tensorflow", "book")}
    monkeypatch.setattr(roofline, "PACKAGES", dict.fromkeys(roofline.PACKAGES, "json"))
    for _ in range(2):
        roofline.run(file, said.append, HERE)
    assert sorted(asked) == sorted(roofline.MEASURED)
    assert len(roofline.kept(file, HERE)) == len(roofline.MEASURED)
    written = page.write(tmp_path, [], [], [ROOF], "Here.").read_text()
    assert "## net in PyTorch, 2 pictures forward and backward, layer by layer" in written
    assert (tmp_path / "roofline.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize("content", ["{", "[1]", '[{"network": "n"}]', "[[]]"])
@pytest.mark.parametrize("kind", [roofline, scaling], ids=["roofline", "scaling"])
def test_other_files_are_no_results(kind: Any, content: str, tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    assert kind.kept(file, HERE) == []
    file.write_text(content)
    with pytest.raises(NetinnetError, match=r"found\.json: no results of nin bench: "):
        kind.kept(file, HERE)


@pytest.mark.slow
@pytest.mark.parametrize(("framework", "count"), [("pytorch", 7), ("tensorflow", 9), ("jax", 9)])
def test_a_real_roofline(framework: str, count: int) -> None:
    """Every layer that computes is there, and none beats the machine by more than Winograd may."""
    pytest.importorskip(roofline.PACKAGES[framework])
    found = ask(roofline.peer(framework), {"recipe": "fashion", "framework": framework})
    convolutions = [layer for layer in found["layers"] if layer["flops"]]
    # In PyTorch, 1×1 convolutions between batch norms are one.
    assert len(convolutions) == count
    assert all(layer["flops"] / layer["seconds"] < 4 * found["peak"] for layer in convolutions)
    assert found["bandwidth"] > 1e8


@pytest.mark.parametrize("name", ["small", "scaling", "roofline"])
def test_results_of_elsewhere_are_said_before_anything_is_measured(
    name: str, asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from netinnet.cli.main import run

    elsewhere = {**seen_by(HERE), "processor": "another"}
    file = tmp_path / f"{name}.json"
    if name == "small":
        Results(name, elsewhere, "full").write(file)
    else:
        kept.write(file, [], elsewhere)
    assert run(["bench", "predict-1", "--output", str(tmp_path)]) == 2
    assert f"{file}: measured on another machine or with other" in capsys.readouterr().err
    assert not asked


def test_a_page_of_ones_own_is_not_written_over(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from netinnet.cli.main import run

    (tmp_path / "bench.md").write_text("my notes")
    assert run(["bench", "predict-1", "--output", str(tmp_path)]) == 2
    assert "bench.md is no page of nin bench; choose another" in capsys.readouterr().err
    assert (tmp_path / "bench.md").read_text() == "my notes"
    assert not asked


@pytest.mark.parametrize("obstacle", ["my page", "another contest", "scaling"])
def test_force_removes_nothing_where_it_is_refused(
    obstacle: str, asked: list[str], tmp_path: Path
) -> None:
    from netinnet.cli.main import run

    command = ["bench", "predict-1", "--rounds", "1", "--output", str(tmp_path), "--force"]
    assert run(command) == 0
    elsewhere = {**seen_by(HERE), "processor": "another"}
    if obstacle == "my page":
        (tmp_path / "bench.md").write_text("my notes")
    elif obstacle == "scaling":
        kept.write(tmp_path / "scaling.json", [], elsewhere)
    else:
        Results("small", elsewhere, "full").write(tmp_path / "small.json")
    before = (tmp_path / "predict-1.json").read_bytes()
    asked.clear()
    assert run(command) == 2
    assert (tmp_path / "predict-1.json").read_bytes() == before
    assert not asked


def test_force_measures_again_what_is_of_elsewhere(asked: list[str], tmp_path: Path) -> None:
    from netinnet.cli.main import run

    file = tmp_path / "predict-1.json"
    Results("predict-1", {**seen_by(HERE), "processor": "another"}, "quick").write(file)
    command = ["bench", "predict-1", "--rounds", "1", "--output", str(tmp_path)]
    assert run(command) == 2
    assert run([*command, "--force"]) == 0
    assert Results.read(file).machine == seen_by(HERE)


def test_the_command(asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from netinnet.cli.main import run

    out = tmp_path / "out"
    assert run(["bench", "predict-1", "--rounds", "2", "--output", str(out), "--json"]) == 0
    shown = capsys.readouterr()
    data = json.loads(shown.out)
    assert data["contests"][0]["rows"][0]["name"] == "netinnet"
    assert "predict-1, round 2 of 2: netinnet 15 pictures/s" in shown.err
    assert "## Predictions of the shipped model, 1 at a time" in (out / "bench.md").read_text()
    before = len(asked)
    assert run(["bench", "predict-1", "--rounds", "2", "--output", str(out), "--quiet"]) == 0
    assert len(asked) == before
    assert "the page: " in capsys.readouterr().out
    assert run(["bench", "predict-1", "--rounds", "1", "--output", str(out), "--force"]) == 0
    assert len(asked) > before
    assert len(Results.read(out / "predict-1.json").rounds) == 1


def test_of_all_contests_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from netinnet.cli.main import run

    def answer(module: str, request: Any, python: str | None = None) -> dict[str, float]:
        if request["module"] == "page":
            raise FrameworkError("no Chromium here")
        return {"value": 2.0, "memory": 1e6, "peak": 1e11}

    monkeypatch.setattr(turns, "ask", answer)
    monkeypatch.setattr(Contestant, "missing", None)
    for kind in (scaling, roofline):
        monkeypatch.setattr(kind, "run", lambda *_: [])
    out = tmp_path / "out"
    assert run(["bench", "--rounds", "1", "--output", str(out), "--quiet", "--json"]) == 0
    said = "page: nothing could be measured: netinnet: no Chromium here; netinnet, plain JavaScript"
    assert f"left out: {said}" in " ".join(capsys.readouterr().err.split())
    assert not (out / "page.json").exists()
    assert (out / "small.json").exists()
    assert run(["bench", "page", "--rounds", "1", "--output", str(out)]) == 2
    assert f"nin: {said}" in capsys.readouterr().err


def test_the_page_is_measured() -> None:
    """In a browser; without the peer's files it is said what is missing."""
    pytest.importorskip("playwright")
    from netinnet.bench.peers import page as peer

    if BROWSER is None:
        pytest.skip("no Chromium here")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(peer, "ROUNDS", 1)
        assert peer.measure("WebAssembly") > 1.5 * peer.measure("JavaScript") > 1
    with pytest.raises(FrameworkError, match="--onnxruntime-web does not say where it is"):
        peer.measure("onnxruntime-web")
    with pytest.raises(
        FrameworkError, match=r"ort\.wasm\.min\.js: No such file or directory: give"
    ):
        peer.measure("onnxruntime-web", "/nowhere")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["chapters"], "nin: unknown contest 'chapters' (did you mean 'chapter'?)"),
        (["small", "--rounds", "0"], "nin: --rounds must be at least 1, got 0"),
    ],
)
def test_mistakes(arguments: list[str], line: str, tmp_path: Path) -> None:
    done = nin("bench", *arguments, "--output", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.startswith(line)
    assert not (tmp_path / "out").exists()
