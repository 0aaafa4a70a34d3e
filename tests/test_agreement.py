"""The same numbers in all four frameworks: logits, classes, losses and weights of a training.

Each framework computes in a process of its own (tests/parity.py), MXNet in its own environment.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from netinnet.frameworks import FRAMEWORKS
from netinnet.networks import zoo
from tests.conftest import ROOT, made_once, needs
from tests.parity import LONG_TRAININGS, TRAININGS, WIDTHS

Computed = Callable[..., dict[str, np.ndarray]]
LONG = [tuple(map(str, what)) for what in LONG_TRAININGS]


def interpreter(framework: str) -> str:
    """The Python that has the framework: this one, or MXNet's own environment."""
    if framework == "onnx" or FRAMEWORKS[framework].is_installed:
        return sys.executable
    own = os.environ.get("NETINNET_MXNET_PYTHON") or str(ROOT / ".venv-mxnet/bin/python")
    if framework == "mxnet" and Path(own).exists():
        return own
    pytest.skip(f"{FRAMEWORKS[framework].title} is not installed")


@pytest.fixture(scope="session")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Computed:
    """What tests/parity.py computes with a framework, once for all tests."""

    def compute(framework: str, *what: str) -> dict[str, np.ndarray]:
        if what[0] in ("logits", "classes"):
            program, what = what[1], what[:1]
        else:
            program = "long" if what[0] == "train" and what[1:] in LONG else "pictures"

        def make(folder: Path) -> None:
            command = [interpreter(framework), ROOT / "tests/parity.py", framework, program, folder]
            environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
            done = subprocess.run(
                [*map(str, command)], capture_output=True, text=True, check=False, env=environment
            )
            assert done.returncode == 0, done.stderr[-2000:]

        folder = made_once(f"parity-{framework}-{program}", tmp_path_factory, make)
        with np.load(folder / f"{'-'.join(what)}.npz") as file:
            return dict(file)

    return compute


@needs("pytorch")
@pytest.mark.parametrize("kind", ["learner", "native"])
@pytest.mark.parametrize("program", ["networks", pytest.param("full", marks=pytest.mark.slow)])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_same_logits(framework: str, program: str, kind: str, computed: Computed) -> None:
    """Of networks of the zoo, against ONNX's own evaluator: 1e-5 of the largest logit."""
    reference = computed("onnx", "logits", program)
    assert set(reference) == set(zoo.ZOO if program == "full" else WIDTHS)
    found = computed(framework, "logits", program)
    for name, expected in reference.items():
        assert abs(expected).max() > 1e-3, name
        error = abs(found[f"{kind}/{name}"] - expected).max() / abs(expected).max()
        assert error <= 1e-5, f"{name}: {error:.1e}"


@needs("pytorch")
@pytest.mark.usefixtures("fashion_mnist")
@pytest.mark.parametrize("framework", [name for name in FRAMEWORKS if name != "pytorch"])
@pytest.mark.parametrize(
    ("program", "count"),
    [("pictures", 1_000), pytest.param("long", 10_000, marks=pytest.mark.slow)],
)
def test_the_same_classes(program: str, count: int, framework: str, computed: Computed) -> None:
    """The shipped model on the test pictures; only ties may differ."""
    ours = computed("pytorch", "classes", program)["logits"]
    theirs = computed(framework, "classes", program)
    assert len(ours) == count
    ranked = np.sort(ours, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > 1e-5 * abs(ours).max()
    assert clear.sum() > 0.999 * count
    assert (ours.argmax(1) == theirs["logits"].argmax(1))[clear].all()


@needs("pytorch")
@pytest.mark.usefixtures("fashion_mnist")
@pytest.mark.parametrize(
    "what",
    [*TRAININGS, *(pytest.param(what, marks=pytest.mark.slow) for what in LONG_TRAININGS)],
    ids=lambda what: f"{what[0]}-{what[1]}-{what[2]}",
)
@pytest.mark.parametrize("pair", list(itertools.combinations(FRAMEWORKS, 2)), ids="-".join)
def test_the_same_training(
    pair: tuple[str, str], what: tuple[str, int, str], computed: Computed
) -> None:
    """From the same weights on real pictures: losses to 1e-4, all tensors to 1e-3."""
    arguments = ("train", *map(str, what))
    ours, theirs = (computed(framework, *arguments) for framework in pair)
    assert set(ours) == set(theirs)
    assert len(ours["losses"]) == what[1]
    np.testing.assert_allclose(theirs["losses"], ours["losses"], rtol=1e-4)
    for name in ours:
        if name.startswith("weights/"):
            error = np.linalg.norm(theirs[name] - ours[name]) / np.linalg.norm(ours[name])
            assert error <= 1e-3, f"{name}: {error:.1e}"


@needs("pytorch")
@pytest.mark.usefixtures("fashion_mnist")
@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adamw", "muon"])
@pytest.mark.parametrize("pair", list(itertools.combinations(FRAMEWORKS, 2)), ids="-".join)
def test_the_same_updates(pair: tuple[str, str], optimizer: str, computed: Computed) -> None:
    """At rates as one trains with: how far each tensor moved, and what the optimiser keeps."""
    ours, theirs = (
        {
            name.removeprefix(f"{optimizer}/"): array
            for name, array in computed(framework, "updates").items()
            if name.startswith(f"{optimizer}/")
        }
        for framework in pair
    )
    assert set(ours) == set(theirs)
    np.testing.assert_allclose(theirs["losses"], ours["losses"], rtol=1e-5)
    compared = [name for name in ours if name.startswith(("moved/", "state/"))]
    assert any(name.startswith("state/") for name in compared) == (optimizer != "sgd")
    for name in compared:
        error = np.linalg.norm(theirs[name] - ours[name]) / np.linalg.norm(ours[name])
        assert error <= 1e-3, f"{name}: {error:.1e}"
