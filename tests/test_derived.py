"""Nothing derived from a finished model (ONNX, report, tidying up) stands before its result."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netinnet.cli.main import run
from netinnet.frameworks import FRAMEWORKS
from netinnet.inference import onnx_graph
from netinnet.reports import html
from netinnet.studies import outcome
from netinnet.training.events import OnnxFailed, Start, of_kind
from netinnet.training.parts import load_data
from netinnet.training.run import Run
from tests.conftest import FRAMEWORK

pytestmark = pytest.mark.skipif(
    not FRAMEWORKS[FRAMEWORK].is_installed, reason="no framework is installed"
)
TRAIN = (
    *("train", "--framework", FRAMEWORK, "--network", "lenet", "--epochs", "1", "--batch-size"),
    *("50", "--train-examples", "100", "--test-examples", "50", "--checkpoint-seconds", "0"),
)


def _copied(source: Path, target: Path) -> Run:
    shutil.copytree(source, target)
    return Run(target)


@pytest.mark.usefixtures("fashion_mnist")
def test_weights_beyond_onnx_are_said_first_and_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(onnx_graph, "LARGEST_FILE", 1000)
    folder = tmp_path / "run"
    assert run([*TRAIN, "--output", str(folder)]) == 0
    err = capsys.readouterr().err
    reason = "weights of 0.0 GiB exceed ONNX's 2 GiB"
    caution = f"model.onnx can't be written: {reason}; model.safetensors is written"
    assert f"caution: {caution}" in err
    assert f"warning: model.onnx could not be written: lenet: {reason}" in err
    finished = Run(folder)
    assert finished.is_finished
    assert finished.report_file.is_file()
    assert not finished.onnx_file.exists()
    assert not list(finished.checkpoints.iterdir())
    (start,) = of_kind(finished.events(), Start)
    assert start.cautions == [caution]
    (failed,) = of_kind(finished.events(), OnnxFailed)
    assert reason in failed.reason
    # What can be done with it is.
    picture = tmp_path / "a.png"
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(picture)
    assert run(["predict", str(picture), "--model", str(folder)]) == 2
    assert capsys.readouterr().err.endswith(
        "exceed ONNX's 2 GiB; name a framework: --framework pytorch (from Python "
        "framework='pytorch')\n"
    )
    assert run(["predict", str(picture), "--model", str(folder), "--framework", FRAMEWORK]) == 0
    outcome.judge(finished, load_data(finished.recipe(), None, lambda event: None))
    assert json.loads((folder / outcome.OUTCOME_FILE).read_text())["state"] == "finished"


def _fail(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.usefixtures("fashion_mnist")
@pytest.mark.parametrize(
    ("owner", "name", "warning"),
    [
        (onnx_graph, "to_onnx", "model.onnx could not be written: OSError: [Errno 28] No space"),
        (html, "write", "the report could not be written: OSError: [Errno 28] No space"),
        (Run, "remove_checkpoints", "the checkpoints could not be removed: OSError: [Errno 28]"),
    ],
)
def test_a_failure_behind_the_result_is_a_warning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    owner: object,
    name: str,
    warning: str,
) -> None:
    monkeypatch.setattr(owner, name, _fail)
    assert run([*TRAIN, "--output", str(tmp_path / "run")]) == 0
    assert f"warning: {warning}" in capsys.readouterr().err
    assert Run(tmp_path / "run").metrics()["steps"] == 2
    assert Run(tmp_path / "run").model()


@pytest.mark.parametrize("missing", ["model.onnx", "report.html"])
def test_resume_completes_a_finished_run(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    copy = _copied(small_run, tmp_path / "run")
    (copy.folder / missing).unlink()
    assert run(["train", "--resume", str(copy.folder)]) == 0
    assert "test acc" in capsys.readouterr().out
    assert copy.onnx_file.read_bytes() == (small_run / "model.onnx").read_bytes()
    assert "Confusion" in copy.report_file.read_text()
    assert copy.metrics_file.read_bytes() == (small_run / "metrics.json").read_bytes()
    assert run(["train", "--resume", str(copy.folder)]) == 2
    assert "the run is finished; nin evaluate" in capsys.readouterr().err
