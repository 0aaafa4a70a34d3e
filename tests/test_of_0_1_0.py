"""What netinnet 0.1.0 wrote is still read: a finished run, an interrupted one, a study.

They were made by 0.1.0 with PyTorch on a CPU: `nin-small` of width .15, 640 training pictures,
flips, crops, dropout and a validation split, Muon, 2 epochs; the interrupted one was killed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from netinnet.networks.network import Network
from netinnet.training.run import Run
from netinnet.weights import load
from tests.conftest import needs, nin

KEPT = Path(__file__).parent / "fixtures/0.1.0"
FINISHED = KEPT / "finished"


@pytest.mark.usefixtures("fashion_mnist")
def test_a_finished_run_is_evaluated() -> None:
    done = nin("evaluate", FINISHED, "--examples", "200", "--json")
    assert done.returncode == 0, done.stderr
    expected = json.loads((FINISHED / "metrics.json").read_text())["test"]
    assert json.loads(done.stdout)["accuracy"] == expected["accuracy"]
    assert json.loads(done.stdout)["loss"] == pytest.approx(expected["loss"], abs=1e-4)


@pytest.mark.parametrize("model", ["", "model.safetensors", "model.onnx"])
def test_a_finished_run_predicts(model: str, tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8)).save(tmp_path / "noise.png")
    done = nin("predict", tmp_path / "noise.png", "--model", FINISHED / model, "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["predictions"]) == 3


@needs("pytorch")
@pytest.mark.usefixtures("fashion_mnist")
def test_an_interrupted_run_goes_on_to_the_model_of_the_finished_one(tmp_path: Path) -> None:
    run = shutil.copytree(KEPT / "interrupted", tmp_path / "run")
    done = nin("train", "--resume", run, "--quiet")
    assert done.returncode == 0, done.stderr
    resumed, whole = (load(folder / "model.safetensors") for folder in (run, FINISHED))
    assert resumed.network == whole.network
    assert resumed.weights.keys() == whole.weights.keys()
    for name, array in whole.weights.items():  # to the bit on the machine that made them
        np.testing.assert_allclose(resumed.weights[name], array, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("folder", [FINISHED, KEPT / "interrupted"], ids=lambda path: path.name)
def test_its_description_says_the_same_in_today_s_words(folder: Path) -> None:
    network = Run(folder).network()
    assert Network.from_json(network.to_json()) == network
    assert "format" not in json.loads((folder / "network.json").read_text())
    assert Run(folder).dataset().name == "fashion-mnist"


@needs("pytorch")
@pytest.mark.usefixtures("fashion_mnist")
def test_a_study_goes_on_and_has_its_results(tmp_path: Path) -> None:
    study = shutil.copytree(KEPT / "study", tmp_path / "study")
    kept = json.loads((study / "runs/lenet/seed-0/metrics.json").read_text())
    done = nin("compare", "--resume", study, "--quiet", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["arm"]: row for row in json.loads(done.stdout)["networks"]}
    assert set(rows) == {"nin-small", "lenet"}
    assert rows["lenet"]["accuracy"]["mean"] == pytest.approx(kept["test"]["accuracy"])
    assert (study / "report.html").is_file()
