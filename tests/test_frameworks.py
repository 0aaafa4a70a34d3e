"""What every adapter must do, in each framework that is installed; test_agreement compares them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import netinnet
from netinnet import frameworks, weights
from netinnet.errors import FrameworkError, ModelError, NetworkError
from netinnet.frameworks import FRAMEWORKS
from netinnet.frameworks.learner import LearnerSettings
from netinnet.inference import onnx_graph
from netinnet.layout import native_tensors
from netinnet.networks import zoo
from netinnet.networks.blocks import Block
from netinnet.networks.layers import BatchNorm, Conv, Flatten, GlobalAvgPool, Shape
from netinnet.networks.network import Network
from netinnet.optimizer import Optimizer
from tests.conftest import ROOT, SMALL, nin, some_slow


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("network", ["nin-small", "lenet", "alexnet"])
def test_layouts_turn_back(framework: str, network: str) -> None:
    net = zoo.network(network)
    for name, tensor in native_tensors(net, framework).items():
        array = np.arange(np.prod(tensor.canonical_shape)).reshape(tensor.canonical_shape)
        native = tensor.to_native(array)
        assert native.shape == tensor.shape, name
        assert np.array_equal(tensor.to_canonical(native), array), name


INSTALLED = [name for name, found in FRAMEWORKS.items() if found.is_installed]


@pytest.mark.parametrize("framework", INSTALLED)
def test_a_block_by_itself_takes_any_size(framework: str) -> None:
    from tests.parity import native

    block = netinnet.nin_block(3, (8, 6, 4), 5, padding=2, framework=framework)
    for height, width in ((9, 9), (12, 7)):
        images = np.random.default_rng(0).uniform(size=(2, height, width, 3)).astype(np.float32)
        out = native(framework, block, images)
        channels_last = framework in ("tensorflow", "jax")
        assert out.shape == ((2, height, width, 4) if channels_last else (2, 4, height, width))
        assert out.min() >= 0
        assert out.max() > 0


@pytest.mark.parametrize("framework", INSTALLED)
def test_a_block_by_itself_may_be_residual(framework: str) -> None:
    """Its windows are 3×3 throughout; without the sum a ReLU makes all of it 0 or more."""
    from tests.parity import native

    block = netinnet.nin_block(4, 4, 3, 1, 1, framework=framework, inner=3, residual=True)
    images = np.random.default_rng(0).normal(size=(2, 9, 7, 4)).astype(np.float32)
    out = native(framework, block, images)
    x = images if framework in ("tensorflow", "jax") else images.transpose(0, 3, 1, 2)
    assert out.shape == x.shape
    assert (out - x).min() >= -1e-6
    assert (out - x).max() > 0.1
    with pytest.raises(NetworkError, match=r"^nin_block: block is residual, but makes 6×"):
        netinnet.nin_block(4, 6, 3, padding=1, framework=framework, residual=True)
    with pytest.raises(NetworkError, match=r"^nin_block: block is residual, but makes 4×2×2"):
        netinnet.nin_block(4, 4, 3, 2, 1, framework=framework, residual=True)


def test_a_block_by_itself_does_not_pad_by_a_size_that_it_does_not_know() -> None:
    """With a stride, "same" is another padding for another size; the four would differ."""
    framework = INSTALLED[0]
    assert netinnet.nin_block(3, 8, 3, framework=framework, same=True) is not None
    with pytest.raises(NetworkError, match="same with a stride pads by the size of the picture"):
        netinnet.nin_block(3, 8, 3, 2, framework=framework, same=True)


def own_network(*names: str) -> Network:
    """For 4×4 grey pictures: a convolution a block of these names, then the mean."""
    blocks = [Block(name, (Conv(4, 3, padding=1),)) for name in names]
    head = Block("mean", (Conv(2, 1), GlobalAvgPool(), Flatten()))
    return Network("own", Shape(1, 4, 4), (*blocks, head), ("a", "b"))


NAMES = {
    "pytorch": ("forward", "train", "append"),
    "jax": ("order", "eval", "train"),
    "mxnet": ("forward", "hybridize"),
    "tensorflow": (),
}


@pytest.mark.parametrize(
    ("framework", "name"), [(fw, name) for fw in INSTALLED for name in NAMES[fw]]
)
def test_a_block_has_no_name_that_the_frameworks_modules_use(framework: str, name: str) -> None:
    net, adapter = own_network(name), frameworks.adapter(framework)
    said = f"no block can be called '{name}', its modules use that name themselves; rename it"
    settings = LearnerSettings(net, Optimizer(), net.input)
    with pytest.raises(FrameworkError, match=said):
        adapter.build(net, weights.initial(net, 0))
    if framework in ("pytorch", "mxnet"):  # where the learner trains such modules
        with pytest.raises(FrameworkError, match=said):
            adapter.learner(settings, weights.initial(net, 0))


@pytest.mark.parametrize("names", [("_a", "net_a"), ("é", "net_xe9")])
def test_names_that_keras_could_not_tell_apart(names: tuple[str, ...]) -> None:
    pytest.importorskip("tensorflow")
    net, adapter = own_network(*names), frameworks.adapter("tensorflow")
    with pytest.raises(FrameworkError, match=f"'{names[0]}' and '{names[1]}' have the same"):
        adapter.build(net, weights.initial(net, 0))


@pytest.mark.parametrize("framework", INSTALLED)
def test_batch_norm_of_one_value_a_channel_is_one_line(framework: str) -> None:
    """Not numbers that are none, in any framework; two pictures are enough."""
    blocks = Block("norm", (Conv(4, 4), BatchNorm(), Conv(2, 1), GlobalAvgPool(), Flatten()))
    net = Network("own", Shape(1, 4, 4), (blocks,), ("a", "b"))
    every = [{}, {"shards": 2}] if framework == "pytorch" else [{}]
    for more in every:
        settings = LearnerSettings(net, Optimizer(), net.input, "cpu", **more)
        learner = frameworks.adapter(framework).learner(settings, weights.initial(net, 0))
        images, labels = np.ones((2, 4, 4, 1), np.float32), np.array([0, 1])
        with pytest.raises(FrameworkError, match="batch norm needs more than one value a channel"):
            learner.step(images[:1], labels[:1], 0.1, 1, 0)
        learner.step(images, labels, 0.1, 1, 0)
        assert all(np.isfinite(array).all() for array in learner.weights().values())


@pytest.mark.parametrize("framework", INSTALLED)
def test_a_model_read_is_the_model_built(framework: str) -> None:
    net = zoo.network("nin-small")
    drawn = weights.initial(net, 3)
    adapter = frameworks.adapter(framework)
    read = adapter.read(net, adapter.build(net, drawn))
    assert all(np.array_equal(read[name], value) for name, value in drawn.items())
    assert list(read) == list(drawn)


@pytest.mark.parametrize("framework", INSTALLED)
def test_an_unknown_device_is_one_line(framework: str) -> None:
    done = nin("train", *SMALL, "--framework", framework, "--device", "gpu:7")
    assert done.returncode == 2
    title = FRAMEWORKS[framework].title
    assert done.stderr.splitlines()[-1].startswith(f"nin: {title} has no device 'gpu:7' here; it")


@pytest.mark.usefixtures("fashion_mnist")
@pytest.mark.parametrize(
    "framework",
    # What an exact resume asks of each framework is in test_levers; a kill asks the same of all.
    some_slow(INSTALLED, "tensorflow", "jax", "mxnet"),
)
def test_kill_and_resume_change_nothing(framework: str, tmp_path: Path) -> None:
    """kill -9 in the middle of the second epoch; the resumed model is the undisturbed one's."""
    flags = [*SMALL, "--framework", framework, "--dropout", "0.3", "--checkpoint-seconds", "0"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert nin("train", *flags, "--output", whole, "--quiet").returncode == 0
    command = [sys.executable, "-m", "netinnet.cli.main", "train", *flags, "--output", str(killed)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    while not list((killed / "checkpoints").glob("step-0000001?.safetensors")):
        assert process.poll() is None, process.stderr.read()
    process.kill()
    process.wait()
    process.stderr.close()
    assert not (killed / "model.safetensors").exists()
    done = nin("train", "--resume", killed, "--quiet")
    assert done.returncode == 0, done.stderr
    ours, theirs = (
        hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        for folder in (whole, killed)
    )
    assert ours == theirs


@pytest.mark.usefixtures("fashion_mnist")
@pytest.mark.parametrize(
    ("trainer", "reader"),
    [
        # PyTorch's is read by TensorFlow, and JAX's by PyTorch: each way between the two layouts.
        pytest.param(*pair, marks=pytest.mark.slow if pair[0] == "tensorflow" else ())
        for pair in zip(INSTALLED, INSTALLED[1:] + INSTALLED[:1], strict=True)
    ],
)
def test_another_framework_reads_a_run(trainer: str, reader: str, tmp_path: Path) -> None:
    from PIL import Image

    run = tmp_path / "run"
    done = nin("train", *SMALL, "--framework", trainer, "--output", run, "--quiet")
    assert done.returncode == 0, done.stderr
    picture = tmp_path / "picture.png"
    Image.fromarray(np.arange(784, dtype=np.uint8).reshape(28, 28)).save(picture)
    for arguments in (
        ["evaluate", run, "--examples", "100"],
        ["predict", picture, "--model", run],
    ):
        by_onnx = nin(*arguments)
        done = nin(*arguments, "--framework", reader)
        assert done.returncode == 0, done.stderr
        assert done.stdout == by_onnx.stdout


def test_importing_netinnet_imports_no_framework() -> None:
    program = "import sys, netinnet, netinnet.frameworks, netinnet.layout\n" + (
        "print([m for m in ('torch', 'tensorflow', 'keras', 'jax', 'flax', 'mxnet')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_missing_framework_says_how_to_get_it() -> None:
    for name, found in FRAMEWORKS.items():
        if found.is_installed:
            continue
        with pytest.raises(FrameworkError) as caught:
            frameworks.adapter(name)
        assert str(caught.value).startswith(
            f"{found.title} is not installed; pip install 'netinnet[{name}]' installs it"
        )


def test_a_broken_framework_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mxnet.py").write_text("raise AttributeError('no bool\\nin numpy')\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / 'src'}"}
    done = nin("train", *SMALL, "--framework", "mxnet", env=environment)
    assert done.returncode == 2
    assert done.stderr == (
        "nin: MXNet is installed but does not import (no bool); pip install 'netinnet[mxnet]' "
        "installs it (in an environment of its own: Python 3.11 and NumPy below 1.24)\n"
    )


def test_the_frameworks_command() -> None:
    done = nin("frameworks", "--json")
    assert done.returncode == 0, done.stderr
    import json

    rows = json.loads(done.stdout)
    assert list(rows) == list(FRAMEWORKS)
    for name, row in rows.items():
        assert row["usable"] == (name in INSTALLED)
        assert bool(row["version"]) == row["usable"]
        assert ("cpu" in row["devices"]) == row["usable"]
        assert row["usable"] or "pip install" in row["reason"]


@pytest.mark.parametrize("framework", INSTALLED)
@pytest.mark.parametrize("name", ["end", "end_", "class_maps", "features"])
def test_class_maps_and_features_need_no_name_of_a_block(framework: str, name: str) -> None:
    """Of networks that end elsewhere, which are made for them."""
    net = own_network("first", name)
    model = weights.Model(net, weights.initial(net, 0))
    picture = np.zeros((2, 4, 4, 1), np.uint8)
    wanted = (onnx_graph.LOGITS, onnx_graph.CLASS_MAPS, onnx_graph.FEATURES)
    found = netinnet.Predictor(model, framework=framework).run(picture, wanted)
    expected = netinnet.Predictor(model).run(picture, wanted)
    for output in wanted:
        np.testing.assert_allclose(found[output], expected[output], atol=1e-5)


@pytest.mark.parametrize("framework", INSTALLED)
@pytest.mark.parametrize("fault", ["shape", "not finite", "missing"])
def test_a_predictor_checks_weights_in_every_framework(framework: str, fault: str) -> None:
    """As onnxruntime's does: a framework may broadcast a wrong shape, or answer with no number."""
    net = own_network("first")
    drawn = weights.initial(net, 0)
    name = "first.conv1.bias"
    if fault == "shape":
        drawn[name] = drawn[name][:1]
    elif fault == "not finite":
        drawn[name] = np.full_like(drawn[name], np.nan)
    else:
        del drawn[name]
    with pytest.raises(ModelError, match=f"tensor {name} "):
        netinnet.Predictor(weights.Model(net, drawn), framework=framework)


OUT_OF_MEMORY = """
import sys
from netinnet.cli.main import run
sys.exit(run(["train", "--network", "own.toml", "--framework", sys.argv[1], "--epochs", "1",
              "--train-examples", "2", "--test-examples", "2", "--batch-size", "2", "--quiet"]))
"""


@pytest.mark.parametrize("framework", some_slow(INSTALLED, "tensorflow", "jax"))
def test_memory_that_does_not_suffice_is_one_line(framework: str, tmp_path: Path) -> None:
    """No machine has what is asked for: a map of 2²⁰ rows and columns."""
    (tmp_path / "own.toml").write_text(
        'blocks = [{conv = ["classes"], kernel = 3, padding = 524288}, {head = "gap"}]\n'
    )
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY, framework],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("nin: ")
    assert "memory" in last.lower()
