"""Functions in C beside the package, compiled where a C compiler is, once for each machine. Linux.

A compiled file is kept in a folder of the cache that is the user's alone. Its name is a digest of
all that decides what is in it, so a changed source, compiler or processor is compiled anew; at its
end stands the SHA-256 of the rest, so one that a power cut has left damaged is, too. It computes
with the threads of the OpenMP that this process has loaded already: those of two would wait for
each other.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from netinnet.errors import NetinnetError
from netinnet.files import CannotWrite, cache_root, write_bytes

FLAGS = ("-O3", "-march=native", "-fPIC", "-fopenmp")
"""Not `-ffast-math`: a number that is none must stay none, and sums must keep their order."""
ARITHMETIC = ("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
"""The source decides the digits, not what a compiler finds fast on a processor."""
SECONDS = 60.0
"""Longest time that a compilation may take."""
_SHA256_BYTES = 32


class NotCompiled(NetinnetError):
    """Why there is no compiled form of a file here."""


@dataclass(frozen=True)
class Compiled:
    """Functions that are loaded."""

    functions: ctypes.CDLL
    digest: str
    """Names the source, the flags and the compiler: what decides the numbers."""


class InMemory(Protocol):
    """A tensor whose values are in this process's memory."""

    def data_ptr(self) -> int: ...


def at(tensor: InMemory) -> ctypes.c_void_p:
    """Where a tensor's values are, while the tensor is there."""
    return ctypes.c_void_p(tensor.data_ptr())


@functools.cache
def load(source: Path, *defines: str) -> Compiled:
    """The functions of a C file, compiled with these macros defined if they are not yet.

    Raises NotCompiled with the reason where they can't be.
    """
    if not sys.platform.startswith("linux"):
        raise NotCompiled("only on Linux")
    try:
        return _load(source, [*ARITHMETIC, *(f"-D{name}" for name in defines)])
    except (OSError, UnicodeError, CannotWrite) as error:
        raise NotCompiled(f"{source.name}: {error}") from error


def _load(source: Path, own_flags: list[str]) -> Compiled:
    compiler, openmp = _compiler(), _loaded_openmp()
    flags = [*FLAGS, *own_flags]
    digest = _digest(*_texts(source), *compiler[1:], *flags, _version(compiler))
    file = f"{source.stem}-{digest}-{_digest(_processor(), str(openmp))}.so"
    kept = _folder() / file
    if not _is_whole(kept):
        write_bytes(kept, _sealed(_compile([*compiler, *flags], source, openmp, kept.parent)))
    return Compiled(ctypes.CDLL(str(kept)), digest)


def _texts(source: Path) -> list[str]:
    """The file, and the headers beside it that it includes."""
    text = source.read_text("utf-8")
    headers = [file for file in sorted(source.parent.glob("*.h")) if f'"{file.name}"' in text]
    return [text, *(file.read_text("utf-8") for file in headers)]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _compiler() -> list[str]:
    """The compiler and what it is always given: CC, or `cc`."""
    words = shlex.split(os.environ.get("CC", "")) or ["cc"]
    found = shutil.which(words[0])
    if found is None:
        raise NotCompiled(f"there is no C compiler ({words[0]})")
    return [found, *words[1:]]


def _version(compiler: list[str]) -> str:
    """What it says of itself, without the name that it was called by."""
    said = _run([*compiler, "--version"]).stdout
    return said.partition(" ")[2]


def _loaded_openmp() -> Path:
    """The GNU OpenMP that PyTorch has loaded: a file whose name may hold a digest."""
    lines = Path("/proc/self/maps").read_text("utf-8", "replace").splitlines()
    files = [Path(words[5]) for line in lines if len(words := line.split(maxsplit=5)) == 6]
    found = [file for file in files if file.name.startswith("libgomp") and file.is_file()]
    if not found:
        raise NotCompiled("GNU OpenMP is not loaded")
    return next((file for file in found if {"torch", "torch.libs"} & {*file.parts}), found[0])


def _processor() -> str:
    """What `-march=native` compiles for."""
    lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    names = ("vendor_id", "cpu family", "model", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.split("\t")[0].strip() in names}))


def _folder() -> Path:
    """The user's folder of the cache, which nobody else can change: what is in it will be run."""
    user = os.geteuid()
    folder = cache_root().resolve() / f"compiled-{user}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    own = folder.lstat()
    if not stat.S_ISDIR(own.st_mode) or own.st_uid != user or own.st_mode & 0o022:
        raise NotCompiled(f"{folder} is a link, or could be written by others: remove it")
    for above in folder.parents:
        found = above.stat()
        group = found.st_mode & 0o020 and found.st_gid not in (0, os.getegid())
        if (group or found.st_mode & 0o002) and not found.st_mode & stat.S_ISVTX:
            raise NotCompiled(f"{above} could be written by others: NETINNET_CACHE names another")
    return folder


def _sealed(library: bytes) -> bytes:
    """What follows the last section of an ELF file is not loaded."""
    return library + hashlib.sha256(library).digest()


def _is_whole(file: Path) -> bool:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return False
    return content == _sealed(content[:-_SHA256_BYTES])


def _compile(command: list[str], source: Path, openmp: Path, folder: Path) -> bytes:
    """Compile, link and load it once: a wrong OpenMP would be noticed only then."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        made, linked = Path(work) / "made.o", Path(work) / "linked.so"
        _run([*command, "-c", str(source), "-o", str(made)])
        # Without -fopenmp, which would link the compiler's own OpenMP.
        linking = [word for word in command if word != "-fopenmp"]
        _run([*linking, "-shared", str(made), str(openmp), "-lm", "-o", str(linked)])
        ctypes.CDLL(str(linked))
        return linked.read_bytes()


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    plain = {**os.environ, "LC_ALL": "C"}
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=SECONDS,
            env=plain,
        )
    except subprocess.TimeoutExpired as error:
        raise NotCompiled(f"{name} took longer than {SECONDS:g} s") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[0]
        raise NotCompiled(f"{name} failed: {said}")
    return done
