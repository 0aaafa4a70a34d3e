"""What is on the disk after a power cut: a log of file operations, replayed as POSIX promises.

A file's content is certain as of its last fsync, a name (create, rename, unlink, mkdir) as of the
last fsync of its folder. What was not synced may be there, in part or not at all; `Cut` names the
three ways that lose most.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


class Cut(enum.Enum):
    """What a power cut did with all that was not synced."""

    NOTHING = "nothing that was not synced is there"
    NAMES = "all names are there, content that was not synced is not"
    HALF = "all names are there, with half of the content that was not synced"


@dataclass(frozen=True)
class Operation:
    """A line of the shim's log."""

    kind: str
    path: str
    other: str
    where: int
    data: bytes


@dataclass
class _File:
    """An inode: what it holds, and what it held when it was last synced."""

    content: bytearray = field(default_factory=bytearray)
    synced: bytes = b""


def read(log: Path) -> Iterator[Operation]:
    """The operations in a log, in order."""
    with log.open("rb") as file:
        while line := file.readline():
            kind, path, other, where, length = line.decode(errors="surrogateescape").split("\t")
            size = int(length)
            data = file.read(size) if size else b""
            yield Operation(kind, path, other, int(where), data)


class Disk:
    """The files below a folder that was empty (and durable) when the log began."""

    def __init__(self, root: Path) -> None:
        self.root = str(root.resolve())
        self.names: dict[str, _File | None] = {}
        """Files by path, None for a folder: as running processes see them."""
        self.durable: dict[str, _File | None] = {}

    def do(self, operation: Operation) -> None:
        """Take in one operation."""
        path, names = operation.path, self.names
        match operation.kind:
            case "create":
                names[path] = _File()
            case "mkdir":
                names[path] = None
            case "write" if isinstance(file := names.get(path), _File):
                end = operation.where + len(operation.data)
                file.content.extend(bytes(max(0, operation.where - len(file.content))))
                file.content[operation.where : end] = operation.data
            case "truncate" if isinstance(file := names.get(path), _File):
                del file.content[operation.where :]
                file.content.extend(bytes(operation.where - len(file.content)))
            case "rename":
                for name in [n for n in names if n == path or n.startswith(f"{path}/")]:
                    names[operation.other + name.removeprefix(path)] = names.pop(name)
            case "unlink":
                names.pop(path, None)
            case "fsync" if isinstance(file := names.get(path), _File):
                file.synced = bytes(file.content)
            case "fsync":
                self._sync_folder(path)

    def _sync_folder(self, folder: str) -> None:
        def inside(name: str) -> bool:
            return name.rpartition("/")[0] == folder

        self.durable = {n: f for n, f in self.durable.items() if not inside(n)}
        self.durable |= {n: f for n, f in self.names.items() if inside(n)}

    def left(self, cut: Cut) -> dict[str, bytes | None]:
        """What the power cut left: the content of files by path, None for a folder.

        A name whose folder is lost is lost too.
        """
        names, left = self.durable if cut is Cut.NOTHING else self.names, {}
        for name in sorted(names, key=lambda name: name.count("/")):
            file, (folder, _, _) = names[name], name.rpartition("/")
            if folder != self.root and folder not in left:
                continue
            if file is None:
                left[name] = None
                continue
            content = file.synced
            if cut is Cut.HALF and bytes(file.content) != content:
                content = bytes(file.content[: (len(content) + len(file.content)) // 2])
            left[name] = content
        return left

    def after(self, cut: Cut, folder: Path) -> None:
        """Make in an empty folder what the power cut left."""
        for name, content in self.left(cut).items():
            path = folder / name.removeprefix(f"{self.root}/")
            if content is None:
                path.mkdir()
            else:
                path.write_bytes(content)
