"""The site's links and navigation, the picture of the rooms, and the project's papers."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from netinnet.version import VERSION
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(not (ROOT / "mkdocs.yml").exists(), reason="needs the source tree")
REPOSITORY = "https://forge.example/nin"


def tool(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"tools/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize(
    ("source", "link", "on_site"),
    [
        ("README.md", "docs/training.md", "training.md"),
        ("README.md", "docs/findings/why-nin-fails.md", "findings/why-nin-fails.md"),
        ("README.md", "docs/images/page.png", "images/page.png"),
        ("README.md", "SECURITY.md", "security.md"),
        ("README.md", "LICENSE", f"{REPOSITORY}/blob/main/LICENSE"),
        ("docs/training.md", "own-pictures.md", "own-pictures.md"),
        ("docs/training.md", "own-pictures.md#train", "own-pictures.md#train"),
        ("docs/findings/why-nin-fails.md", "../log.md", "../log.md"),
        ("docs/findings/why-nin-fails.md", "../../CONTRIBUTING.md", "../contributing.md"),
        ("docs/log.md", "../Makefile", f"{REPOSITORY}/blob/main/Makefile"),
        ("docs/log.md", "nothing.md", "nothing.md"),
        ("docs/log.md", "https://arxiv.org/abs/1312.4400", "https://arxiv.org/abs/1312.4400"),
        ("docs/log.md", "#the-top", "#the-top"),
    ],
)
def test_links_lead_to_the_same_place_on_the_site(source: str, link: str, on_site: str) -> None:
    assert (
        tool("site_pages").linked(f"a [b]({link}) c", source, REPOSITORY) == f"a [b]({on_site}) c"
    )


def test_every_page_has_a_place_in_the_navigation() -> None:
    yaml = pytest.importorskip("yaml")

    def pages(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        items = entry if isinstance(entry, list) else entry.values()
        return [page for item in items for page in pages(item)]

    named = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"])
    docs = {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}
    assert len(named) == len(set(named))
    assert set(named) == docs | set(tool("site_pages").PAGES.values())
    assert named[0] == "index.md"


def test_the_picture_of_the_rooms_is_the_contract() -> None:
    picture = tool("rooms_picture")
    assert (ROOT / "docs/images/rooms.svg").read_text("utf-8") == picture.drawn(), (
        "make docs-tables draws it anew"
    )
    rooms = {p.stem for p in (ROOT / "src/netinnet").iterdir() if not p.name.startswith("__")}
    code = {name for name in rooms if picture.is_there(name)}
    folders_of_data = {"recipes", "zoo", "models"}
    assert code - folders_of_data == {n for row in picture.layers() for n in row} & code
    about = picture.descriptions()
    alone = [row[0] for row in picture.layers()[1:] if len(row) == 1]
    assert [name for name in alone if picture.is_there(name) and not about.get(name)] == []


def test_the_version_is_said_once_and_everywhere_the_same() -> None:
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [VERSION]
    (date,) = re.findall(r'^date-released: "(.+)"$', citation, re.MULTILINE)
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"\n## {VERSION} ({date})\n" in changes


@pytest.mark.parametrize(
    "file", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda p: p.name
)
def test_workflows_call_targets_that_there_are(file: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    text = file.read_text("utf-8")
    called = {word for line in re.findall(r"run: make (.+)", text) for word in line.split()}
    matrix = re.findall(r"target: \[(.+)\]", text)
    called = {w for w in called if w.isidentifier()} | {
        word for names in matrix for word in names.split(", ")
    }
    assert called
    assert called <= targets


def test_the_papers_speak_of_files_that_are_there() -> None:
    """Files, targets and tests that CONTRIBUTING.md names."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    for path in re.findall(r"`((?:tests|requirements|docs)/[\w./]*)`", text):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"`((?:networks|data|cli)/\w+\.py)`", text):
        assert (ROOT / "src/netinnet" / path).exists(), path
    for path in re.findall(r"tests/test_\w+\.py", text):
        assert (ROOT / path).exists(), path


def test_the_classifiers_say_what_is_required() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert "Programming Language :: Python :: 3.11" in project["classifiers"]
    assert project["requires-python"] == ">=3.11"
    assert {url.split("/")[2] for url in project["urls"].values()} == {"github.com"}
