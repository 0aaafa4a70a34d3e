"""Processes that train one network together: who they are, and what they send each other.

Started by `torchrun` or by `nin train --processes`; they speak by torch.distributed's gloo. What is
sent is numbers and text, never pickled objects.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from netinnet.errors import FrameworkError

Numbers = npt.NDArray[Any]
PATIENCE = datetime.timedelta(hours=1)
"""How long a process waits for another: the first one evaluates, reports and saves meanwhile."""
COMING = datetime.timedelta(minutes=5)
"""How long the first one waits for the others to come: they do nothing before that."""


def check_shares(shards: int, count: int) -> None:
    """Raise FrameworkError where so many processes can't have as many shards each."""
    if shards % count:
        raise FrameworkError(
            f"{shards} shards can't be divided among {count} processes: give a power of two up to "
            f"{shards}"
        )


class ProcessLost(FrameworkError):
    """Another process has ended before its time."""


@dataclass(frozen=True)
class Processes:
    """This process among those that train together; the first has rank 0 and writes the run."""

    rank: int = 0
    count: int = 1
    on_this_machine: int = 1

    def gather(self, array: Numbers) -> list[Numbers]:
        """The arrays of all processes, by rank; all have one shape and type."""
        if self.count == 1:
            return [array]
        import torch
        from torch import distributed

        own = torch.from_numpy(np.ascontiguousarray(array))
        made = [torch.empty_like(own) for _ in range(self.count)]
        with _losses():
            distributed.all_gather(made, own)
        return [tensor.numpy() for tensor in made]

    def concatenated(self, array: Numbers) -> Numbers:
        """The arrays of all processes in one; they may differ in length."""
        if self.count == 1:
            return array
        lengths = [int(length[0]) for length in self.gather(np.array([len(array)]))]
        padded = np.zeros((max(lengths), *array.shape[1:]), array.dtype)
        padded[: len(array)] = array
        parts = zip(self.gather(padded), lengths, strict=True)
        return np.concatenate([part[:length] for part, length in parts])

    def sent(self, array: Numbers) -> Numbers:
        """The first process's array, which all others get; theirs has the same shape and type."""
        if self.count == 1:
            return array
        import torch
        from torch import distributed

        # A copy, since it is written to where it is received.
        value = torch.from_numpy(np.array(array, order="C"))
        with _losses():
            distributed.broadcast(value, 0)
        return value.numpy()

    def sent_text(self, text: str = "") -> str:
        """The first process's text, which all others get."""
        encoded = np.frombuffer(text.encode(), np.uint8)
        length = int(self.sent(np.array([len(encoded)]))[0])
        return (
            self.sent(encoded if self.rank == 0 else np.zeros(length, np.uint8)).tobytes().decode()
        )


ALONE = Processes()


@contextlib.contextmanager
def _losses() -> Iterator[None]:
    """An error of the transport as ProcessLost."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLost("another process of the training has ended") from error


def rank_here() -> int:
    """This process's rank; 0 where it trains alone. Raises FrameworkError."""
    return _number("RANK", 0)


def count_here() -> int:
    """How many processes were started to train together with this one. Raises FrameworkError."""
    return _number("WORLD_SIZE", 1)


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """All processes that were started to train together; it waits for them. ALONE if it is one.

    Raises FrameworkError where the environment that says so is wrong, or a process does not come.
    """
    rank, count = rank_here(), count_here()
    if rank >= count:
        raise FrameworkError(
            f"the environment variable RANK must be below WORLD_SIZE, which is {count}, got {rank}"
        )
    if count == 1:
        yield ALONE
        return
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    try:
        # The others come at once; the first one may have data to prepare before.
        wait = PATIENCE if rank else COMING
        store, _, _ = next(rendezvous("env://", rank, count, timeout=wait))
        distributed.init_process_group(
            "gloo", store=store, rank=rank, world_size=count, timeout=PATIENCE
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise FrameworkError(f"the {count} processes do not find each other: {reason}") from error
    try:
        yield Processes(rank, count, _number("LOCAL_WORLD_SIZE", count))
    finally:
        distributed.destroy_process_group()


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isascii() or not text.isdigit():
        raise FrameworkError(
            f"the environment variable {name} must be a whole number, got {text!r}"
        )
    return int(text)


def environment(rank: int, count: int, port: int) -> dict[str, str]:
    """What tells a process on this machine that it is one of several: as torchrun does."""
    numbers = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    return {"MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in numbers.items()}}


def free_port() -> int:
    """A port of this machine that nobody listens at now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
