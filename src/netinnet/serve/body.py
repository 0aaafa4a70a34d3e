"""Reading a request's body: bounded in bytes and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any

from netinnet.serve.decoding import FORM, KINDS, RAW, Part
from netinnet.serve.limits import Limits
from netinnet.serve.problems import Headers, Problem

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
DRAIN_SECONDS = 1.0
"""How long a body that is refused is read and thrown away, so that its sender sees the answer."""


class Gone(Exception):
    """The client has left: nobody waits for an answer."""


class Body:
    """The body of one request, counted while it comes.

    Args:
        receive: ASGI's.
        headers: The request's.
        limits: How large it may be and how long it may take.
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

        Raises Problem: 400 for a form that can't be read, 408, 413 or 415.
        """
        fields = dict(self._headers)
        given = fields.get(b"content-type", b"").decode("latin-1")
        kind = given.partition(";")[0].strip().lower()
        if kind not in KINDS:
            raise Problem(415, f"the Content-Type must be one of {', '.join(KINDS)}")
        if b"content-encoding" in fields:
            raise Problem(415, "a compressed body is not read; leave out Content-Encoding")
        length = fields.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._limits.max_body:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                if kind == FORM:
                    return await self._form()
                content = b"".join([chunk async for chunk in self._chunks()])
        except TimeoutError:
            seconds = self._limits.body_seconds
            raise Problem(408, f"the body has not come within {seconds:g} s") from None
        if not content:
            raise Problem(400, "the body is empty; send a picture")
        shape = shape or fields.get(b"x-shape", b"").decode("latin-1").replace(" ", "")
        return [Part(kind, content, shape=shape if kind == RAW else "")]

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        while not self.complete:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Gone
            chunk = message.get("body", b"")
            self.size += len(chunk)
            self.complete = not message.get("more_body", False)
            if self.size > self._limits.max_body:
                raise self._too_large()
            self._hold(len(chunk))
            self.held += len(chunk)
            if chunk:
                yield chunk

    async def _form(self) -> list[Part]:
        """The files of a form, parsed while it comes; nothing is written to the disk."""
        from starlette.datastructures import Headers as FormHeaders
        from starlette.datastructures import UploadFile
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
        parts: list[Part] = []
        for _, file in form.multi_items():
            assert isinstance(file, UploadFile)  # there are no other fields
            kind = (file.content_type or "").partition(";")[0].strip().lower()
            name = file.filename or f"picture {len(parts) + 1}"
            if kind not in KINDS or kind in (FORM, RAW):
                known = ", ".join(k for k in KINDS if k not in (FORM, RAW))
                raise Problem(415, f"{name}: the Content-Type of a file must be one of {known}")
            parts.append(Part(kind, await file.read(), name))
            await file.close()
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
