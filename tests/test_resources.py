"""What a network costs: counted by hand, and measured in a fresh process (a few seconds each)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from netinnet.costs import counts, measure, table
from netinnet.costs import memory as memory_model
from netinnet.costs import optimizer as optimizer_cost
from netinnet.errors import FrameworkError
from netinnet.frameworks import FRAMEWORKS
from netinnet.inference import model_files
from netinnet.networks import zoo
from netinnet.networks.blocks import Block
from netinnet.networks.layers import Conv, Flatten, GlobalAvgPool, Layer, MaxPool, ReLU, Shape
from netinnet.networks.network import Network
from netinnet.optimizer import Optimizer, TensorRole
from tests.conftest import needs, nin, some_slow

MOMENTUM = Optimizer("sgd", 0.9)


def small() -> Network:
    """3 channels of 8×8; conv 3×3 to 2 of 6×6, ReLU, pool to 3×3; 1×1 conv to 4 classes."""
    return Network(
        name="small",
        input=Shape(3, 8, 8),
        blocks=(
            Block("block1", (Conv(2, 3), ReLU(), MaxPool(2, 2))),
            Block("block2", (Conv(4), GlobalAvgPool(), Flatten())),
        ),
        classes=("a", "b", "c", "d"),
    )


BATCH = 10
FIRST, SECOND = 2 * 3 * 9 + 2, 4 * 2 + 4  # parameters
MAP, POOLED, CLASS_MAPS, LOGITS = BATCH * 2 * 36, BATCH * 2 * 9, BATCH * 4 * 9, BATCH * 4


def test_stored_by_each_layer() -> None:
    # The ReLU runs behind the pool, in place; the pool keeps its input and int64 positions; the
    # second convolution's output is needed by no backward pass.
    assert [
        (row.name, row.stored_bytes) for row in table.costs(small(), BATCH, MOMENTUM).layers
    ] == [
        ("block1.conv1", 4 * MAP),
        ("block1.pool1", 4 * POOLED + 8 * POOLED),
        ("block1.relu1", 0),
        ("block2.conv1", 0),
        ("block2.gap1", 0),
        ("block2.flatten1", 0),
    ]


def test_live_in_the_backward_pass() -> None:
    moments = memory_model.model(small(), BATCH, MOMENTUM).training
    found = {(moment.phase, moment.at): moment for moment in moments}
    # The pool's output was kept for the layers behind it; by now it is gone.
    assert found["backward", "block1.pool1"] == memory_model.Moment(
        phase="backward",
        at="block1.pool1",
        weights=4 * (FIRST + SECOND),
        optimizer_state=4 * (FIRST + SECOND),
        input=4 * BATCH * 3 * 64,
        gradients=4 * SECOND,
        stored=4 * MAP + 8 * POOLED,
        passing=4 * (POOLED + MAP + LOGITS),
    )
    # The first layer makes no gradient of its input; two copies of its kernel are workspace.
    first = found["backward", "block1.conv1"]
    assert first.passing == 4 * (MAP + LOGITS)
    assert first.workspace == 2 * 4 * (FIRST - 2)
    assert first.gradients == 4 * (FIRST + SECOND)
    update = found["update", "block1.conv1.weight"]
    assert update.stored == 0
    assert update.workspace == 3 * 4 * (FIRST - 2)


def test_live_in_prediction() -> None:
    moments = memory_model.model(small(), BATCH, MOMENTUM).prediction
    found = {moment.at: moment for moment in moments}
    assert found["block1.pool1"].passing == 4 * (MAP + POOLED)
    assert found["block1.pool1"].workspace == 8 * POOLED
    # The input of a block is held until the block is done.
    assert found["block2.gap1"].passing == 4 * (POOLED + CLASS_MAPS + LOGITS)
    assert not any(m.stored or m.gradients or m.optimizer_state for m in moments)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_precision_halves_all_but_positions(precision: str) -> None:
    full = memory_model.model(small(), BATCH, MOMENTUM)
    half = memory_model.model(small(), BATCH, MOMENTUM, precision)
    assert full.layers[1].stored_bytes - half.layers[1].stored_bytes == 2 * POOLED
    for field in ("weights", "input", "gradients", "optimizer_state", "passing"):
        whole = getattr(full.training_peak, field)
        assert getattr(half.training_peak, field) * 2 == whole


def test_training_macs_of_the_chapter() -> None:
    network = zoo.network("nin")
    # Forward, gradient of weights, gradient of input; the last not for the first layer.
    assert sum(counts.training_macs(network)) == 3 * 762_297_352 - 33_872_256


@pytest.mark.parametrize(
    ("optimizer", "values"),
    [
        (Optimizer("sgd"), 2),  # rate·gradient, the new weights
        (MOMENTUM, 3),  # velocity, rate·velocity, the new weights
        (Optimizer("sgd", weight_decay=0.1), 3),  # the decayed gradient too
    ],
    ids=["plain", "momentum", "weight decay"],
)
def test_an_update_by_hand(optimizer: Optimizer, values: int) -> None:
    role = TensorRole((5, 4))
    (update,) = optimizer_cost.updates(optimizer, {"weight": role})
    assert update == optimizer_cost.Update("weight", values * 20, 0)


def test_matrix_products_of_muon() -> None:
    role = TensorRole((5, 4))
    (update,) = optimizer_cost.updates(Optimizer("muon"), {"weight": role})
    # Five times, for the 4×5 matrix: its gram matrix, the gram's square, and one product with it.
    assert update.flops == 5 * 2 * (4 * 5 * 4 + 4 * 4 * 4 + 4 * 4 * 5)


NETWORKS = ("nin", "nin-small", "lenet", "alexnet", "vgg11-quarter")
CASES = {
    # Batch norm; overlapping pools; Muon.
    "nin-small-muon": ("nin-small", 32, Optimizer("muon", 0.9, True)),
    # At this batch the update is the peak.
    "lenet-adamw": ("lenet", 2, Optimizer("adamw")),
    # Dropout; kernels as large as activations.
    "nin-mnist-momentum": ("nin-mnist", 4, MOMENTUM),
}


@needs("pytorch")
@pytest.mark.parametrize(
    "case", ["nin-small-muon", *(pytest.param(c, marks=pytest.mark.slow) for c in [*CASES][1:])]
)
def test_measured_and_computed_agree(case: str) -> None:
    """Within 2 % in training; a prediction of two small pictures feels the threads' buffers."""
    name, batch, optimizer = CASES[case]
    network = zoo.network(name)
    computed = memory_model.model(network, batch, optimizer)
    measured = measure.in_fresh_process(network, batch, optimizer, "pytorch")
    assert measured.parameters == counts.total_cost(network).parameters
    assert measured.prediction_flops == 2 * batch * counts.total_cost(network).macs
    training_flops = 2 * batch * sum(counts.training_macs(network)) + computed.update_flops
    assert measured.training_flops == training_flops
    assert measured.training_bytes == pytest.approx(computed.training_peak.total, rel=0.02)
    within = 100_000 * measured.threads
    assert measured.prediction_bytes == pytest.approx(computed.prediction_peak.total, abs=within)
    assert measured.process_bytes is not None
    assert measured.process_training_bytes is not None
    assert measured.process_training_bytes > measured.process_bytes


@needs("pytorch")
@pytest.mark.slow
@pytest.mark.parametrize("begins", [(), (ReLU(),)], ids=["conv", "relu"])
def test_memory_of_residual_blocks(begins: tuple[Layer, ...]) -> None:
    """What is held for the sum, forward and backward; a ReLU not in place."""
    body = (*begins, Conv(32, 3, 1, 1), ReLU(), Conv(32, 3, 1, 1))
    blocks = (
        Block("a", (Conv(32),)),
        *(Block(f"b{i}", body, residual=True) for i in range(3)),
        Block("z", (GlobalAvgPool(), Flatten())),
    )
    network = Network("n", Shape(1, 28, 28), blocks, tuple(map(str, range(32))))
    computed = memory_model.model(network, 16, MOMENTUM)
    measured = measure.in_fresh_process(network, 16, MOMENTUM, "pytorch")
    assert measured.training_bytes == pytest.approx(computed.training_peak.total, rel=0.02)
    assert measured.prediction_bytes == pytest.approx(computed.prediction_peak.total, rel=0.02)


@needs("pytorch")
@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_of_the_chapter(name: str) -> None:
    done = nin("resources", name, "--batch", "128", "--measure", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for key, within in (("training_bytes", 0.1), ("prediction_bytes", 0.15)):
        assert found["measured"][key] == pytest.approx(found["total"][key], rel=within)


@needs("pytorch")
def test_the_command_measures() -> None:
    done = nin("resources", "lenet", "--batch", "16", "--measure")
    assert done.returncode == 0
    assert done.stderr == (
        "measuring lenet in PyTorch, batch 16: predictions, then training steps\n"
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["parameters", "61,706", "61,706", "1.000"] in rows
    speed = next(row for row in rows if row[:2] == ["images/s,", "training"])
    assert float(speed[2].replace(",", "")) > 0
    assert speed[-4:] == ["%", "of", "the", "peak"]


@pytest.mark.parametrize(
    "framework",
    # A process of its own for each; what the command prints of PyTorch is tested just above.
    some_slow([n for n, f in FRAMEWORKS.items() if f.is_installed], "pytorch", "tensorflow", "jax"),
)
def test_every_framework_is_measured(framework: str) -> None:
    """Speed and the process's peak in all; FLOPs and tensor bytes where the framework tells."""
    flags = ["--batch", "8", "--measure", "--framework", framework, "--json"]
    done = nin("resources", "lenet", *flags)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["measured"]
    assert found["framework"] == framework
    assert found["parameters"] == 61_706
    assert found["training_images_per_second"] > 0
    assert found["process_training_bytes"] >= found["process_bytes"] > 10_000_000
    for tells_only_pytorch in ("training_bytes", "prediction_bytes", "training_flops"):
        assert (found[tells_only_pytorch] is None) == (framework != "pytorch")


def test_a_run_or_a_model_file_is_a_network_too(tmp_path: Path) -> None:
    file = model_files.shipped()
    found = json.loads(nin("resources", file, "--json").stdout)
    assert (found["network"], found["total"]["parameters"]) == ("nin-small", 96_080)
    assert "96,080" in nin("summary", file).stdout
    done = nin("resources", file, "--image-size", "32")
    assert done.returncode == 2
    assert "has its own network; --image-size goes with one of the zoo" in done.stderr


def test_a_failing_process_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'Traceback' >&2\necho 'RuntimeError: broken' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(FrameworkError) as caught:
        measure.in_fresh_process(zoo.network("lenet"), 1, MOMENTUM, "pytorch")
    assert str(caught.value) == "measuring lenet in PyTorch: RuntimeError: broken"
    broken.write_text("#!/bin/sh\nkill -9 $$\n")
    with pytest.raises(FrameworkError) as caught:
        measure.in_fresh_process(zoo.network("lenet"), 1, MOMENTUM, "pytorch")
    assert str(caught.value) == (
        "measuring lenet in PyTorch: killed by signal 9; a smaller batch needs less memory"
    )


def test_json_adds_up() -> None:
    found = json.loads(nin("resources", "nin", "--batch", "8", "--json").stdout)
    assert found["total"]["parameters"] == 1_992_166
    assert found["total"]["macs"] == 762_297_352
    for phase in ("prediction", "training"):
        flops = sum(row[f"{phase}_flops"] for row in found["layers"])
        assert found["total"][f"{phase}_flops"] == 8 * flops
        peak = found[f"{phase}_peak"]
        parts = [value for value in peak.values() if isinstance(value, int)]
        assert found["total"][f"{phase}_bytes"] == sum(parts)
        assert max(row[f"{phase}_bytes"] for row in found["layers"]) == sum(parts)
    assert found["measured"] is None


def test_figure(tmp_path: Path) -> None:
    for name in ("nin.svg", "nin.png"):
        done = nin("resources", "nin", "--figure", tmp_path / name)
        assert done.returncode == 0, done.stderr
    ElementTree.parse(tmp_path / "nin.svg")  # noqa: S314
    assert (tmp_path / "nin.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("command", ["summary", "resources"])
def test_a_figure_is_not_written_over(command: str, tmp_path: Path) -> None:
    figure = tmp_path / "x.svg"
    figure.write_text("mine")
    done = nin(command, "lenet", "--figure", figure)
    assert (done.returncode, done.stdout, figure.read_text()) == (2, "", "mine")
    assert done.stderr == (
        f"nin: {figure} already exists; give another name, or --force to write over it\n"
    )
    assert nin(command, "lenet", "--figure", figure, "--force").returncode == 0
    ElementTree.parse(figure)  # noqa: S314


MISTAKES = {
    "batch": (["--batch", "0"], "--batch must be from 1 to 65,536, got 0"),
    "optimizer": (["--optimizer", "sdg"], "unknown optimizer 'sdg' (did you mean 'sgd'?)"),
    "momentum": (["--momentum", "1"], "momentum must be at least 0 and below 1, got 1"),
    "precision": (["--precision", "int8"], "unknown precision 'int8'"),
    "measured precision": (
        ["--precision", "float16", "--measure"],
        "--measure measures float32; leave out --precision float16",
    ),
    "figure": (["--figure", "x.pdf"], "--figure x.pdf: the name must end in .svg or .png"),
    "force": (["--force"], "--force needs --figure"),
    "framework": (["--framework", "torch"], "unknown framework 'torch' (did you mean 'pytorch'?)"),
    "size": (["--image-size", "50"], "nin needs at least 67×67"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(mistake: str, tmp_path: Path) -> None:
    arguments, message = MISTAKES[mistake]
    done = nin("resources", "nin", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("nin: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout
    assert not list(tmp_path.iterdir())
