"""A network wherever one is named: the zoo's, registered ones, those of a file, and objects.

The zoo's networks are description files in netinnet/zoo, readable at a glance.
"""

from __future__ import annotations

import functools
import os
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from netinnet.errors import NetworkError, check_name
from netinnet.networks import description_file
from netinnet.networks.blocks import Block
from netinnet.networks.description import Description, concrete
from netinnet.networks.layers import Shape
from netinnet.networks.network import Network

Named = str | Path | Network
"""A name of the zoo or a registered one, the path of a description file, or a network itself."""
Build = Callable[[int], Sequence[Block]]


class _Zoo(Mapping[str, Description]):
    """Each file is read when it is first asked for."""

    names = (
        *("nin", "nin-small", "nin-small-32", "nin-small-64", "nin-small-96"),
        *("nin-small-128", "nin-residual", "nin-residual-32", "nin-grouped-32", "nin-wide-32"),
        *("nin-mnist", "nin-cifar10", "nin-cifar100", "nin-svhn"),
        *("nin-imagenet", "lenet", "alexnet", "vgg11", "vgg11-quarter"),
    )

    def __getitem__(self, name: str) -> Description:
        if name not in self.names:
            raise KeyError(name)
        return _read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


@functools.cache
def _read(name: str) -> Description:
    return description_file.read(Path(__file__).parent.parent / "zoo" / f"{name}.toml")


ZOO = _Zoo()
_registered: dict[str, Description] = {}
KNOWN: Mapping[str, Description] = ChainMap(_registered, ZOO)  # type: ignore[arg-type]
"""What has a name: the zoo and what is registered."""


def register(
    name: str,
    build: Build | None = None,
    *,
    input: Shape | tuple[int, int, int] = (0, 0, 0),  # noqa: A002 - as in Network
    classes: int = 0,
) -> Any:
    """Give a network a name that works wherever one of the zoo does, in this process.

    A run keeps what it was trained with: its folder needs no registered name to be resumed.

    Args:
        name: A new name; the zoo's and those that are taken are refused.
        build: Called with the number of classes; returns the blocks. Left out, `register` is a
            decorator of such a function.
        input: Its own channels, height and width; 0 for what the data decides.
        classes: Its own number of classes; 0 if the data decides.

    Returns:
        `build`, or the decorator.

    Raises:
        NetworkError: The name is taken, or would be taken for a path.

    Example:
        @netinnet.networks.register("tiny")
        def tiny(classes):
            return nin_block((16, classes), 3, pointwise=1), Block("head", (GlobalAvgPool(),))
    """
    if build is None:
        return lambda build: register(name, build, input=input, classes=classes)
    if is_path(name) or not name.isprintable() or not name:
        raise NetworkError(f"register: a network's name is a word, not a path, got {name!r}")
    if name in KNOWN:
        raise NetworkError(f"register: there is a network '{name}' already; choose another name")
    _registered[name] = Description(name, build, Shape(*input), classes, "registered")
    return build


def is_path(name: str) -> bool:
    """Whether a network's name is the path of a file: a bare word is none."""
    return name.endswith(description_file.SUFFIXES) or bool({"/", os.sep} & set(name))


def describe(network: Named) -> Description:
    """The description of what is named. Raises NetworkError, with the nearest name."""
    if isinstance(network, Network):
        return concrete(network)
    name = str(network)
    if isinstance(network, Path) or is_path(name):
        return description_file.read(Path(name))
    check_name("network", name, KNOWN, NetworkError, ", or the path of a .toml or .json file")
    return KNOWN[name]


def resolve(network: Named, **options: Any) -> Network:
    """The network that is named, as `Description.network` makes it of the options.

    Args:
        network: A name of the zoo or a registered one, the path of a description file, or a
            `Network`.
        options: image_size (pixels), channels, classes (number or names), preprocessing,
            pictures (the shape of the data's, for what the network leaves open), and what is to be
            another way: logits_relu, dropout, pointwise, inner, narrowing, head, width.

    Raises:
        NetworkError: Nothing has that name, or the network can't be.

    Example: `resolve("nin", image_size=84, width=0.5)`.
    """
    return describe(network).network(**options)


network = resolve
