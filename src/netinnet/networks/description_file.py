"""A network described in a file: the JSON of a run, or TOML written by hand.

TOML reads like the zoo and leaves classes, channels and size to the data (docs/own-networks.md):

    blocks = [
        { nin = [48, 32, 32], kernel = 3, padding = 1, norm = true },
        { max_pool = 3, stride = 2, padding = 1 },
        { nin = [96, 96, "classes"], kernel = 3, padding = 1, norm = true, last_relu = false },
        { head = "gap" },
    ]
"""

from __future__ import annotations

import inspect
import reprlib
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

from netinnet.errors import NetworkError
from netinnet.networks.description import Description, concrete
from netinnet.networks.layers import Layer, Shape
from netinnet.networks.network import (
    Block,
    Network,
    check_names,
    checked_value,
    layer_from_dict,
    nin_block,
)
from netinnet.networks.variations import HEADS, head

SUFFIXES = (".toml", ".json")
LARGEST_FILE = 2**24
"""Bytes."""
KINDS = ("nin", "max_pool", "avg_pool", "dropout", "head", "layers")
"""What a block of a TOML file is: the key that says so."""


def read(path: Path) -> Description:
    """The network described in a file. Raises NetworkError where it can't be read or can't be."""
    try:
        if not path.is_file() or path.suffix not in SUFFIXES:
            wrong = "no such file" if not path.exists() else "no description of a network"
            raise NetworkError(f"{path}: {wrong}; a network is a name or a .toml or .json file")
        if path.stat().st_size > LARGEST_FILE:
            raise NetworkError(f"{path}: too large for the description of a network")
        text = path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NetworkError(f"{path}: cannot be read ({reason})") from error
    try:
        if path.suffix == ".json":
            return concrete(Network.from_json(text))
        return parse(text, path.stem)
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from error


def parse(text: str, name: str) -> Description:
    """The network described by TOML; `name` is its own where the text gives none."""
    try:
        return _described(tomllib.loads(text), name)
    except (ValueError, RecursionError) as error:
        raise NetworkError(f"not a TOML file ({error})") from error


def _described(data: dict[str, Any], name: str) -> Description:
    check_names(data, ("name", "channels", "size", "classes", "blocks"), "it")
    blocks = data.get("blocks")
    if not isinstance(blocks, list) or not blocks:
        raise NetworkError(f"it needs blocks = [ … ], each with one of {', '.join(KINDS)}")
    name = data.get("name", name)
    if not isinstance(name, str):
        raise NetworkError(f"name must be a text, got {reprlib.repr(name)}")
    size = data.get("size", 0)
    size = size if isinstance(size, list) and len(size) == 2 else [size, size]
    numbers = [data.get("channels", 0), *size, data.get("classes", 0)]
    for what, value in zip(("channels", "size", "size", "classes"), numbers, strict=True):
        checked_value(what, value, "int")
        if what in data and value < 1:
            raise NetworkError(f"{what} must be at least 1, got {value}")

    def build(classes: int) -> tuple[Block, ...]:
        made: Counter[str] = Counter()
        return tuple(_numbered(number, b, made, classes) for number, b in enumerate(blocks, 1))

    build(numbers[-1] or 1)  # says what is wrong with a block now
    return Description(name, build, Shape(*numbers[:3]), numbers[-1])


def _numbered(number: int, data: Any, made: Counter[str], classes: int) -> Block:
    try:
        return _block(data, made, classes)
    except (NetworkError, TypeError, KeyError) as error:
        raise NetworkError(f"block {number}: {error}") from error


def _block(data: Any, made: Counter[str], classes: int) -> Block:
    """A block from its table; `made` counts the blocks before it, for the names."""
    kinds = [kind for kind in KINDS if isinstance(data, dict) and kind in data]
    if len(kinds) != 1:
        raise NetworkError(
            f"a block is a table with one of {', '.join(KINDS)}, got {reprlib.repr(data)}"
        )
    kind = kinds[0]
    fields = {key: value for key, value in data.items() if key not in (kind, "name")}
    value = data[kind]
    own = {"nin": "block", "layers": "block", "max_pool": "pool", "avg_pool": "pool"}.get(
        kind, kind
    )
    made[own] += 1
    name = data.get("name", own if kind == "head" else f"{own}{made[own]}")
    if not isinstance(name, str):
        raise NetworkError(f"name must be a text, got {reprlib.repr(name)}")
    if kind == "nin":
        return _nin(name, value, fields, classes)
    if kind in ("head", "dropout", "layers"):
        check_names(fields, (), kind)
    if kind == "head":
        if value not in HEADS:
            raise NetworkError(f"head must be one of {', '.join(HEADS)}, got {reprlib.repr(value)}")
        return Block(name, head(value, classes))
    if kind == "dropout":
        value = [{"layer": "Dropout", "rate": value}]
    elif kind != "layers":
        layer = "MaxPool" if kind == "max_pool" else "AvgPool"
        value = [{"layer": layer, "kernel": value, "stride": value, **fields}]
    if not isinstance(value, list) or not value:
        raise NetworkError('layers must be a list, as in [{ layer = "Flatten" }]')
    return Block(name, tuple(_layer(layer, classes) for layer in value))


def _nin(name: str, channels: Any, fields: dict[str, Any], classes: int) -> Block:
    """A NiN block by the arguments of `nin_block`. Batch norm replaces biases, as in the zoo."""
    known = {
        key: str(parameter.annotation)
        for key, parameter in inspect.signature(nin_block).parameters.items()
        if key not in ("channels", "name")
    }
    check_names(fields, known, "nin")
    if "kernel" not in fields:
        raise NetworkError("a NiN block needs a kernel: the size of its first window")
    for key, value in fields.items():
        checked_value(key, value, known[key])
    widths = (
        channels if isinstance(channels, list) else [channels] * (1 + fields.get("pointwise", 2))
    )
    widths = [
        checked_value("nin", classes if width == "classes" else width, "int") for width in widths
    ]
    defaults = {"pointwise": len(widths) - 1, "bias": not fields.get("norm", False)}
    return nin_block(widths, name=name, **{**defaults, **fields})


def _layer(data: Any, classes: int) -> Layer:
    """A layer of `layers`: a table as in JSON; "classes" is their number in any field."""
    if not isinstance(data, dict) or not isinstance(data.get("layer"), str):
        raise NetworkError(
            f'a layer is a table such as {{ layer = "ReLU" }}, got {reprlib.repr(data)}'
        )
    return layer_from_dict(
        {key: classes if value == "classes" else value for key, value in data.items()}
    )
