"""One adapter a framework, imported only when asked for.

`FRAMEWORKS` is data: the name, the adapter's module, the package to look for and the command that
installs it. `adapter(name)` imports one; whatever fails is one line that says what to do.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import cast

from netinnet.errors import FrameworkError, nearest
from netinnet.frameworks.learner import Adapter


@dataclass(frozen=True)
class Framework:
    """How to find a framework without importing it."""

    title: str
    package: str
    install: str

    @property
    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None


FRAMEWORKS: dict[str, Framework] = {
    "pytorch": Framework("PyTorch", "torch", "pip install 'netinnet[pytorch]'"),
}


def framework(name: str) -> Framework:
    """The table's entry. Raises FrameworkError with the nearest name."""
    if name not in FRAMEWORKS:
        raise FrameworkError(
            f"unknown framework '{name}'{nearest(name, FRAMEWORKS)}; "
            f"known are {', '.join(FRAMEWORKS)}"
        )
    return FRAMEWORKS[name]


def adapter(name: str) -> Adapter:
    """Import the adapter. Raises FrameworkError where the framework is missing or broken."""
    found = framework(name)
    if not found.is_installed:
        raise FrameworkError(f"{found.title} is not installed; {found.install} installs it")
    try:
        return cast(Adapter, importlib.import_module(f"netinnet.frameworks.{name}"))
    except Exception as error:  # a broken installation can fail in any way
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise FrameworkError(
            f"{found.title} is installed but does not import ({reason[0]}); "
            f"{found.install} puts it right"
        ) from error
