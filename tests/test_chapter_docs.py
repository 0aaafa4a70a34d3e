"""The chapter retold: its code runs in every framework and prints what the page says.

The tests that run code or commands take 10 to 60 s each, on two cores, by what else runs there.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from netinnet.costs import counts
from netinnet.data import datasets
from netinnet.networks import zoo
from netinnet.networks.layers import Linear
from tests.conftest import FRAMEWORK, ROOT, needs, nin, some_slow
from tests.test_book import PACKAGES, run

DOCS = ROOT / "docs"
PAGES = {"en": DOCS / "chapter.md", "pt-BR": DOCS / "capitulo.pt-BR.md"}
CODE = re.compile(r"^```python (\w+)\n(.*?)^```\n\n```text (\w+)\n(.*?)^```", re.M | re.S)
COMMANDS = re.compile(r"^```sh\n(.*?)^```", re.M | re.S)
END = "--- end of block ---"
EXAMPLES = {"pytorch": 64, "tensorflow": 64, "mxnet": 64, "jax": 32}
"""Pictures of 224×224 in the shortened training; JAX's convolutions are slow on a CPU."""
SHORTER = {
    "fashion": "--train-examples 256 --test-examples 100 --batch-size 64 --epochs 1",
    "book": "--train-examples 64 --test-examples 32 --batch-size 32 --epochs 1 --image-size 67",
}


def text(language: str) -> str:
    return PAGES[language].read_text("utf-8")


def blocks(framework: str) -> list[tuple[str, str]]:
    """Code and stated output of a framework's blocks, in order."""
    found = CODE.findall(text("en"))
    return [(code, output) for name, code, other, output in found if name == other == framework]


def agrees(stated: str, printed: str) -> bool:
    """Whether the output is what the page says, where … stands for anything."""
    pattern = ".+?".join(re.escape(part) for part in stated.split("…"))
    return re.fullmatch(pattern, printed, re.S) is not None


def test_stated_output_is_taken_at_its_word() -> None:
    assert agrees("(1, 96, 54, 54)\nloss …, acc …\n", "(1, 96, 54, 54)\nloss 2.3, acc .1\n")
    assert not agrees("(1, 96, 54, 54)\n", "(1, 96, 54, 53)\n")
    assert not agrees("loss …\n", "loss 2.3\nmore\nthan that")


@pytest.mark.parametrize(
    "framework",
    # test_book runs the chapter itself with the others.
    some_slow(PACKAGES, "tensorflow", "jax", "mxnet"),
)
def test_code_prints_what_the_page_says(
    framework: str, fashion_mnist: datasets.Dataset, tmp_path: Path
) -> None:
    program = "".join(f"{code}\nprint('{END}', flush=True)\n" for code, _ in blocks(framework))
    printed = run(framework, program, tmp_path, EXAMPLES[framework]).split(f"{END}\n")
    assert len(printed) == len(blocks(framework)) + 1
    for (code, stated), actual in zip(blocks(framework), printed, strict=False):
        assert agrees(stated, actual), f"{code}\nprinted\n{actual}\nthe page says\n{stated}"


def test_every_block_is_there_in_every_framework() -> None:
    page = text("en")
    assert page.count("```python ") == page.count("```text ") == len(CODE.findall(page))
    assert {len(blocks(framework)) for framework in PACKAGES} == {6}
    assert len(CODE.findall(page)) == 6 * len(PACKAGES)


def test_both_pages_have_the_same_code_and_commands() -> None:
    english, portuguese = text("en"), text("pt-BR")
    assert CODE.findall(english) == CODE.findall(portuguese)
    assert COMMANDS.findall(english) == COMMANDS.findall(portuguese)
    assert english.count("\n## ") == portuguese.count("\n## ")
    assert english.count("\n|") == portuguese.count("\n|")


@needs("pytorch")  # about files and commands: in one environment is enough
def test_commands_work(fashion_mnist: datasets.Dataset, tmp_path: Path) -> None:
    commands = [line for found in COMMANDS.findall(text("en")) for line in found.splitlines()]
    assert commands
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "nin", command
        if arguments[0] == "train":
            arguments += SHORTER["book" if "book" in arguments else "fashion"].split()
            arguments += ["--framework", FRAMEWORK]
        done = nin(*arguments, cwd=tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("language", PAGES)
def test_tables_are_what_the_descriptions_say(language: str) -> None:
    rows = [
        [cell.strip(" *") for cell in line.strip("|").split("|")]
        for line in text(language).splitlines()
        if line.startswith("|")
    ]
    network = zoo.network("nin")
    costs = {cost.name: cost for cost in counts.block_costs(network)}
    stages = [row for row in rows if row[0] in costs]
    assert [row[0] for row in stages] == [name for name in costs if name != "input"]
    for name, _, shape, *numbers in stages:
        cost = costs[name]
        flat = cost.output.height == cost.output.width == 1
        expected = str(cost.output.channels) if flat else "×".join(map(str, cost.output))
        assert shape == expected, name
        assert list(map(number, numbers)) == [cost.parameters, cost.macs], name
    (total,) = [row for row in rows if row[0] == "total"]
    cost = counts.total_cost(network)
    assert list(map(number, total[-2:])) == [cost.parameters, cost.macs] == [1992166, 762297352]

    compared = [row for row in rows if len(row) == 3 and re.match(r"LeNet|AlexNet|VGG|NiN", row[0])]
    names = ("lenet", "alexnet", "vgg11", "vgg11-quarter", "nin")
    for name, (_, *numbers) in zip(names, compared, strict=True):
        network = zoo.network(name)
        dense = sum(
            place.layer.parameters(place.input)
            for place in network.placed_layers()
            if isinstance(place.layer, Linear)
        )
        assert list(map(number, numbers)) == [counts.total_cost(network).parameters, dense], name


def number(cell: str) -> int:
    """1,992,166 in English or 1.992.166 in Portuguese."""
    return int(re.sub("[.,]", "", cell))


@pytest.mark.parametrize(("language", "name"), [("en", "nin-block"), ("pt-BR", "nin-block.pt-BR")])
def test_diagram_is_drawn_from_the_descriptions(language: str, name: str) -> None:
    spec = importlib.util.spec_from_file_location("figures", ROOT / "benchmarks" / "figures.py")
    assert spec is not None
    assert spec.loader is not None
    drawn = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawn)
    file = DOCS / "images" / f"{name}.svg"
    assert file.read_text("utf-8") == drawn.nin_block_diagram(language)
    assert f"images/{name}.svg" in text(language)
