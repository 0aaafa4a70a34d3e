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
from netinnet.errors import FrameworkError, NetworkError
from netinnet.frameworks import FRAMEWORKS
from netinnet.layout import native_tensors
from netinnet.networks import zoo
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
