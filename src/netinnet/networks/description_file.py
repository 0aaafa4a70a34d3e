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

import dataclasses
import functools
import inspect
import reprlib
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netinnet.errors import NetworkError
from netinnet.networks.blocks import Block, conv_block, layer_from_dict, nin_block
from netinnet.networks.checks import check_names, checked_value
from netinnet.networks.description import Description, concrete
from netinnet.networks.layers import AvgPool, Conv, Dropout, MaxPool, Shape
from netinnet.networks.network import MOST_LAYERS, Network
from netinnet.networks.variations import HEADS, head

SUFFIXES = (".toml", ".json")
LARGEST_FILE = {".json": 2**24, ".toml": 2**18}
"""Bytes. TOML, which is written by hand, takes its parser a hundred times as long."""
KINDS: dict[str, tuple[str, tuple[Callable[..., Any], ...]]] = {
    "nin": ("block", (nin_block,)),
    "conv": ("block", (Conv, conv_block)),
    "layers": ("block", ()),
    "max_pool": ("pool", (MaxPool,)),
    "avg_pool": ("pool", (AvgPool,)),
    "dropout": ("dropout", ()),
    "head": ("head", ()),
}
"""What a block is, by the key that says so: what its name begins with, and whose arguments its
other keys are."""


def read(path: Path) -> Description:
    """The network described in a file. Raises NetworkError where it can't be read or can't be."""
    try:
        if not path.is_file() or path.suffix not in SUFFIXES:
            wrong = "no such file" if not path.exists() else "no description of a network"
            raise NetworkError(f"{wrong}; a network is a name or a .toml or .json file")
        if path.stat().st_size > LARGEST_FILE[path.suffix]:
            raise NetworkError("too large for the description of a network")
        text = path.read_text("utf-8-sig")
        return (
            concrete(Network.from_json(text)) if path.suffix == ".json" else parse(text, path.stem)
        )
    except (NetworkError, OSError, UnicodeError) as error:
        reason = f"cannot be read ({getattr(error, 'strerror', None) or error})"
        reason = str(error) if isinstance(error, NetworkError) else reason
        raise NetworkError(f"{path}: {reason}") from error


def parse(text: str, name: str) -> Description:
    """The network described by TOML; `name` is its own where the text gives none."""
    try:
        data = tomllib.loads(text)
        check_names(data, ("name", "source", "channels", "size", "classes", "blocks"), "it")
        size = data.get("size", 0)
        size = size if isinstance(size, list) and len(size) == 2 else [size, size]
        numbers = [data.get("channels", 0), *size, data.get("classes", 0)]
        for what, value in zip(("channels", "size", "size", "classes"), numbers, strict=True):
            if checked_value(what, value, "int") < (what in data):
                raise NetworkError(f"{what} must be at least 1, got {value}")
        blocks = data.get("blocks")
        if not isinstance(blocks, list) or not blocks:
            raise NetworkError(f"it needs blocks = [ … ], each with one of {', '.join(KINDS)}")
        if len(blocks) > MOST_LAYERS:
            most = f"a network at most {MOST_LAYERS:,}"
            raise NetworkError(f"{name}: a block has at least one layer, {most}")
        build = functools.partial(_build, blocks)
        build(numbers[-1] or 1)  # says what is wrong with a block now
    except (ValueError, RecursionError) as error:
        raise NetworkError(f"not a TOML file ({error})") from error
    shape, source = Shape(*numbers[:3]), str(data.get("source", ""))
    return Description(data.get("name", name), build, shape, numbers[-1], source)


def _build(blocks: list[Any], classes: int) -> tuple[Block, ...]:
    before: Counter[str] = Counter()
    built = []
    for number, data in enumerate(_filled(blocks, classes), 1):
        try:
            built.append(_block(data, before, classes))
        except (NetworkError, TypeError) as error:
            raise NetworkError(f"block {number}: {error}") from error
    return tuple(built)


def _filled(data: Any, classes: int) -> Any:
    """The data with their number for "classes", which a name may be, too."""
    if isinstance(data, dict):
        return {k: v if k == "name" else _filled(v, classes) for k, v in data.items()}
    if isinstance(data, list):
        return [_filled(value, classes) for value in data]
    return classes if data == "classes" else data


def _block(data: Any, before: Counter[str], classes: int) -> Block:
    """A block from its table; `before` counts the blocks before it, for the names."""
    fields = dict(data) if isinstance(data, dict) else {}
    kinds = [kind for kind in KINDS if kind in fields]
    if len(kinds) != 1:
        raise NetworkError(
            f"a block is a table with one of {', '.join(KINDS)}, got {reprlib.repr(data)}"
        )
    kind, value = kinds[0], fields.pop(kinds[0])
    stem, makers = KINDS[kind]
    before[stem] += 1
    name = fields.pop("name", stem if kind == "head" else f"{stem}{before[stem]}")
    residual = False
    if kind in ("conv", "layers"):  # nin_block has it as an argument
        residual = checked_value("residual", fields.pop("residual", False), "bool")
    known = {
        key: str(parameter.annotation)
        for maker in makers
        for key, parameter in inspect.signature(maker).parameters.items()
        if key not in ("name", "channels", "convs")
        and (kind, key) not in (("max_pool", "kernel"), ("avg_pool", "kernel"))  # its value
    }
    check_names(fields, known, kind)
    for key, given in fields.items():
        checked_value(key, given, known[key])
    if kind in ("nin", "conv"):
        if kind == "nin" and "kernel" not in fields:
            raise NetworkError("nin needs its kernel's side in pixels, as in kernel = 3")
        alone = 1 + fields.get("pointwise", 2) if kind == "nin" else 1
        if value == []:
            raise NetworkError(f"{kind} needs a number of channels, as in {kind} = 64, got []")
        if max(alone, len(value) if isinstance(value, list) else 0) > MOST_LAYERS:
            raise NetworkError(f"a network has at most {MOST_LAYERS:,} layers")
        widths = value if isinstance(value, list) else [value] * alone
        widths = [checked_value(kind, width, "int") for width in widths]
        fields = {"bias": not fields.get("norm", False), **fields}  # batch norm replaces biases
        if kind == "nin":
            return nin_block(widths, name=name, **{"pointwise": len(widths) - 1, **fields})
        behind = {
            key: fields.pop(key) for key in ("norm", "last_relu", "last_norm") if key in fields
        }
        made = conv_block(name, [Conv(width, **fields) for width in widths], **behind)
        return dataclasses.replace(made, residual=residual)
    if kind in ("max_pool", "avg_pool"):
        size = checked_value(kind, value, "int")
        return Block(name, (makers[0](kernel=size, **{"stride": size, **fields}),))
    if kind == "dropout":
        return Block(name, (Dropout(checked_value(kind, value, "float")),))
    if kind == "head" and value in HEADS:
        return Block(name, head(value, classes))
    if kind == "layers" and isinstance(value, list):
        return Block(name, tuple(map(layer_from_dict, value)), residual)
    wanted = f"one of {', '.join(HEADS)}" if kind == "head" else 'a list: [{ layer = "ReLU" }]'
    raise NetworkError(f"{kind} must be {wanted}, got {reprlib.repr(value)}")
