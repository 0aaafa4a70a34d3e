"""One adapter a framework, imported only when asked for.

`FRAMEWORKS` is data: the name, the adapter's module, the package to look for and the command that
installs it. `adapter(name)` imports one; whatever fails is one line that says what to do.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from netinnet.errors import FrameworkError, check_name

if TYPE_CHECKING:
    from netinnet.frameworks.learner import Adapter


@dataclass(frozen=True)
class Framework:
    """How to find a framework without importing it."""

    title: str
    packages: tuple[str, ...]
    """What must be importable; the first is the framework itself."""
    install: str
    needs: str = ""
    """What a command can't put right: the Python and NumPy it works with."""

    @property
    def is_installed(self) -> bool:
        """Whether all its packages are there to be imported."""
        return all(importlib.util.find_spec(package) for package in self.packages)

    @property
    def remedy(self) -> str:
        """What installs it, as half a sentence."""
        return f"{self.install} installs it{self.needs and f' ({self.needs})'}"


FRAMEWORKS: dict[str, Framework] = {
    "pytorch": Framework("PyTorch", ("torch",), "pip install 'netinnet[pytorch]'"),
    "tensorflow": Framework(
        "TensorFlow", ("tensorflow", "keras"), "pip install 'netinnet[tensorflow]'"
    ),
    "jax": Framework("JAX", ("jax", "flax", "optax"), "pip install 'netinnet[jax]'"),
    "mxnet": Framework(
        "MXNet",
        ("mxnet",),
        "pip install 'netinnet[mxnet]'",
        "in an environment of its own: Python 3.11 and NumPy below 1.24",
    ),
}


def framework(name: str) -> Framework:
    """The table's entry. Raises FrameworkError with the nearest name."""
    check_name("framework", name, FRAMEWORKS, FrameworkError)
    return FRAMEWORKS[name]


def adapter(name: str) -> Adapter:
    """Import the adapter. Raises FrameworkError where the framework is missing or broken."""
    if not framework(name).is_installed:
        raise unusable(name)
    try:
        return cast("Adapter", importlib.import_module(f"netinnet.frameworks.{name}"))
    except FrameworkError:
        raise
    except Exception as error:  # a broken installation can fail in any way
        raise unusable(name, error) from error


def unusable(name: str, error: Exception | None = None) -> FrameworkError:
    """The error for a framework that is missing, or whose import failed with `error`."""
    wanted = framework(name)
    if error is None or not wanted.is_installed:
        return FrameworkError(f"{wanted.title} is not installed; {wanted.remedy}")
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return FrameworkError(
        f"{wanted.title} is installed but does not import ({reason[0]}); {wanted.remedy}"
    )
