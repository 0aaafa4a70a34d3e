"""Training: the run folder, exact resume, interruption, what the loop decides."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from netinnet import weights
from netinnet.data import datasets
from netinnet.errors import ModelError, NetinnetError
from netinnet.networks import zoo
from netinnet.training import recipe as recipes
from netinnet.training import run as runs
from netinnet.training.cautions import cautions
from netinnet.training.events import (
    DeadClass,
    Evaluation,
    Failed,
    Interrupted,
    OnnxFailed,
    Progress,
    Resume,
    of_kind,
)
from netinnet.training.parts import network_for
from netinnet.training.schedule import learning_rate
from tests.conftest import FRAMEWORK, QUICK, needs, nin

RECORD = datasets.find("fashion-mnist").record()
DROPOUT_RUN = [
    *("--framework", FRAMEWORK),
    *("--network", "nin-mnist", "--train-examples", "112", "--test-examples", "20"),
    *("--batch-size", "16", "--crop-padding", "2", "--validation", "0.1"),
    *("--checkpoint-seconds", "0", "--threads", "1"),
]
"""A run in which everything random is used: dropout, flips, crops, a validation split."""
THREE_EPOCHS = [*DROPOUT_RUN, "--epochs", "3"]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_run_folder(small_run: Path) -> None:
    names = {path.name for path in small_run.iterdir()}
    assert names >= {
        *("recipe.toml", "network.json", "events.jsonl", "checkpoints"),
        *("model.safetensors", "model.onnx", "metrics.json", "report.html"),
    }
    assert not [name for name in names if name.endswith(".tmp")]
    metrics = json.loads((small_run / "metrics.json").read_text())
    assert metrics["parameters"] == 96_080
    assert metrics["train_examples"] == 256
    for split in ("train", "test"):
        assert 0 < metrics[split]["accuracy"] < 1
        assert metrics[split]["loss"] > 0
    assert metrics["training_seconds"] > 0
    assert metrics["images_per_second"] > 0
    kinds = [event.kind() for event in runs.Run(small_run).events()]
    assert kinds[0] == "start"
    assert kinds[-1] == "end"
    assert kinds.count("evaluation") == 2


def test_it_learns(small_run: Path) -> None:
    metrics = json.loads((small_run / "metrics.json").read_text())
    # 16 steps on 256 pictures; chance is 0.1.
    assert metrics["train"]["accuracy"] > 0.5


def test_saved_model_has_the_logged_accuracy(small_run: Path) -> None:
    metrics = json.loads((small_run / "metrics.json").read_text())
    shown = nin("evaluate", small_run, "--examples", "100", "--json")
    assert json.loads(shown.stdout)["accuracy"] == pytest.approx(metrics["test"]["accuracy"])


def test_recipe_in_the_run_is_complete(small_run: Path) -> None:
    recipe = runs.Run(small_run).recipe()
    assert recipe.epochs == 2
    assert recipe.optimizer == "muon"
    assert network_for(recipe).to_json() + "\n" == (small_run / "network.json").read_text()


@needs("pytorch")  # of the others test_frameworks.py trains each twice
def test_same_seed_same_model(small_run: Path, tmp_path: Path) -> None:
    done = nin("train", *QUICK, "--output", tmp_path / "again", "--quiet")
    assert done.returncode == 0, done.stderr
    assert digest(tmp_path / "again/model.safetensors") == digest(small_run / "model.safetensors")
    other = nin("train", *QUICK, "--seed", "1", "--output", tmp_path / "other", "--quiet")
    assert other.returncode == 0, other.stderr
    assert digest(tmp_path / "other/model.safetensors") != digest(small_run / "model.safetensors")


def start(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "netinnet.cli.main", "train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_step(is_alive: Callable[[], bool], run: Path, step: int) -> None:
    """Return when the run has a checkpoint at or behind `step`, or has ended."""
    deadline = time.monotonic() + 120
    while is_alive() and time.monotonic() < deadline:
        found = sorted((run / "checkpoints").glob("step-*.safetensors"))
        if found and int(found[-1].stem[5:]) >= step:
            return
        time.sleep(0.002)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130)])
@pytest.mark.usefixtures("fashion_mnist")
def test_interrupt_saves_and_says_how_to_go_on(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    run = tmp_path / "run"
    process = start([*DROPOUT_RUN, "--epochs", "400", "--output", str(run)])
    wait_for_step(lambda: process.poll() is None, run, 3)
    process.send_signal(number)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == status
    assert f"saved; nin train --resume {run} continues it" in text
    assert "Traceback" not in text
    assert isinstance(runs.Run(run).events()[-1], Interrupted)
    assert "interrupted" in (run / "report.html").read_text().lower()
    unfinished = nin("evaluate", run)
    assert unfinished.returncode == 2
    assert f"nin train --resume {run} continues it" in unfinished.stderr


@pytest.mark.usefixtures("fashion_mnist")
def test_damaged_newest_checkpoint_falls_back(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start([*THREE_EPOCHS, "--output", str(run)])
    wait_for_step(lambda: process.poll() is None, run, 5)
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    newest = sorted((run / "checkpoints").glob("step-*"))[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    done = nin("train", "--resume", run, "--quiet")
    assert done.returncode == 0, done.stderr
    whole = nin("train", *THREE_EPOCHS, "--output", tmp_path / "whole", "--quiet")
    assert whole.returncode == 0, whole.stderr
    assert digest(run / "model.safetensors") == digest(tmp_path / "whole/model.safetensors")


@pytest.mark.usefixtures("fashion_mnist")
def test_kill_before_the_first_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = [*THREE_EPOCHS, "--output", str(run)]
    arguments[arguments.index("--checkpoint-seconds") + 1] = "1000"
    process = start(arguments)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if of_kind(runs.Run(run).events(), Evaluation):
            break
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    done = nin("train", "--resume", run, "--quiet")
    assert done.returncode == 0, done.stderr
    epochs = [event.epoch for event in of_kind(runs.Run(run).events(), Evaluation)]
    assert epochs == [1, 2, 3]


@pytest.mark.usefixtures("fashion_mnist")
def test_a_run_belongs_to_one_process_and_one_recipe(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start([*DROPOUT_RUN, "--epochs", "400", "--output", str(run)])
    wait_for_step(lambda: process.poll() is None, run, 2)
    second = nin("train", "--resume", run)
    assert second.returncode == 2
    assert "another process is training in this folder" in second.stderr
    process.terminate()
    process.communicate(timeout=60)
    recipe = run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("batch_size = 16", "batch_size = 32"))
    changed = nin("train", "--resume", run)
    assert changed.returncode == 2
    assert "made by another recipe, network or version" in changed.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--validation", "0.001"], "holds out none"),
        (["--validation", "0.999"], "leaves none to train on"),
        (["--image-size", "4", "--batch-size", "159"], "one value per channel"),
    ],
)
@pytest.mark.usefixtures("fashion_mnist")
def test_what_cannot_be_trained_leaves_no_run(
    flags: list[str], message: str, tmp_path: Path
) -> None:
    start = ("train", "--framework", FRAMEWORK, "--train-examples", "160")
    done = nin(*start, *flags, "--output", tmp_path / "run")
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("fashion_mnist")
def test_divergence_is_one_line_and_in_the_log(tmp_path: Path) -> None:
    done = nin(
        *("train", *QUICK, "--no-normalise", "--optimizer", "sgd", "--network", "nin-mnist"),
        *("--learning-rate", "900", "--no-logits-relu", "--output", tmp_path / "run"),
    )
    assert done.returncode == 2
    assert "use a learning rate below 900" in done.stderr
    assert isinstance(runs.Run(tmp_path / "run").events()[-1], Failed)


def test_default_folders_are_never_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = recipes.load("fashion")
    made = {runs.create(recipe, network_for(recipe), None, RECORD).folder for _ in range(5)}
    assert len(made) == 5


def test_a_start_killed_before_its_recipe_can_be_repeated(tmp_path: Path) -> None:
    recipe = recipes.load("fashion")
    network = network_for(recipe)
    run = runs.create(recipe, network, tmp_path / "run", RECORD)
    run.recipe_file.unlink()
    assert runs.create(recipe, network, tmp_path / "run", RECORD).recipe_file.is_file()


def test_resume_of_a_finished_run(small_run: Path) -> None:
    done = nin("train", "--resume", small_run)
    assert done.returncode == 2
    assert "the run is finished; nin evaluate" in done.stderr


@pytest.mark.usefixtures("fashion_mnist")
def test_dead_classes_are_named(tmp_path: Path) -> None:
    # A rate far too high kills the ReLU of the last convolution, as in the chapter's failed runs.
    done = nin(
        *("train", "--recipe", "book", "--framework", FRAMEWORK),
        *("--image-size", "67", "--learning-rate", "5"),
        *("--train-examples", "256", "--test-examples", "100", "--epochs", "2"),
        *("--output", tmp_path / "run"),
    )
    assert done.returncode == 0, done.stderr
    assert "caution: a ReLU follows the last convolution" in done.stderr
    assert "warning: class 'Ankle boot' is dead" in done.stderr
    assert "--no-logits-relu is the cure" in done.stderr
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert "Ankle boot" in metrics["dead_classes"]
    assert metrics["test"]["loss"] == pytest.approx(np.log(10), abs=0.1)
    assert "logits_relu = false" in (tmp_path / "run/report.html").read_text()


@pytest.mark.usefixtures("fashion_mnist")
def test_validation_is_held_out(tmp_path: Path) -> None:
    done = nin("train", *QUICK, "--validation", "0.25", "--output", tmp_path / "run", "--json")
    metrics = json.loads(done.stdout)
    assert metrics["train_examples"] == 192
    assert set(metrics["validation"]) == {"loss", "accuracy", "accuracy_interval"}


@pytest.mark.usefixtures("fashion_mnist")
def test_full_disk_is_one_line(tmp_path: Path) -> None:
    target = tmp_path / "run"
    script = f"ulimit -f 200; exec {sys.executable} -m netinnet.cli.main train "
    script += " ".join([*QUICK, "--checkpoint-seconds", "0", "--output", str(target)])
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((target / "checkpoints").glob("*"))


def test_one_cycle() -> None:
    recipe = recipes.load("fashion")
    rates = [learning_rate(recipe, step, 100) for step in range(1, 101)]
    assert max(rates) == pytest.approx(recipe.learning_rate, rel=0.03)
    assert rates.index(max(rates)) in (19, 20)
    assert rates[0] < 0.03 * max(rates)
    assert rates[-1] < 0.03 * max(rates)
    book = recipes.load("book")
    assert {learning_rate(book, step, 100) for step in range(1, 101)} == {0.1}


def test_book_recipe_is_the_chapters() -> None:
    recipe = recipes.load("book")
    net = network_for(recipe)
    assert net.blocks == zoo.network("nin").blocks
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate) == (10, 128, 0.1)
    assert recipe.initialisation == "xavier"
    assert net.preprocessing.mean == (0.0,)
    assert len(cautions(recipe, net)) == 1
    assert not cautions(recipe, network_for(recipe.replace(logits_relu=False)))


def progress(step: int) -> Progress:
    return Progress(step, step / 10, 2.0, 0.5, 100.0, 0.1, step / 100, 0.01)


def test_events_done_twice_count_once(tmp_path: Path) -> None:
    run = runs.Run(tmp_path)
    resume, dead = Resume("now", 1), DeadClass(1, 2, "a\u2028b")
    for event in (OnnxFailed("disk full"), *map(progress, (1, 2, 3)), resume, progress(2)):
        run.log(event)
    with run.events_file.open("a") as file:
        file.write('{"event": "progr')
    run.log(dead)
    assert run.events() == [OnnxFailed("disk full"), progress(1), resume, progress(2), dead]


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "no such run folder"),
        (lambda folder: folder.mkdir(), "not a run folder, it has no recipe.toml"),
        (
            lambda folder: (folder.mkdir(), (folder / "recipe.toml").write_text("epochs = ")),
            "its recipe is damaged",
        ),
    ],
)
def test_missing_or_damaged_run(tmp_path: Path, prepare: object, message: str) -> None:
    folder = tmp_path / "run"
    prepare(folder)  # type: ignore[operator]
    with pytest.raises(ModelError, match=message):
        runs.open_run(folder)


def test_output_that_is_taken(small_run: Path, tmp_path: Path) -> None:
    recipe = recipes.load("fashion")
    with pytest.raises(NetinnetError, match="holds a finished run already"):
        runs.create(recipe, network_for(recipe), small_run, RECORD)
    (tmp_path / "x").write_text("")
    with pytest.raises(NetinnetError, match="is not empty"):
        runs.create(recipe, network_for(recipe), tmp_path, RECORD)


@needs("pytorch")
def test_python_api(fashion_mnist: datasets.Dataset, tmp_path: Path) -> None:
    import torch

    import netinnet

    run = netinnet.train(
        "fashion", output=tmp_path / "run", epochs=1, train_examples=128, test_examples=50
    )
    model = netinnet.load(run.folder)
    assert isinstance(model, weights.Model)
    native = netinnet.load(run.folder, framework="pytorch")
    assert isinstance(native, torch.nn.Module)
    pictures = fashion_mnist.test.images[:5]
    from netinnet.preprocessing import prepare

    x = prepare(pictures, model.network.input, model.network.preprocessing)
    with torch.no_grad():
        logits = native.eval()(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()
    expected = netinnet.Predictor(model).logits(pictures)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


@needs("pytorch")
def test_build_gives_an_ordinary_module() -> None:
    import torch

    import netinnet

    net = netinnet.build("nin", framework="pytorch", seed=0, image_size=67)
    assert isinstance(net, torch.nn.Module)
    assert [name for name, _ in net.named_children()][:3] == ["block1", "pool1", "block2"]
    assert net(torch.rand(2, 1, 67, 67)).shape == (2, 10)
    first = net.state_dict()["block1.conv1.weight"]
    again = netinnet.build("nin", seed=0).state_dict()["block1.conv1.weight"]
    assert torch.equal(first, again)
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") is None or torch.cuda.is_available()


@needs("pytorch")
def test_plain_pytorch_code_trains_saves_and_composes_it(tmp_path: Path) -> None:
    import safetensors.torch
    import torch
    from torch import nn

    import netinnet

    net = netinnet.build("nin-small", framework="pytorch", seed=0)
    assert "(conv1): Conv2d(1, 48" in str(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    torch.manual_seed(0)
    x, labels = torch.rand(8, 1, 28, 28), torch.arange(8)
    losses = []
    for _ in range(5):
        loss = nn.functional.cross_entropy(net(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    safetensors.torch.save_file(net.state_dict(), tmp_path / "net.safetensors")
    other = netinnet.build("nin-small", framework="pytorch", seed=1)
    other.load_state_dict(safetensors.torch.load_file(tmp_path / "net.safetensors"))
    with torch.no_grad():
        assert torch.equal(other.eval()(x), net.eval()(x))
        block = netinnet.nin_block(32, 16, 3, padding=1, framework="pytorch")
        composed = nn.Sequential(net.block1, block, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        assert composed(x).shape == (8, 16)
