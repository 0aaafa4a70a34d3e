"""Functions in C beside the package, compiled where a C compiler is, once for each machine. Linux.

A compiled file is kept in the cache's folder `compiled`. Its name is a digest of all that decides
what is in it, so a changed source, compiler or processor is compiled anew. It computes with the
threads of the OpenMP that this process has loaded already: two would wait for each other's threads.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from netinnet.errors import NetinnetError
from netinnet.files import cache_root

FLAGS = ("-O3", "-march=native", "-fPIC", "-fopenmp")
"""Not `-ffast-math`: a number that is none must stay none, and sums must keep their order."""
ARITHMETIC = ("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
"""A product is rounded before it is added, on every processor."""
SECONDS = 60.0
"""Longest time that a compilation may take."""


class NotCompiled(NetinnetError):
    """Why there is no compiled form of a file here."""


@dataclass(frozen=True)
class Compiled:
    """Functions that are loaded, and the digest that names what they were made of."""

    functions: ctypes.CDLL
    digest: str


@functools.cache
def load(source: Path, *defines: str) -> Compiled:
    """The functions of a C file, compiled with these macros defined if they are not yet.

    Raises NotCompiled with the reason where they can't be.
    """
    compiler = _compiler()
    openmp = _loaded_openmp()
    flags = [*FLAGS, *ARITHMETIC, *(f"-D{name}" for name in defines)]
    parts = [source.read_text("utf-8"), *flags, _version(compiler), openmp.name, _processor()]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    kept = cache_root() / "compiled" / f"{source.stem}-{digest}.so"
    if not _is_ours(kept):
        _compile([compiler, *flags], source, openmp, kept)
    try:
        return Compiled(ctypes.CDLL(str(kept)), digest)
    except OSError as error:
        raise NotCompiled(f"{kept} can't be loaded: {error}") from error


def _compiler() -> str:
    if not sys.platform.startswith("linux"):
        raise NotCompiled("only on Linux")
    found = shutil.which(os.environ.get("CC") or "cc")
    if found is None:
        raise NotCompiled("there is no C compiler (cc)")
    return found


def _version(compiler: str) -> str:
    try:
        done = subprocess.run(
            [compiler, "--version"], capture_output=True, text=True, check=True, timeout=SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NotCompiled(f"{compiler} --version failed: {error}") from error
    return done.stdout


def _loaded_openmp() -> Path:
    """The GNU OpenMP that PyTorch has loaded: a file whose name may hold a digest."""
    for line in Path("/proc/self/maps").read_text("utf-8", "replace").splitlines():
        found = re.search(r"/\S*/libgomp[^/]*\.so[^/]*$", line)
        if found:
            return Path(found[0])
    raise NotCompiled("GNU OpenMP is not loaded")


def _processor() -> str:
    """What `-march=native` compiles for."""
    text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    found = re.findall(r"^(?:vendor_id|cpu family|model|flags|Features)\s*:.*$", text, re.MULTILINE)
    return "\n".join(sorted(set(found)))


def _is_ours(file: Path) -> bool:
    """Whether a file is there, and nobody else could have written it: it will be run."""
    try:
        found = [path.stat() for path in (file, file.parent)]
    except OSError:  # it is not there, or can't be
        return False
    if any(one.st_uid != os.getuid() or one.st_mode & 0o022 for one in found):
        raise NotCompiled(f"{file} could be written by others: remove it, or their permission")
    return True


def _compile(command: list[str], source: Path, openmp: Path, kept: Path) -> None:
    """Compile and link to a file that is there whole or not at all."""
    try:
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept.parent.chmod(0o700)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            made, linked = Path(folder) / "made.o", Path(folder) / "linked.so"
            _run([*command, "-c", str(source), "-o", str(made)])
            # Without -fopenmp, which would link the compiler's own OpenMP.
            _run([command[0], "-shared", str(made), str(openmp), "-lm", "-o", str(linked)])
            linked.chmod(0o600)
            linked.replace(kept)
    except OSError as error:
        raise NotCompiled(f"{kept} can't be written: {error.strerror}") from error


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.SubprocessError as error:
        raise NotCompiled(f"{command[0]} failed: {error}") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[0]
        raise NotCompiled(f"{command[0]} failed: {said}")
