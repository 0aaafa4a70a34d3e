"""The network that a command is asked about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netinnet.errors import NetinnetError
from netinnet.networks.description_file import SUFFIXES
from netinnet.networks.network import Network
from netinnet.networks.zoo import KNOWN, resolve


def is_model(name: str) -> bool:
    """Whether the name is that of a run folder or model file."""
    return not (name in KNOWN or name.endswith(SUFFIXES)) and Path(name).exists()


def described(name: str, **options: Any) -> Network:
    """The network named, with the options given, or the one in a run folder or model file.

    Raises NetinnetError for an unknown name, and for options with a run folder or model file.
    """
    if not is_model(name):
        return resolve(name, **options)
    from netinnet.inference import model_files

    given = [option for option, value in options.items() if value is not None]
    if given:
        flag = given[0].replace("_", "-")
        raise NetinnetError(f"{name} has its own network; --{flag} goes with one of the zoo")
    return model_files.find(Path(name)).network
