"""The command's standard output and error. Imports nothing that takes time."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import Any

from netinnet.errors import printable


def warn(text: str) -> None:
    """One line on standard error, whatever stands in a name or a library's own message.

    A closed terminal hears none, and where standard error is closed, print would take standard
    output in its place.
    """
    if sys.stderr:
        with contextlib.suppress(OSError):
            print(f"nin: {printable(text)}", file=sys.stderr)


class _Output(io.FileIO):
    """What the system refuses of it is told apart from other files by its name."""

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            error.filename = "standard output"
            raise


def _raw(stream: io.TextIOWrapper) -> object:
    """What writes the bytes of a stream."""
    return stream.buffer.raw if type(stream.buffer) is io.BufferedWriter else stream.buffer


def prepare() -> None:
    """Let both streams escape what their encoding has not, as are bytes of names that are no UTF-8,
    and errors of standard output name it."""
    out = sys.stdout
    # Not a Windows console, which is no file of bytes, nor what somebody put in their place.
    if isinstance(out, io.TextIOWrapper) and type(_raw(out)) is io.FileIO:
        out.flush()
        raw = _Output(out.fileno(), "w", closefd=False)
        is_buffered = isinstance(out.buffer, io.BufferedWriter)
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(raw) if is_buffered else raw,
            out.encoding,
            line_buffering=out.line_buffering,
            write_through=out.write_through,
        )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
