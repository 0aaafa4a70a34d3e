"""The command as a user meets it: answers, mistakes, start-up."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netinnet.data import datasets
from netinnet.frameworks import FRAMEWORKS
from tests.conftest import FRAMEWORK, QUICK, needs, nin

TITLE = FRAMEWORKS[FRAMEWORK].title
HEAVY = (
    "torch",
    "tensorflow",
    "jax",
    "mxnet",
    "onnx",
    "onnxruntime",
    "matplotlib",
    "PIL",
    "jinja2",
)


@pytest.fixture
def shirt(fashion_mnist: datasets.Dataset, tmp_path: Path) -> Path:
    path = tmp_path / "shirt.png"
    Image.fromarray(fashion_mnist.test.images[0, :, :, 0]).save(path)
    return path


MISTAKES = {
    "unknown command": (["trian"], 'Unknown command "trian"'),
    "unknown flag": (["train", "--epoch", "3"], "--epoch"),
    "not a number": (["train", "--epochs", "x"], 'unable to convert "x" into int'),
    "fraction": (["train", "--epochs", "1.5"], 'unable to convert "1.5" into int'),
    "fraction of a class": (["predict", "x.png", "--top", "1.6"], 'unable to convert "1.6"'),
    "unknown recipe": (
        ["train", "--recipe", "fashon"],
        "unknown recipe 'fashon' (did you mean 'fashion'?)",
    ),
    "unknown network": (
        ["train", "--network", "nin-smal"],
        "unknown network 'nin-smal' (did you mean 'nin-small'?)",
    ),
    "unknown framework": (["train", "--framework", "pytorh"], "(did you mean 'pytorch'?)"),
    "unknown data set": (
        ["evaluate", "--dataset", "fasion-mnist"],
        "(did you mean 'fashion-mnist'",
    ),
    "unknown optimizer": (["train", "--optimizer", "sdg"], "(did you mean 'sgd'?)"),
    "epochs": (["train", "--epochs", "0"], "--epochs: must be between 1 and 100000, got 0"),
    "rate": (["train", "--learning-rate", "-1"], "--learning-rate: must be between 1e-09 and 1000"),
    "dropout": (["train", "--dropout", "1"], "--dropout: must be below 1, got 1"),
    "validation": (
        ["train", "--validation", "1.5"],
        "--validation: must be between 0 and 1, got 1.5",
    ),
    "nesterov": (["train", "--momentum", "0"], "nesterov needs a momentum above 0"),
    "too small": (
        ["train", "--recipe", "book", "--image-size", "64"],
        "nin needs at least 67×67; got 64×64: nothing is left for the pool of block 3",
    ),
    "no such option": (
        ["train", "--network", "lenet", "--dropout", "0.1"],
        "lenet has no option dropout: leave it out",
    ),
    "device": (["train", *QUICK, "--device", "cuda:7"], f"{TITLE} has no device 'cuda:7' here"),
    "missing run": (["train", "--resume", "nowhere"], "nowhere: no such run folder"),
    "resume with field": (
        ["train", "--resume", "nowhere", "--seed", "1"],
        "--resume uses the run's own recipe; leave out --seed",
    ),
    "missing model": (["evaluate", "nowhere"], "nowhere: no such model file"),
    "folder without model": (["evaluate", "."], "no model in this folder"),
    "examples": (["evaluate", "--examples", "0"], "--examples must be at least 1, got 0"),
    "data-dir": (["evaluate", "--data-dir", "/nonexistent"], "/nonexistent"),
    "missing picture": (["predict", "none.png"], "none.png"),
    "top": (["predict", "x.png", "--top", "0"], "--top must be at least 1, got 0"),
    "summary": (["summary", "vgg"], "unknown network 'vgg'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(mistake: str, tmp_path: Path) -> None:
    arguments, message = MISTAKES[mistake]
    done = nin(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("nin: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.png", b"hello", "text.png"),
        ("empty.jpg", b"", "empty.jpg"),
        ("cut.png", None, "cut.png"),
    ],
)
def test_unreadable_picture(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is None:
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90), np.uint8)).save(path)
        content = path.read_bytes()[:900]
    path.write_bytes(content)
    done = nin("predict", path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_huge_picture_is_refused_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    small = io.BytesIO()
    Image.new("1", (8, 8)).save(small, "PNG")
    # Another size in the header, which has a checksum of its own behind it.
    header = b"IHDR" + struct.pack(">2I", 30_000, 30_000) + small.getvalue()[24:29]
    path.write_bytes(
        small.getvalue()[:12]
        + header
        + struct.pack(">I", zlib.crc32(header))
        + small.getvalue()[33:]
    )
    began = time.monotonic()
    done = nin("predict", path)
    assert done.returncode == 2
    assert "huge.png" in done.stderr
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("form", ["png", "jpg", "webp", "bmp"])
def test_predict(shirt: Path, tmp_path: Path, form: str) -> None:
    # Enlarged and in colour: the model converts it back.
    path = tmp_path / f"boot.{form}"
    Image.open(shirt).convert("RGB").resize((112, 112)).save(path)
    answer = json.loads(nin("predict", path, "--json").stdout)
    assert answer["predictions"][0]["name"] == "Ankle boot"
    assert answer["predictions"][0]["probability"] > 0.5
    assert len(answer["predictions"]) == 3
    shown = nin("predict", path, shirt, "--top", "1").stdout
    assert shown.count("Ankle boot") == 2


@pytest.mark.usefixtures("fashion_mnist")
def test_shipped_model() -> None:
    found = json.loads(nin("evaluate", "--json").stdout)
    assert found["count"] == 10_000
    assert found["accuracy"] > 0.93
    assert sum(map(sum, found["confusion"])) == 10_000
    from netinnet.inference import model_files

    assert model_files.shipped().stat().st_size <= 450_000


@pytest.mark.usefixtures("fashion_mnist")
def test_data_lists_and_verifies() -> None:
    found = json.loads(nin("data", "--json").stdout)
    assert found[0]["name"] == "fashion-mnist"
    assert found[0]["verified"] is True


def test_narrow_terminals_keep_numbers_whole() -> None:
    from netinnet.cli import console

    script = (
        "import sys; from netinnet.cli import console; console.WIDE = 60\n"
        "from netinnet.cli.main import run; run(['zoo'])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert console.WIDE > 60
    assert "1,992,166" in shown
    assert "nin-cifar100" in shown


PART_OF_PYTHON = (
    "import asyncio, email.message, http.server, logging.config, multiprocessing.managers,"
    " optparse, pydoc, tarfile, unittest.mock, xml.dom.minidom, xmlrpc.server"
)
"""A start-up of a known size: a ninth of a second where `nin --help` takes a seventh."""


@pytest.mark.parametrize("arguments", [["--help"], ["summary", "nin"]])
def test_start_up_is_quick(arguments: list[str]) -> None:
    """Less than twice what Python takes to import a part of its own library: how many seconds that
    is depends on the machine and on what else it does."""

    def seconds(*command: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    ours, pythons = [], []
    for _ in range(5):
        pythons.append(seconds("-c", PART_OF_PYTHON))
        ours.append(seconds("-m", "netinnet.cli.main", *arguments))
    assert min(ours) < 2 * min(pythons)


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--help"], ["train", "--help"], ["explain", "--help"]),
        *(["resources"], ["summary"], ["zoo"], ["data"]),
    ],
)
def test_nothing_heavy_is_imported(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom netinnet.cli.main import run\n"
        f"assert run({arguments}) == 0\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == "[]"


def test_import_netinnet_imports_no_framework() -> None:
    script = f"import netinnet, sys; print([n for n in {HEAVY} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.usefixtures("fashion_mnist")
def test_without_any_framework(shirt: Path, tmp_path: Path) -> None:
    """Everything but training works where no framework can be imported."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "for name in ('torch', 'tensorflow', 'jax', 'mxnet'):\n    sys.modules[name] = None\n"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for arguments in (["summary"], ["zoo"], ["data"], ["predict", str(shirt)], ["evaluate"]):
        done = nin(*arguments, env=env)
        assert done.returncode == 0, done.stderr
    missing = nin("train", *QUICK, env=env, cwd=tmp_path)
    assert missing.returncode == 2
    assert (
        f"{TITLE} is not installed; pip install 'netinnet[{FRAMEWORK}]' installs it"
        in missing.stderr
    )


@needs("pytorch")
@pytest.mark.usefixtures("fashion_mnist")
def test_plain_progress_and_last_lines(tmp_path: Path) -> None:
    done = nin("train", *QUICK, "--output", tmp_path / "run")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"nin-small (96,080 parameters), {FRAMEWORK} on ")
    assert any(line.startswith("epoch 1/2: loss ") for line in lines)
    assert re.fullmatch(r"loss [\d.]+, train acc [\d.]+, test acc [\d.]+", lines[-5])
    interval = r"test acc of \d+ pictures: 0\.\d+ to 0\.\d+ \(95 %, Wilson\)"
    assert re.fullmatch(interval, lines[-4])
    reason = "no pictures were held out from training: validation = 0.1 holds out a tenth"
    assert lines[-3] == f"not calibrated: {reason}"
    assert "images/s on" in lines[-2]
    assert lines[-1].startswith(f"run: {tmp_path / 'run'}")
    quiet = nin("train", *QUICK, "--output", tmp_path / "quiet", "--quiet")
    assert len(quiet.stdout.splitlines()) == 5
    assert quiet.stderr == ""
