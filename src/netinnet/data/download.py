"""Files over HTTPS from mirrors: resumed where they stopped, checked, never over plain HTTP."""

from __future__ import annotations

import contextlib
import http.client
import io
import queue
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.request import Request

from netinnet import files
from netinnet.data.idx import IdxFile, checked
from netinnet.errors import DataError

CHUNK_BYTES = 1 << 16
# An offline machine must not wait: so much for all attempts to connect together, name resolution
# included, and so much for a silence within a transfer.
CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 10.0

Progress = Callable[[str, int, int | None], None]
"""Called with what happens, and bytes done and in all (None: unknown); 0 and None: a message."""


class Response(Protocol):
    """The part of http.client.HTTPResponse that is used here."""

    status: int
    headers: Any

    def read(self, amount: int, /) -> bytes: ...
    def close(self) -> None: ...


OpenUrl = Callable[[Request], Response]


class SourceError(Exception):
    """A source has not delivered; the message is a few words, for a list of what was tried."""


class _HttpsRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from HTTPS to anything else."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        if not newurl.lower().startswith("https://"):
            scheme = newurl.partition(":")[0]
            raise SourceError(f"redirects to {scheme}://, refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def https_opener() -> urllib.request.OpenerDirector:
    """An opener that knows HTTPS (through the environment's proxy, if any) and nothing else."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _HttpsRedirects(),
    ):
        opener.add_handler(handler)
    return opener


def open_https(request: Request) -> Response:
    """Open `request`. Raises urllib.error.URLError and its children, OSError, or SourceError."""
    response: Response = https_opener().open(request, timeout=SILENCE_SECONDS)
    return response


def fetch(
    wanted: Sequence[IdxFile],
    mirrors: Iterable[str],
    folder: Path,
    progress: Progress,
    open_url: OpenUrl = open_https,
) -> list[str]:
    """Put `wanted` (as NAME.gz) into `folder`, each from the first mirror that has it.

    A mirror is the address of a folder. Returns why each mirror that failed did so; all files are
    there when one did not fail. An interrupted file stays as NAME.gz.part and is resumed.
    Raises NetinnetError for a folder that cannot be written.
    """
    reasons = []
    connecting = CONNECT_SECONDS
    for mirror in mirrors:
        host = urllib.parse.urlsplit(mirror).hostname or mirror
        missing = [file for file in wanted if not (folder / f"{file.name}.gz").is_file()]
        if not missing:
            break
        if connecting <= 0:
            reasons.append(f"{host}: not tried, no connection")
            continue
        started = time.monotonic()
        opened = _Deadline(open_url, connecting)
        try:
            for file in missing:
                _fetch_one(f"{mirror}/{file.name}.gz", file, folder, progress, opened)
        except SourceError as error:
            reasons.append(f"{host}: {error}")
        if not opened.connected:
            connecting -= time.monotonic() - started
    return reasons


class _Deadline:
    """Opens addresses within `seconds`; a socket's timeout doesn't cover name resolution."""

    def __init__(self, open_url: OpenUrl, seconds: float) -> None:
        self.open_url = open_url
        self.seconds = seconds
        self.connected = False

    def __call__(self, request: Request) -> Response:
        """Return the response, or raise SourceError with the reason in a few words."""
        answers: queue.SimpleQueue[Response | BaseException] = queue.SimpleQueue()

        def work() -> None:
            try:
                answers.put(self.open_url(request))
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                answers.put(error)

        # A daemon, because a resolver that hangs must not hold up the end of the program.
        threading.Thread(target=work, daemon=True, name="open-url").start()
        try:
            answer = answers.get(timeout=self.seconds)
        except queue.Empty:
            raise SourceError(f"no answer within {self.seconds:.2g} s") from None
        if not isinstance(answer, BaseException):
            self.connected = True
            return answer
        self.connected = isinstance(answer, (urllib.error.HTTPError, SourceError))
        with _explained():
            raise answer


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn what urllib and sockets raise into SourceError with a few words."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise SourceError(f"HTTP {error.code}") from error
    except urllib.error.URLError as error:
        reason = error.reason
        words = reason.strerror if isinstance(reason, OSError) else reason
        raise SourceError(str(words or reason)) from error
    except http.client.IncompleteRead as error:
        raise SourceError("the connection ended early") from error
    except http.client.HTTPException as error:
        raise SourceError(f"bad answer ({type(error).__name__})") from error
    except OSError as error:
        raise SourceError(error.strerror or str(error) or type(error).__name__) from error


def _fetch_one(
    url: str, file: IdxFile, folder: Path, progress: Progress, open_url: OpenUrl
) -> None:
    """Fetch one file into `folder`. Raises SourceError; what has come stays to be resumed."""
    part = folder / f"{file.name}.gz.part"
    while True:
        resumed = part.is_file() and part.stat().st_size > 0
        _transfer(url, part, file, progress, open_url)
        try:
            store(part.read_bytes(), file, folder, url)
        except DataError as error:
            part.unlink()
            # The beginning may be another mirror's, whose container differs: once more, whole.
            if resumed:
                continue
            raise SourceError(f"{file.name}.gz is not the original") from error
        part.unlink()
        return


def store(raw: bytes, file: IdxFile, folder: Path, where: str) -> None:
    """Check `raw`, the gzip file, and put it into `folder` atomically as NAME.gz.

    Raises DataError if it is not the original and NetinnetError if it cannot be written.
    """
    checked(raw, file, where)
    with files.replacing(folder / f"{file.name}.gz") as target:
        target.write(raw)
    # A plain file there would be found first; it was missing or damaged, or we weren't here.
    (folder / file.name).unlink(missing_ok=True)


def _transfer(url: str, part: Path, file: IdxFile, progress: Progress, open_url: OpenUrl) -> None:
    """Append what is missing of `url` to `part`, or write it anew where the server can't resume."""
    start = part.stat().st_size if part.is_file() else 0
    request = Request(url, headers={"User-Agent": "netinnet", "Accept-Encoding": "identity"})  # noqa: S310 - open_https opens nothing but HTTPS
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = open_url(request)
    except SourceError as error:
        if start and str(error) == "HTTP 416":  # nothing behind `start`: complete, or another file
            return
        raise
    with contextlib.closing(response):
        if not (response.status == 206 and _range_start(response) == start):
            start = 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        done = start
        with _open_part(part, append=start > 0) as target:
            for chunk in _chunks(response):
                done += len(chunk)
                if done > file.largest_container:
                    raise SourceError(f"{file.name}.gz is too long")
                _write(target, chunk, part)
                progress(f"{file.name}.gz from {request.host}", done, total)
    if total is not None and done < total:
        raise SourceError(f"the connection ended after {done:,} of {total:,} bytes")


def _range_start(response: Response) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range") or "")
    return int(match[1]) if match else None


def _chunks(response: Response) -> Iterable[bytes]:
    while True:
        with _explained():
            chunk = response.read(CHUNK_BYTES)
        if not chunk:
            return
        yield chunk


def _open_part(part: Path, append: bool) -> io.FileIO:
    # Without a buffer, a full disk shows in `_write` and not when the file is closed.
    try:
        return part.open("ab" if append else "wb", buffering=0)
    except OSError as error:
        raise files.cannot_write(part, error) from error


def _write(target: io.FileIO, chunk: bytes, part: Path) -> None:
    rest = memoryview(chunk)
    try:
        while rest:
            rest = rest[target.write(rest) :]
    except OSError as error:
        raise files.cannot_write(part, error) from error
