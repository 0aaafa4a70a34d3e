"""The machine that results are of: its processor, and the versions of what is measured on it."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Collection
from importlib import metadata
from pathlib import Path
from typing import Any

from netinnet.bench import chromium
from netinnet.errors import FrameworkError
from netinnet.fresh_process import cores
from netinnet.version import VERSION

PACKAGES = (
    *("torch", "tensorflow-cpu", "tensorflow", "jax", "flax", "mxnet", "numpy"),
    *("onnxruntime", "openvino"),
)
CPU_INFO = Path("/proc/cpuinfo")
MODEL = ("cpu family", "model")
VECTORS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "bfloat16", "amx_bf16": "AMX"}
"""What Linux calls a processor's instructions that decide the speed, and what others do."""
OUTSIDE = ("mxnet", "chromium", "onnxruntime-web")
"""What is no package of this Python: its version matters only to the contests that use it."""


def machine(mxnet_python: str | None = None, onnxruntime_web: str | None = None) -> dict[str, Any]:
    """What decides the speed: processor, cores, versions.

    MXNet's version is that of the environment of `mxnet_python`, ONNX Runtime Web's that of the
    package whose folder dist is `onnxruntime_web`. Raises FrameworkError where there is no MXNet.
    """
    versions = {"python": platform.python_version(), "netinnet": VERSION}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if mxnet_python is not None:
        versions["mxnet"] = _version_in(mxnet_python, "mxnet")
    if browser := chromium.version():
        versions["chromium"] = browser
    if onnxruntime_web is not None:
        versions["onnxruntime-web"] = _version_of_dist(Path(onnxruntime_web))
    return {"processor": processor(), "cores": cores(), "versions": versions}


def seen_by(here: dict[str, Any], outside: Collection[str] = ()) -> dict[str, Any]:
    """The machine `here` as those see it who use `outside`, some of OUTSIDE: the rest changes
    nothing."""
    versions = {
        name: version
        for name, version in here["versions"].items()
        if name not in OUTSIDE or name in outside
    }
    return {**here, "versions": versions}


def _version_in(python: str, package: str) -> str:
    """The version of a package in another environment, which must have this netinnet, too."""
    code = (
        "import sys; from importlib import metadata; from netinnet.version import VERSION; "
        "print(VERSION, metadata.version(sys.argv[1]))"
    )
    command = [python, "-c", code, package]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    except OSError as error:
        raise FrameworkError(f"{python}: no Python: {error.strerror}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
        raise FrameworkError(f"{python}: no environment with {package} and netinnet: {lines[-1]}")
    ours, theirs = done.stdout.split()
    if ours != VERSION:
        raise FrameworkError(f"{python}: netinnet there is {ours}, and here {VERSION}")
    return theirs


def _version_of_dist(folder: Path) -> str:
    """That of the npm package around a folder dist."""
    try:
        return str(
            json.loads((folder.absolute().parent / "package.json").read_text("utf-8"))["version"]
        )
    except (OSError, ValueError, TypeError, KeyError):
        return "unknown"  # its files may have been fetched without the package


def processor() -> str:
    """Its name, and where Linux says them, its model and the widest vectors that it has: virtual
    machines call different ones alike, and hide some instructions."""
    said: dict[str, str] = {}
    if CPU_INFO.exists():
        for line in CPU_INFO.read_text("utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            said.setdefault(name.strip(), value.strip())
    flags = said.get("flags", "").split()
    more = [
        *(f"{name.removeprefix('cpu ')} {said[name]}" for name in MODEL if name in said),
        *(word for flag, word in VECTORS.items() if flag in flags),
    ]
    name = said.get("model name") or platform.processor() or platform.machine()
    return f"{name} ({', '.join(more)})" if more else name
