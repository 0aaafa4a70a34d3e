"""No path in a file, and no link in a folder that may be a stranger's, leads out of its folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from attacks import paths
from netinnet.data import cifar, datasets
from netinnet.errors import DataError, ModelError
from netinnet.files import folder_name
from netinnet.formats import convert
from netinnet.inference import model_files
from netinnet.networks import zoo
from netinnet.studies import plan as plans
from netinnet.studies.arms import Arm
from netinnet.studies.plan import Plan
from netinnet.training import recipe as recipes
from netinnet.training import run as runs
from tests.conftest import FRAMEWORK, nin

RECIPE, LENET = recipes.load("fashion"), zoo.network("lenet")


def _tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Everything in a folder: content and time of change."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def _begin(base: Path) -> None:
    """A run and a study that have not trained yet, on a few pictures."""
    for place in range(8):
        split, label = ("train", "test")[place % 2], "ab"[place // 4]
        paths.picture(base / "data" / split / label / f"{place}.png", place)
    data = datasets.load(str(base / "data"))
    recipe = RECIPE.replace(
        **{"framework": FRAMEWORK, "network": "lenet", "epochs": 1, "threads": 1},
        **{"dataset": str(base / "data"), "batch_size": 4, "validation": 0.0, "evaluate": "test"},
    )
    arm = Arm("a", recipe, given=data.facts)
    runs.create(recipe, arm.network, base / "run", data.record)
    plans.write(
        plans.with_data(Plan("reliability", (arm,), (0,), threshold=0.5), {recipe.dataset: data}),
        base / "study",
    )


@pytest.mark.parametrize("name", paths.EXPLOITS)
def test_no_path_leads_out(name: str, tmp_path: Path) -> None:
    """Nothing of the victim's is changed, shown or copied."""
    exploit = paths.EXPLOITS[name]
    victim = paths.victim(tmp_path)
    if exploit.words[0] != "data":
        _begin(tmp_path)
    exploit.make(tmp_path)
    before = _tree(victim)
    done = nin(*exploit.words, cwd=tmp_path)
    said = done.stdout + done.stderr
    assert (done.returncode, exploit.said in " ".join(said.split())) == (exploit.status, True), said
    assert "secret.png:" not in said
    assert _tree(victim) == before
    for content, _ in _tree(tmp_path / exploit.words[-1]).values():
        assert paths.SECRET.encode() not in content
    assert paths.SECRET not in said


@hypothesis.given(st.text(min_size=1))
@hypothesis.example("..")
@hypothesis.example("../../victim")
@hypothesis.example("/etc/passwd")
@hypothesis.example("a/../..")
@hypothesis.example("\0")
def test_a_name_makes_a_folder_below_its_study(name: str) -> None:
    """Arms' names stand in study.toml, a network's in network.json."""
    made = folder_name(name)
    assert made not in ("", ".", "..")
    assert not {"/", "\\", "\0"} & {*made}
    job = plans.job(Path("study"), name, RECIPE, LENET)
    assert Path(os.path.normpath(job.folder)).is_relative_to("study/runs")


@pytest.mark.parametrize("name", paths.TARS)
def test_an_archives_links_and_devices_are_no_members(name: str, tmp_path: Path) -> None:
    """Only a plain file of exactly that name is read; nothing is unpacked."""
    sound = (paths.WANTED, paths.tarfile.REGTYPE, "content")
    assert cifar._unpacked(tmp_path / "a", paths.tar(sound), [paths.WANTED]) == [b"content"]
    content = paths.tar(("other", paths.tarfile.REGTYPE, paths.SECRET), paths.TARS[name])
    with pytest.raises(DataError, match=f"damaged, no {paths.WANTED} in it"):
        cifar._unpacked(tmp_path / "a", content, [paths.WANTED])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "link"),
    [("../model.weights.h5", False), ("/model.weights.h5", False), ("model.weights.h5", True)],
)
def test_a_keras_archive_is_not_unpacked(name: str, link: bool, tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    path = tmp_path / "in/a.keras"
    path.parent.mkdir()
    paths.keras(path, name, link)
    with pytest.raises(ModelError, match=r"in/a\.keras: ") as refused:
        convert.read(path)
    assert "root:" not in str(refused.value)
    assert [p.name for p in tmp_path.rglob("*")] == ["in", "a.keras"]


def test_a_served_folder_shows_models_alone(tmp_path: Path) -> None:
    """A link in it to a model is followed: who puts files there chooses what is served."""
    catalog = pytest.importorskip("netinnet.serve.catalog")
    victim, folder = paths.victim(tmp_path), tmp_path / "models"
    folder.mkdir()
    (folder / "good.safetensors").symlink_to(model_files.shipped())
    os.mkfifo(folder / "pipe.safetensors")
    (folder / "device.onnx").symlink_to("/dev/zero")
    (folder / "gone.onnx").symlink_to("nowhere")
    (folder / "folder").symlink_to(victim)
    (folder / "..png").symlink_to(victim / "secret.png")
    said: list[str] = []
    models = catalog.Catalog([folder], 1, said.append)
    assert list(models.models) == ["good"]
    (folder / "secret.safetensors").symlink_to(victim / "secret.txt")
    models.refresh()
    assert list(models.models) == ["good"]
    (line,) = said
    assert line.startswith("secret: not loaded, it is left out: ")
    assert paths.SECRET not in line
    assert stat.S_ISFIFO((folder / "pipe.safetensors").stat().st_mode)
