"""Networks of one's own: files, registered names, objects; their runs and studies."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import netinnet
from netinnet import weights
from netinnet.cli import main
from netinnet.data import datasets
from netinnet.errors import NetinnetError, NetworkError
from netinnet.frameworks import FRAMEWORKS
from netinnet.networks import (
    Block,
    Conv,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    MaxPool,
    Network,
    Preprocessing,
    Shape,
    description_file,
    nin_block,
    register,
    resolve,
    variations,
    zoo,
)
from netinnet.studies import ablation, comparison, reliability, tuning
from netinnet.studies import plan as plans
from netinnet.training import cautions
from netinnet.training import recipe as recipes
from netinnet.training import run as runs
from netinnet.training.parts import network_for
from netinnet.training.prepared import replaced
from tests.conftest import FRAMEWORK, ROOT, needs, nin
from tests.strategies import networks

EXAMPLE = ROOT / "docs/examples/my-nin.toml"
TINY = {"train_examples": 48, "test_examples": 20, "epochs": 2, "batch_size": 16}


def flags(epochs: int) -> list[str]:
    """Flags of a training that takes no time."""
    values = {**TINY, "epochs": epochs}
    return [text for n, v in values.items() for text in (f"--{n.replace('_', '-')}", str(v))]


def tiny(classes: int) -> tuple[Block, ...]:
    return (
        nin_block((6, 4), 3, padding=1, pointwise=1, name="block1"),
        Block("pool1", (MaxPool(3, 2, 1),)),
        nin_block((4, classes), 3, 2, 1, 1, name="block2", last_relu=False),
        Block("head", (GlobalAvgPool(), Flatten())),
    )


TINY_TOML = """
blocks = [
    { nin = [6, 4], kernel = 3, padding = 1 },
    { max_pool = 3, stride = 2, padding = 1 },
    { nin = [4, "classes"], kernel = 3, stride = 2, padding = 1, last_relu = false },
    { head = "gap" },
]
"""
RECORD = datasets.find("fashion-mnist").record()
OBJECT = Network("mine", Shape(1, 28, 28), tiny(10), tuple("abcdefghij"))
register("tiny", tiny)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a description file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text(TINY_TOML)
    return tmp_path


# Variations

GRID: dict[str, tuple[Any, ...]] = {
    "classes": (10, 3),
    "logits_relu": (None, True, False),
    "dropout": (None, 0.0, 0.3),
    "pointwise": (None, 0, 3),
    "narrowing": (None, "128-32"),
    "head": (None, "gap", "dense-dropout"),
    "width": (None, 0.25, 1.7),
}
HASHES = json.loads((Path(__file__).parent / "zoo_hashes.json").read_text("utf-8"))


def fields_of_0_1_0(layer: Layer) -> dict[str, Any]:
    """What a layer had then; the others must be at their defaults."""
    fields = dataclasses.asdict(layer)
    assert not fields.pop("ceil", False)
    assert not fields.pop("same", False)
    assert fields.pop("groups", 1) == 1
    return fields


@pytest.mark.parametrize("name", HASHES)
def test_every_combination_is_the_network_of_0_1_0(name: str) -> None:
    """The hash was made by 0.1.0, whose zoo had options instead of variations."""
    made = hashlib.sha256()
    for values in itertools.product(*GRID.values()):
        options = dict(zip(GRID, values, strict=True))
        try:
            net = zoo.network(name, **options)
            blocks = [
                [b.name, [[type(x).__name__, fields_of_0_1_0(x)] for x in b.layers]]
                for b in net.blocks
            ]
            made.update(json.dumps([blocks, net.name, net.input, net.classes]).encode())
        except NetworkError as error:
            made.update(str(error).encode())
    assert made.hexdigest() == HASHES[name]


def test_variations_change_what_they_say_in_ones_own() -> None:
    own = resolve(EXAMPLE, channels=1, image_size=28, classes=10)
    wide = resolve(own, width=0.5, dropout=0.0, pointwise=1, logits_relu=True, head="dense")
    assert [block.name for block in wide.blocks] == ["block1", "pool1", "block2", "head"]
    channels = [
        layer.channels for block in wide.blocks for layer in block.layers if isinstance(layer, Conv)
    ]
    assert channels == [16, 12, 24, 10]
    assert [type(x).__name__ for x in wide.blocks[2].layers[-3:]] == ["Conv", "BatchNorm", "ReLU"]
    assert [type(x).__name__ for x in wide.blocks[3].layers] == ["Flatten", "Linear"]
    # A NiN without dropout gets one behind every max pool, as nin-small does.
    names = [block.name for block in resolve(OBJECT, dropout=0.5).blocks]
    assert names == ["block1", "pool1", "dropout1", "block2", "head"]
    # Class maps inside the last block stay as many as the classes.
    assert resolve("nin", width=2.0).blocks[-2] == resolve("nin").blocks[-2]


@pytest.mark.parametrize("block", [b for n in zoo.ZOO for b in zoo.network(n).blocks])
def test_a_block_is_read_back_as_nin_blocks_arguments(block: Block) -> None:
    arguments = variations.nin_arguments(block)
    assert arguments is None or nin_block(**arguments) == block


@pytest.mark.parametrize(
    "option", ["logits_relu", "dropout", "pointwise", "inner", "narrowing", "head"]
)
def test_what_is_no_nin_says_what_it_cannot_have(option: str) -> None:
    layers = (Flatten(), Linear(3))
    own = Network("flat", Shape(1, 4, 4), (Block("a", layers),), tuple("abc"))
    values = {"logits_relu": True, "narrowing": "4-4", "head": "gap", "dropout": 0.5}
    value = values.get(option, 1)
    with pytest.raises(NetworkError, match=f"^flat has no option {option}: leave it out$"):
        resolve(own, **{option: value})


# Description files


def test_the_example_reads_like_the_zoo() -> None:
    text = zoo.ZOO["nin-small"]
    assert resolve("nin-small", image_size=28, channels=3, classes=("a", "b")).input[0] == 3
    assert text.source == "this project: small, batch norm"
    own = description_file.parse(TINY_TOML, "tiny").network(classes=10, channels=1, image_size=28)
    assert own == resolve("tiny", classes=10, channels=1, image_size=28)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blocks = 3", "own.toml: it needs blocks = [ … ], each with one of nin, conv, layers"),
        ("bloks = []", "it has an unknown field 'bloks' (did you mean 'blocks'?)"),
        ("size = 28", "it needs blocks"),
        (
            "name = 3\nblocks = [{ head = 'gap' }]",
            "names of networks and classes are printable, got 3",
        ),
        ("classes = 0\nblocks = [{ head = 'gap' }]", "classes must be at least 1, got 0"),
        ("classes = '3'\nblocks = [{ head = 'gap' }]", "classes must be a whole number up to"),
        ("size = [28]\nblocks = [{ head = 'gap' }]", "size must be a whole number up to 1,048,576"),
        (
            "size = 0x" + "f" * 9000 + "\nblocks = [{ head = 'gap' }]",
            "own.toml: not a TOML file (Exceeds the limit",
        ),
        ("blocks = [{ nin = [1], max_pool = 3 }]", "block 1: a block is a table with one of nin,"),
        ("blocks = ['nin']", "block 1: a block is a table with one of"),
        ("blocks = [{ nin = [4], kernal = 3 }]", "unknown field 'kernal' (did you mean 'kernel'?)"),
        (
            "blocks = [{ nin = [4] }]",
            "block 1: nin needs its kernel's side in pixels, as in kernel",
        ),
        ("blocks = [{ nin = ['x'], kernel = 3 }]", "nin must be a whole number up to 1,048,576"),
        ("blocks = [{ nin = 4, kernel = '3' }]", "kernel must be a whole number"),
        ("blocks = [{ nin = 4, kernel = 0 }]", "block 1: Conv: kernel must be at least 1, got 0"),
        ("blocks = [{ nin = 4, kernel = 3, pointwise = -1 }]", "pointwise must be at least 0"),
        ("blocks = [{ nin = 4, kernel = 3, norm = 1 }]", "norm must be a bool, got 1"),
        ("blocks = [{ nin = 10000000, kernel = 3 }]", "nin must be a whole number up to 1,048,576"),
        ("blocks = [{ conv = [4], kernel = 3, layer = 'Linear' }]", "unknown field 'layer'"),
        ("blocks = [{ max_pool = 3, padding = 2 }]", "padding must be at most half the kernel"),
        ("blocks = [{ max_pool = 3, kernel = 2 }]", "block 1: max_pool has an unknown field 'ke"),
        ("blocks = [{ avg_pool = 3, kernel = 2 }]", "block 1: avg_pool has an unknown field 'ke"),
        ("blocks = [{ nin = [], kernel = 3 }]", "block 1: nin needs a number of channels, as in"),
        ("blocks = [{ conv = [] }]", "block 1: conv needs a number of channels, as in conv = 64"),
        (
            "blocks = [{ conv = 4, norm = true, last_norm = true }]",
            "block 1: last_norm is for the end of a block without its ReLU: give last_relu = false",
        ),
        ("blocks = [{ nin = 4, kernel = 3, last_norm = true }]", "block 1: last_norm is for the"),
        (
            "blocks = [{ layers = [{ layer = 'BatchNorm', momentum = 5 }] }]",
            "block 1: BatchNorm: momentum must be in [0, 1], got 5.0",
        ),
        ("blocks = [{ max_pool = 3, size = 2 }]", "max_pool has an unknown field 'size'"),
        ("blocks = [{ dropout = 1 }]", "Dropout: rate must be in [0, 1), got 1.0"),
        ("blocks = [{ dropout = nan }]", "dropout must be a number, got nan"),
        ("blocks = [{ head = 'gab' }]", "head must be one of gap, dense, dense-dropout, got 'gab'"),
        ("blocks = [{ head = 'gap', x = 1 }]", "head has an unknown field 'x'"),
        ("blocks = [{ layers = 'ReLU' }]", "layers must be a list"),
        ("blocks = [{ layers = ['ReLU'] }]", 'a layer is a table such as {"layer": "ReLU"}'),
        ("blocks = [{ layers = [{ layer = 'Conw' }] }]", "unknown layer 'Conw' (did you mean"),
        (
            "blocks = [{ layers = [{ layer = 'Conv', kernel = 3 }] }]",
            "block 1: Conv needs channels, as in channels = 3",
        ),
        (
            "blocks = [{ head = 'gap', name = 'classes' }]",
            "own: its output is 1×1×1, but it has 10 class names",  # a name is no number of them
        ),
        ("blocks = [{ layers = [] }]", "own: a block has at least one layer"),
        ("blocks = [{ head = 'gap', name = 'a b' }]", "a block's name must be a word, got 'a b'"),
        ("blocks = [{ head = 'gap', name = 3 }]", "a block's name must be a word, got 3"),
        ("blocks = [{ head = 'gap' }]", "own: its output is 1×1×1, but it has 10 class names"),
        ("blocks = [{ nin = 'classes', kernel = 99 }, { head = 'gap' }]", "needs at least 99×99"),
        (
            "blocks = [" + "{ dropout = 0.5 }," * 10_000 + "]",
            "own: a block has at least one layer, a network at most 1,000",
        ),
        ("blocks = " + "[" * 9000 + "]" * 9000, "own.toml: "),
        (
            "name = \"a\\nb\"\nblocks = [{ head = 'gap' }]",
            "names of networks and classes are print",
        ),
        ("blocks = [", "own.toml: not a TOML file"),
        (b"\xff\xfe", "own.toml: cannot be read ('utf-8' codec can't decode"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(
    place: Path, text: str | bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "own.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    decided = ["--image-size", "28", "--channels", "1", "--classes", "10"]
    assert main.run(["summary", "own.toml", *decided]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert len(said) < 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.toml"], "none.toml: no such file; a network is a name or a .toml or .json file"),
        (["folder.toml"], "folder.toml: no description of a network; a network is a name or"),
        (["own.toml"], "own leaves its classes open: write them into its description, or give --c"),
        (["own.toml", "--classes", "3"], "own leaves its channels open"),
        (["own.toml", "--classes", "3", "--channels", "1"], "own leaves its image-size open"),
        (["nin", "--classes", "0"], "nin: the number of classes must be at least 1, got 0"),
        (["nin-smal"], "unknown network 'nin-smal' (did you mean 'nin-small'?)"),
        (
            ["mine.json", "--classes", "3"],
            "mine is made for 10 classes, not for 3: change its last",
        ),
    ],
)
def test_what_cannot_be_resolved_is_one_line(
    place: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "folder.toml").mkdir()
    (place / "mine.json").write_text(OBJECT.to_json())
    assert main.run(["summary", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_nothing_is_left_behind_where_a_network_cannot_be(place: Path) -> None:
    before = sorted(place.iterdir())
    for network in ("nowhere.toml", "nin-smal", "./own"):
        assert main.run(["train", "--network", network, "--quiet"]) == 2
        assert main.run(["ablate", "--network", network, "--quiet"]) == 2
    assert main.run(["compare", "lenet", "nowhere.json", "--quiet"]) == 2
    assert sorted(place.iterdir()) == before


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["classes", "gap", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "nin",
                    "conv",
                    "max_pool",
                    "head",
                    "dropout",
                    "layers",
                    "layer",
                    "kernel",
                    "name",
                    "stride",
                    "padding",
                    "norm",
                    "pointwise",
                    "channels",
                    "features",
                    "rate",
                    "bias",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return {"None": '"none"', "True": "true", "False": "false"}.get(
        str(value), json.dumps(value) if isinstance(value, str) else str(value)
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text() | plain.map(lambda value: f"blocks = [{toml(value)}]") | st.just(TINY_TOML))
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        description = description_file.parse(text, "own")
        description.network(channels=1, image_size=28, classes=10)
    except NetworkError:
        return


# JSON


def test_a_block_with_an_even_window_behind_another_is_no_nin_block() -> None:
    """`nin_block` refuses such: hypothesis found that asking what makes it was an error."""
    block = Block("block1", (Conv(1, 1, bias=False), Conv(1, 2, padding=1, bias=False)))
    assert variations.nin_arguments(block) is None


@settings(deadline=None)
@given(networks())
def test_json_round_trip(net: Network) -> None:
    text = net.to_json()
    assert Network.from_json(text) == net
    assert json.loads(text)["format"] == 1
    assert description_file.concrete(net).network() == net


def in_full(net: Network) -> dict[str, Any]:
    """As 0.1.0 wrote a network: no format, all fields."""
    layers = [
        [{"layer": type(x).__name__, **fields_of_0_1_0(x)} for x in block.layers]
        for block in net.blocks
    ]
    names = [block.name for block in net.blocks]
    scaling = net.preprocessing
    return {
        "name": net.name,
        "input": list(net.input),
        "blocks": [{"name": n, "layers": x} for n, x in zip(names, layers, strict=True)],
        "classes": list(net.classes),
        "preprocessing": {"mean": list(scaling.mean), "std": list(scaling.std)},
    }


@pytest.mark.parametrize("name", HASHES)
def test_json_of_0_1_0_is_read(name: str) -> None:
    net = zoo.network(name, preprocessing=Preprocessing((0.5,), (0.25,)))
    full = json.dumps(in_full(net), indent=1, ensure_ascii=False)
    assert Network.from_json(full) == net
    assert len(net.to_json()) < len(full)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format=2), "made by a newer netinnet, or misspelt: its format is 2,"),
        (lambda d: d.update(colour=1), "made by a newer netinnet, or misspelt: it has an unknown"),
        (lambda d: d["blocks"][0].update(x=1), "made by a newer netinnet"),
        (lambda d: d["blocks"][0]["layers"][0].update(groups_=2), "made by a newer netinnet"),
        (lambda d: d["blocks"][0]["layers"][0].update(layer="Swish"), "made by a newer netinnet"),
        (lambda d: d.update(preprocessing={"crop": 1}), "made by a newer netinnet"),
        (lambda d: d.update(format="1"), "not a network description"),
        (lambda d: d.update(classes="0123456789"), "not a network description"),
        (lambda d: d.update(classes=["cat"] * 10), "mine: 10 classes are called 'cat': rename all"),
        (lambda d: d.update(preprocessing={"mean": "1", "std": [1]}), "mean must be a list, got '"),
        (lambda d: d.update(preprocessing={"mean": ["1"], "std": [1]}), "mean must be a number"),
        (lambda d: d.update(preprocessing={"mean": [10**400], "std": [1]}), "must be a number"),
        (lambda d: d.update(name="a\nb"), "names of networks and classes are printable"),
        (
            lambda d: d.update(classes=["\ud800"] * 10),
            "names of networks and classes are printable",
        ),
        (lambda d: d["blocks"][0]["layers"][0].update(channels=10**9), "channels must be a whole"),
        (lambda d: d["blocks"][0].update(layers=[]), "a block has at least one layer"),
    ],
)
def test_json_that_cannot_be_says_so(change: Callable[[Any], None], message: str) -> None:
    data = json.loads(OBJECT.to_json())
    change(data)
    with pytest.raises(NetworkError) as raised:
        Network.from_dict(data)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_model_file_of_0_1_0_is_read(tmp_path: Path) -> None:
    values = weights.initial(OBJECT, 0)
    metadata = {"format": weights.FORMAT, "network": json.dumps(in_full(OBJECT))}
    weights.save_tensors(tmp_path / "old.safetensors", values, metadata)
    model = netinnet.load(tmp_path / "old.safetensors")
    assert model.network == OBJECT
    logits = netinnet.Predictor(model).logits(np.zeros((1, 28, 28, 1), np.uint8))
    assert logits.shape == (1, 10)


# Names


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nin", "there is a network 'nin' already; choose another name"),
        ("tiny", "there is a network 'tiny' already"),
        ("a/b", "a network's name is a word, not a path, got 'a/b'"),
        ("own.toml", "a network's name is a word, not a path"),
        ("", "a network's name is a word"),
        ("a\nb", "a network's name is a word"),
    ],
)
def test_names_that_cannot_be_registered(name: str, message: str) -> None:
    with pytest.raises(NetworkError, match=re.escape(message)):
        register(name, tiny)


def test_register_decorates() -> None:
    @register("decorated", input=(3, 8, 8), classes=4)
    def build(classes: int) -> tuple[Block, ...]:
        return tiny(classes)

    assert build(4) == tiny(4)
    assert resolve("decorated").input == (3, 8, 8)
    assert resolve("decorated", classes=2).classes == ("0", "1")
    with pytest.raises(
        NetworkError, match=r"unknown network 'decoratd' \(did you mean 'decorated'"
    ):
        resolve("decoratd")


def test_a_recipe_may_name_what_is_not_here(tmp_path: Path) -> None:
    recipe = recipes.Recipe(network="./gone.toml")
    (tmp_path / "r.toml").write_text(recipe.to_toml())
    assert recipes.load(str(tmp_path / "r.toml")) == recipe
    with pytest.raises(NetworkError, match=r"gone\.toml: no such file"):
        network_for(recipe)
    assert network_for(recipe, OBJECT).blocks == OBJECT.blocks


def test_a_network_without_weights_is_not_trained() -> None:
    flat = Network("flat", Shape(1, 2, 5), (Block("flat", (Flatten(),)),), tuple("abcdefghij"))
    with pytest.raises(NetworkError, match=r"^flat has no weights, so there is nothing to train$"):
        network_for(recipes.Recipe(), flat)


def test_the_data_decides_what_a_network_leaves_open(place: Path) -> None:
    named = network_for(recipes.Recipe(network="own.toml"))
    assert (named.input, named.classes[-1]) == ((1, 28, 28), "Ankle boot")
    assert network_for(recipes.Recipe(network="tiny")).blocks == named.blocks
    own = network_for(recipes.Recipe(image_size=40, normalise=False), OBJECT)
    assert (own.input, own.preprocessing) == ((1, 40, 40), Preprocessing())
    assert own.classes == named.classes
    few = Network("few", Shape(1, 28, 28), tiny(3), tuple("abc"))
    with pytest.raises(NetworkError, match="few is made for 3 classes, not for 10"):
        network_for(recipes.Recipe(), few)


def test_what_a_file_says_and_the_data_does_not_is_said(place: Path) -> None:
    """The zoo's networks, in files of the same form, are for any data: nothing is said of them."""

    def said(network: str) -> list[str]:
        recipe = recipes.Recipe(network=network)
        return replaced(recipe, network_for(recipe))

    (place / "other.toml").write_text(f"channels = 3\nclasses = 5\nsize = 30\n{TINY_TOML}")
    assert network_for(recipes.Recipe(network="other.toml")).input == (1, 30, 30)
    assert said("other.toml") == [
        "other.toml says channels = 3, the data has 1: 1 are taken",
        "other.toml says classes = 5, the data has 10: 10 are taken",
    ]
    (place / "other.json").write_text(resolve(OBJECT, channels=3).to_json())
    assert said("other.json") == ["other.json says channels = 3, the data has 1: 1 are taken"]
    (place / "same.toml").write_text(f"channels = 1\nclasses = 10\n{TINY_TOML}")
    assert said("same.toml") == said("own.toml") == said("nin-small-32") == []
    recipe = recipes.Recipe(network="other.toml")
    network = network_for(recipe)
    (place / "other.toml").unlink()  # as when a run is resumed
    assert cautions.cautions(recipe, network) == []


# Runs


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.usefixtures("fashion_mnist")
def test_ones_own_trains_like_one_of_the_zoo(place: Path, framework: str) -> None:
    if not FRAMEWORKS[framework].is_installed:
        pytest.skip(f"{framework} is not installed")
    sources: dict[str, Any] = {"file": "own.toml", "object": OBJECT, "registered": "tiny"}
    if framework != "pytorch":
        sources = {"file": "own.toml"}  # which is which was decided before any framework
    for kind, network in sources.items():
        run = netinnet.train(
            "fashion", network=network, framework=framework, output=place / kind, **TINY
        )
        model = netinnet.load(run.folder)
        assert run.network() == model.network
        assert [b.layers for b in model.network.blocks] == [b.layers for b in tiny(10)]
        assert run.recipe().network == (network if kind != "object" else "mine")
        prediction = netinnet.Predictor(model).predict(np.zeros((28, 28, 1), np.uint8))
        assert prediction
    tensors = {
        weights.load_tensors(place / k / "model.safetensors")[0]["block1.conv1.weight"].tobytes()
        for k in sources
    }
    assert len(tensors) == 1


@needs("pytorch")  # about files and commands: in one environment is enough
@pytest.mark.usefixtures("fashion_mnist")
def test_a_run_needs_nothing_but_its_folder(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed and resumed with the file gone: the same bytes; then evaluated and converted."""
    train = ["train", "--network", "./own.toml", "--framework", FRAMEWORK, "--quiet", *flags(8)]
    train += ["--checkpoint-seconds", "0"]
    assert main.run([*train, "--output", "whole"]) == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "netinnet.cli.main", *train, "--output", "killed"], cwd=place
    )
    deadline = time.monotonic() + 120
    while not list(place.glob("killed/checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    (place / "own.toml").unlink()
    assert main.run(["train", "--resume", "killed", "--quiet"]) == 0
    whole, killed = (place / name / "model.safetensors" for name in ("whole", "killed"))
    assert whole.read_bytes() == killed.read_bytes()
    assert main.run(["evaluate", "killed", "--examples", "20"]) == 0
    assert main.run(["convert", "killed", "out.onnx"]) == 0
    assert main.run(["summary", "killed"]) == 0
    assert main.run(["resources", "killed/network.json", "--batch", "4"]) == 0
    assert "own" in capsys.readouterr().out


@pytest.mark.usefixtures("fashion_mnist")
def test_checkpoints_of_0_1_0_are_resumed(place: Path) -> None:
    """Its network.json had all fields; the digest in its checkpoints is over what it wrote."""
    recipe = recipes.load("fashion", network="tiny", framework=FRAMEWORK, **TINY)
    run = runs.create(recipe, network_for(recipe), place / "old", RECORD)
    old = json.dumps(in_full(run.network()), indent=1, ensure_ascii=False)
    run.network_file.write_text(old + "\n", "utf-8")
    assert run.identity() == hashlib.sha256(f"{recipe.to_toml()}\n{old}".encode()).hexdigest()
    assert netinnet.resume(run.folder).metrics()["test"]


def test_a_damaged_network_is_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = recipes.load("fashion", network="tiny")
    run = runs.create(recipe, network_for(recipe), place / "run", RECORD)
    run.network_file.write_text("{")
    assert main.run(["train", "--resume", "run", "--quiet"]) == 2
    assert "run/network.json: not a network description" in capsys.readouterr().err


def test_the_runs_folder_has_the_networks_name(place: Path) -> None:
    odd = dataclasses.replace(OBJECT, name="../my net")
    run = runs.create(recipes.Recipe(network="../my net"), odd, None, RECORD)
    assert run.folder.parent == Path("runs")
    assert run.folder.name.endswith("-my-net-pytorch")


# Studies


def test_arms_keep_what_their_names_stood_for(place: Path) -> None:
    base = recipes.load("fashion", network="own.toml")
    plan = ablation.plan(base, questions=("pointwise", "head", "dropout"), seeds=(0,))
    assert [arm.name for arm in plan.arms][1:4] == ["pointwise=0", "pointwise=2", "pointwise=3"]
    plans.write(plan, place / "study")
    (place / "own.toml").unlink()
    assert plans.load(place / "study") == plan
    shutil.rmtree(place / "study/networks")
    with pytest.raises(NetinnetError, match=r"own\.toml: no such file"):
        plans.load(place / "study")


def test_every_study_takes_an_object() -> None:
    base = recipes.load("fashion", network="mine")
    one = reliability.plan(base, vary={"width": [1.0, 2.0]}, seeds=(0,), network=OBJECT)
    assert [arm.network.blocks[0].layers[0] for arm in one.arms] == [
        Conv(6, 3, 1, 1),
        Conv(12, 3, 1, 1),
    ]
    compared = comparison.plan([OBJECT, "tiny", "lenet"], seeds=(0,))
    assert [arm.name for arm in compared.arms] == ["mine", "tiny", "lenet"]
    search = tuning.plan(base.replace(width=2.0), network=OBJECT)
    assert search.trial({"width": 0.5}).network.blocks[0].layers[0] == Conv(3, 3, 1, 1)


def test_a_study_of_0_1_0_is_read(tmp_path: Path) -> None:
    plan = comparison.plan(["lenet", "nin-small"], seeds=(0,))
    (tmp_path / plans.PLAN_FILE).write_text(plan.to_toml())
    assert plans.load(tmp_path) == plan


@pytest.mark.usefixtures("fashion_mnist")
@pytest.mark.skipif(not FRAMEWORKS["pytorch"].is_installed, reason="about studies: once is enough")
def test_ones_own_is_compared(place: Path) -> None:
    changes = {"framework": FRAMEWORK, **TINY, "epochs": 1}
    rows = netinnet.compare("own.toml", OBJECT, seeds=1, output=place / "compared", **changes)
    assert [row["arm"] for row in rows] == ["own", "mine"]
    assert all(row["accuracy_count"] == 1 for row in rows)
    (place / "own.toml").unlink()
    done = nin("compare", "--resume", "compared", "--seeds", "2", "--quiet", "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    assert [row["accuracy"]["count"] for row in json.loads(done.stdout)["networks"]] == [2, 2]


# The walk-through


@pytest.mark.slow
@pytest.mark.usefixtures("fashion_mnist")
@pytest.mark.skipif(not FRAMEWORKS["pytorch"].is_installed, reason="the page is about PyTorch")
def test_the_walk_through_works(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/own-networks.md").read_text("utf-8")
    blocks = dict(re.findall(r"^```(\w+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
    assert blocks["toml"] in EXAMPLE.read_text("utf-8")
    shutil.copy(EXAMPLE, place)
    for command in blocks["sh"].splitlines():
        short = flags(1) if "--image-size" not in command else []
        short += ["--seeds", "1"] if command.split()[1] in ("compare", "ablate") else []
        assert main.run([*command.split()[1:], *short]) == 0, command
    monkeypatch.delitem(zoo._registered, "tiny")
    code = blocks["python"].replace("epochs=1", ", ".join(f"{n}={v}" for n, v in TINY.items()))
    exec(code, {})  # noqa: S102
