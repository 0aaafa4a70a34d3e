"""Reading a request's body: bounded in bytes; in time the protocol bounds it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from netinnet.serve.decoding import FORM, KINDS, RAW, Part
from netinnet.serve.limits import Limits
from netinnet.serve.problems import Headers, Problem

if TYPE_CHECKING:
    from starlette.datastructures import UploadFile

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
FILES = tuple(kind for kind in KINDS if kind not in (FORM, RAW))
"""The content types of a form's files."""
DRAIN_SECONDS = 1.0
"""How long a body that is refused is read and thrown away, so that its sender sees the answer."""


class Gone(Exception):
    """The client has left: nobody waits for an answer."""


class Body:
    """The body of one request, counted while it comes.

    Args:
        receive: ASGI's.
        headers: The request's.
        limits: How large it may be.
        hold: Called with the bytes of each chunk as they come; it raises Problem where all requests
            together hold too many.
    """

    def __init__(
        self, receive: Receive, headers: Headers, limits: Limits, hold: Callable[[int], None]
    ) -> None:
        self._receive, self._headers, self._limits, self._hold = receive, headers, limits, hold
        self.size = self.held = 0
        self.complete = False
        """Whether nothing more comes."""

    async def parts(self, shape: str) -> list[Part]:
        """The pictures in it; `shape` is of raw values.

        Raises Problem: 400 for a form that can't be read, 413 or 415; Gone.
        """
        fields = dict(self._headers)
        kind = _kind(fields.get(b"content-type", b"").decode("latin-1"))
        if kind not in KINDS:
            raise Problem(415, f"the Content-Type must be one of {', '.join(KINDS)}")
        if b"content-encoding" in fields:
            raise Problem(415, "a compressed body is not read; leave out Content-Encoding")
        length = fields.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._limits.max_body:
            raise self._too_large()
        if kind == FORM:
            return await self._form()
        content = await self._chunk()
        if not self.complete:
            content = b"".join([content, *[chunk async for chunk in self._chunks()]])
        if not content:
            raise Problem(400, "the body is empty; send a picture")
        if kind == RAW:
            shape = shape or fields.get(b"x-shape", b"").decode("latin-1").replace(" ", "")
        return [Part(kind, content, shape=shape)]

    async def _chunk(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Gone
        chunk: bytes = message.get("body", b"")
        self.size += len(chunk)
        self.complete = not message.get("more_body", False)
        if self.size > self._limits.max_body:
            raise self._too_large()
        self._hold(len(chunk))
        self.held += len(chunk)
        return chunk

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        while not self.complete:
            yield await self._chunk()

    async def _form(self) -> list[Part]:
        """The files of a form, parsed while it comes; nothing is written to the disk."""
        from starlette.datastructures import Headers as FormHeaders
        from starlette.formparsers import MultiPartException, MultiPartParser

        most = self._limits.max_pictures
        parser = MultiPartParser(
            FormHeaders(raw=self._headers), self._chunks(), max_files=most, max_fields=0
        )
        parser.spool_max_size = self._limits.max_body + 1
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise Problem(400, f"the form can't be read: {error.message}") from error
        try:
            parts = [
                await _file(entry, place) for place, (_, entry) in enumerate(form.multi_items())
            ]
        finally:
            await form.close()
        if not parts:
            raise Problem(400, "the form has no file; send a picture")
        return parts

    @property
    def is_left(self) -> bool:
        """Whether there is a body that was not read to its end."""
        return not self.complete and any(
            name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
            for name, value in self._headers
        )

    async def drain(self) -> None:
        """Throw away what still comes, for a moment; nothing where the client waits to be asked."""
        if self.complete or any(name == b"expect" for name, _ in self._headers):
            return
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self.complete:
                    message = await self._receive()
                    self.complete = not message.get("more_body", False)
        except TimeoutError:
            return

    def _too_large(self) -> Problem:
        return Problem(413, f"the body is larger than {self._limits.max_body:,} bytes")


async def _file(entry: UploadFile | str, place: int) -> Part:
    """A file of a form. Raises Problem for another kind of content."""
    assert not isinstance(entry, str)  # there are no other fields
    kind, name = _kind(entry.content_type or ""), entry.filename or f"picture {place + 1}"
    if kind not in FILES:
        raise Problem(415, f"{name}: the Content-Type of a file must be one of {', '.join(FILES)}")
    return Part(kind, await entry.read(), name)


def _kind(content_type: str) -> str:
    """Without what stands behind it, as in `; boundary=…`."""
    return content_type.partition(";")[0].strip().lower()
