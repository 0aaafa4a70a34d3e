"""The network that a command is asked about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netinnet.errors import NetinnetError
from netinnet.networks import zoo
from netinnet.networks.network import Network


def described(name: str, **options: Any) -> Network:
    """A network of the zoo with the options given, or the one in a run folder or model file.

    Raises NetinnetError for an unknown name, and for options that a network from a file can't have.
    """
    if name in zoo.ZOO or not Path(name).exists():
        return zoo.network(name, **options)
    from netinnet.inference import model_files

    given = [option for option, value in options.items() if value is not None]
    if given:
        flag = given[0].replace("_", "-")
        raise NetinnetError(f"{name} has its own network; --{flag} goes with one of the zoo")
    return model_files.find(Path(name)).network
