"""Decoding in processes that can be ended: what a stranger's picture does to a decoder stays there.

A picture that takes too long, too much memory, or crashes its decoder ends one of these processes
and gets 422; the service goes on. To ask a process takes 0.15 ms of processor time, twice what
decoding a small picture takes (benchmarks/decoding_children.py): so small PNG and JPEG files are
decoded in the service's own threads.

A child is this module, run. It reads requests from a socket, its standard input, and writes pixels
or a problem to it: lengths, JSON and bytes, of which nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import json
import math
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from netinnet.serve.decoding import NPY, RAW, Part, Pictures, decode, is_shape
from netinnet.serve.limits import Limits
from netinnet.serve.problems import Problem, busy

SMALL_BYTES = 65_536
"""Most bytes of a request's pictures that are decoded in the service's process."""
SMALL_PIXELS = 65_536
"""Most pixels of each of them."""
SMALL_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
"""How a PNG or JPEG file begins, whatever its sender calls it."""
SPARE_BYTES, BYTES_A_PIXEL = 2**29, 64
"""So much memory a child may take, and for each pixel of a picture as large as may be."""
START_SECONDS = 60
ORPHAN_SECONDS = 5
"""So long after the parent's patience a child ends itself, should the parent be gone."""
MAX_HEAD = 1_000_000
"""Most bytes of JSON that either side says."""
_HEAD = struct.Struct(">I")


class Children:
    """As many decoding processes as threads call `decode` at a time, kept for the next request."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._small = replace(limits, max_pixels=min(SMALL_PIXELS, limits.max_pixels))
        self._idle: list[_Child] = []

    def decode(self, parts: Sequence[Part], channels: int) -> list[Pictures]:
        """As `decoding.decode`, in a child where something may go wrong.

        Raises Problem, too: 422 where decoding took too long or ended the child, 503 where no child
        can be started.
        """
        if all(part.kind in (RAW, NPY) for part in parts):
            return decode(parts, channels, self.limits)
        is_small = sum(len(part.content) for part in parts) <= SMALL_BYTES
        if is_small and all(part.content.startswith(SMALL_STARTS) for part in parts):
            try:
                return decode(parts, channels, self._small)
            except Problem as problem:
                if problem.status != 413:
                    raise
        return self._decode_in_child(parts, channels)

    def _decode_in_child(self, parts: Sequence[Part], channels: int) -> list[Pictures]:
        try:
            child = self._idle.pop()
        except IndexError:
            child = _Child(self.limits)
        try:
            arrays = child.ask(parts, channels)
        except Problem:
            self._idle.append(child)
            raise
        except TimeoutError as error:
            child.end()
            limit = f"{self.limits.decode_seconds:g} s"
            raise Problem(422, f"decoding took longer than {limit} and was ended") from error
        except Exception as error:  # what it says may make almost anything
            child.end()
            raise Problem(422, "the picture ended the process that decoded it") from error
        self._idle.append(child)
        return arrays

    def close(self) -> None:
        """End the children that are idle."""
        while self._idle:
            self._idle.pop().end()


class _Child:
    """One process. Raises Problem 503 where it can't be started."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.socket, other = socket.socketpair()
        words = [sys.executable, "-m", __name__, json.dumps(asdict(limits))]
        with other:
            self.process = subprocess.Popen(words, stdin=other.fileno(), stdout=subprocess.DEVNULL)
        try:
            self.socket.settimeout(START_SECONDS)
            _receive_json(self.socket)  # it is ready
        except (OSError, EOFError, ValueError) as error:
            self.end()
            raise busy("no process to decode pictures could be started") from error
        self.socket.settimeout(limits.decode_seconds)

    def ask(self, parts: Sequence[Part], channels: int) -> list[Pictures]:
        """What it decodes. Raises what its silence, end or lies make; Problem for its own."""
        described = [[part.kind, part.name, part.shape, len(part.content)] for part in parts]
        _send(self.socket, [channels, described], [part.content for part in parts])
        answer = _receive_json(self.socket)
        if "status" in answer:
            raise Problem(int(answer["status"]), str(answer["message"]))
        shapes = answer["shapes"]
        if not all(map(is_shape, shapes)):
            raise ValueError("no shapes")
        if sum(map(math.prod, shapes)) > self.limits.values_at_once:
            raise ValueError("more values than a request may have")
        return [
            np.frombuffer(_receive(self.socket, math.prod(s)), np.uint8).reshape(s) for s in shapes
        ]

    def end(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()
        self.socket.close()


def _send(to: socket.socket, head: Any, contents: Sequence[bytes | memoryview]) -> None:
    text = json.dumps(head).encode()
    to.sendall(_HEAD.pack(len(text)) + text)
    for content in contents:
        to.sendall(content)


def _receive(source: socket.socket, size: int) -> bytearray:
    content = bytearray(size)
    left = memoryview(content)
    while left:
        if not (count := source.recv_into(left)):
            raise EOFError
        left = left[count:]
    return content


def _receive_json(source: socket.socket) -> Any:
    (size,) = _HEAD.unpack(_receive(source, _HEAD.size))
    if size > MAX_HEAD:
        raise ValueError("a head too long")
    return json.loads(_receive(source, size))


def _limit_memory(more: int) -> None:
    """So many bytes more than this process has now."""
    import resource

    with contextlib.suppress(OSError, ValueError):  # where the system has no such thing
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        limit = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _work(limits: Limits) -> None:
    """The child: answer until the parent is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # for the service, which answers what is under way
    _limit_memory(SPARE_BYTES + BYTES_A_PIXEL * limits.max_pixels)
    parent = socket.socket(fileno=0)
    _send(parent, "ready", [])
    while True:
        channels, described = _receive_json(parent)
        parts = [
            Part(kind, bytes(_receive(parent, size)), name, shape)
            for kind, name, shape, size in described
        ]
        signal.setitimer(signal.ITIMER_REAL, limits.decode_seconds + ORPHAN_SECONDS)
        try:
            arrays = [np.ascontiguousarray(array) for array in decode(parts, channels, limits)]
        except Problem as problem:
            _send(parent, {"status": problem.status, "message": str(problem)}, [])
        else:
            _send(parent, {"shapes": [a.shape for a in arrays]}, [a.data for a in arrays])
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    with contextlib.suppress(EOFError, ConnectionError):
        _work(Limits(**json.loads(sys.argv[1])))
