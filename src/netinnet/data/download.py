"""Files over HTTPS from mirrors: resumed where they stopped, checked, never over plain HTTP."""

from __future__ import annotations

import contextlib
import http.client
import queue
import threading
import time
import urllib.parse
import urllib.request as web
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any, cast
from urllib.error import HTTPError, URLError

from netinnet import files
from netinnet.data.original import OriginalFile, checked
from netinnet.data.source import Progress
from netinnet.errors import DataError

CHUNK_BYTES = 1 << 16
# An offline machine must not wait: so much for all attempts to connect together, name resolution
# included, and so much for a silence within a transfer.
CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 10.0

Response = http.client.HTTPResponse
OpenUrl = Callable[[web.Request], Response]


class SourceError(Exception):
    """A source has not delivered; the message is a few words, for a list of what was tried."""


class _HttpsRedirects(web.HTTPRedirectHandler):
    """Follows redirects, but never from HTTPS to anything else."""

    def redirect_request(
        self, req: web.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> web.Request | None:
        scheme = newurl.partition(":")[0].lower()
        if scheme != "https":
            raise SourceError(f"redirects to {scheme}://, refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def https_opener() -> web.OpenerDirector:
    """An opener that knows HTTPS (through the environment's proxy, if any) and nothing else."""
    opener = web.OpenerDirector()
    errors = web.HTTPDefaultErrorHandler(), web.HTTPErrorProcessor()
    ways = web.ProxyHandler(), web.HTTPSHandler(), web.UnknownHandler()
    for handler in (*ways, *errors, _HttpsRedirects()):
        opener.add_handler(handler)
    return opener


def open_https(request: web.Request) -> Response:
    """Open `request`. Raises urllib.error.URLError and its children, OSError, or SourceError."""
    return cast(Response, https_opener().open(request, timeout=SILENCE_SECONDS))


def fetch(
    wanted: Sequence[OriginalFile],
    mirrors: Iterable[str],
    folder: Path,
    progress: Progress,
    open_url: OpenUrl = open_https,
) -> list[str]:
    """Put `wanted` into `folder`, as they are published, each from the first mirror that has it.

    A mirror is the address of a folder. Returns why each mirror that failed did so; all files are
    there when one did not fail. An interrupted file stays as NAME.part and is resumed.
    Raises NetinnetError for a folder that cannot be written.
    """
    reasons = []
    opened = _Deadline(open_url)
    for mirror in mirrors:
        try:
            for file in wanted:
                if not (folder / file.packed_name).is_file():
                    _fetch_one(f"{mirror}/{file.packed_name}", file, folder, progress, opened)
        except SourceError as error:
            reasons.append(f"{urllib.parse.urlsplit(mirror).hostname or mirror}: {error}")
        else:
            break
    return reasons


class _Deadline:
    """Opens addresses. All attempts that don't reach a server have CONNECT_SECONDS together.

    A socket's timeout doesn't cover the resolution of names.
    """

    def __init__(self, open_url: OpenUrl) -> None:
        self._open_url = open_url
        self._seconds = CONNECT_SECONDS

    def __call__(self, request: web.Request) -> Response:
        """Return the response, or raise SourceError with the reason in a few words."""
        if self._seconds <= 0:
            raise SourceError("not tried, no connection")
        answers: queue.SimpleQueue[Response | BaseException] = queue.SimpleQueue()

        def work() -> None:
            try:
                answers.put(self._open_url(request))
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                answers.put(error)

        started = time.monotonic()
        # A daemon, because a resolver that hangs must not hold up the end of the program.
        threading.Thread(target=work, daemon=True, name="open-url").start()
        try:
            answer = answers.get(timeout=self._seconds)
        except queue.Empty:
            answer = TimeoutError(f"no answer within {self._seconds:.2g} s")
        if not isinstance(answer, BaseException):
            return answer
        if not isinstance(answer, HTTPError | SourceError):
            self._seconds -= time.monotonic() - started
        if isinstance(answer, OSError | http.client.HTTPException):
            raise _source_error(answer) from answer
        raise answer


def _source_error(error: OSError | http.client.HTTPException) -> SourceError:
    """What urllib and sockets raise, in a few words."""
    if isinstance(error, HTTPError):
        error.close()
        return SourceError(f"HTTP {error.code}")
    if isinstance(error, http.client.IncompleteRead):
        return SourceError("the connection ended early")
    if isinstance(error, http.client.HTTPException):
        return SourceError(f"bad answer ({type(error).__name__})")
    reason = error.reason if isinstance(error, URLError) else error
    words = getattr(reason, "strerror", None) or str(reason)
    return SourceError(words or type(reason).__name__)


def _fetch_one(
    url: str, file: OriginalFile, folder: Path, progress: Progress, open_url: OpenUrl
) -> None:
    """Fetch one file into `folder`. Raises SourceError; what has come stays to be resumed."""
    part = folder / f"{file.packed_name}.part"
    while True:
        start = part.stat().st_size if part.is_file() else 0
        _transfer(url, part, start, file, progress, open_url)
        try:
            store(part.read_bytes(), file, folder, url)
        except DataError as error:
            part.unlink()
            # The beginning may be another mirror's, whose container differs: once more, whole.
            if not start:
                raise SourceError(f"{file.packed_name} is not the original") from error
        else:
            part.unlink()
            return


def store(raw: bytes, file: OriginalFile, folder: Path, where: str) -> None:
    """Check `raw`, the file as it is published, and put it into `folder` atomically.

    Raises DataError if it is not the original and NetinnetError if it cannot be written.
    """
    checked(raw, file, where)
    files.write_bytes(folder / file.packed_name, raw)
    if file.gzip:
        # A plain file there would be found first; it was missing or damaged, or we weren't here.
        (folder / file.name).unlink(missing_ok=True)


def _transfer(
    url: str, part: Path, start: int, file: OriginalFile, progress: Progress, open_url: OpenUrl
) -> None:
    """Append `url` from `start` on to `part`, or write it anew where the server can't resume."""
    request = web.Request(url, headers={"User-Agent": "netinnet", "Accept-Encoding": "identity"})  # noqa: S310 - open_https opens nothing but HTTPS
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = open_url(request)
    except SourceError as error:
        if start and str(error) == "HTTP 416":  # nothing behind `start`: complete, or another file
            return
        raise
    with contextlib.closing(response):
        sent = response.headers.get("Content-Range") or ""
        if response.status != 206 or not sent.startswith(f"bytes {start}-"):
            start = 0
        total = None if response.length is None else start + response.length
        done = start
        with files.writing(part):
            part.open("ab" if start else "wb").close()
        while chunk := _read(response):
            done += len(chunk)
            if done > file.largest_container:
                raise SourceError(f"{file.packed_name} is too long")
            # Closed each time, so that a full disk shows here.
            with files.writing(part), part.open("ab") as target:
                target.write(chunk)
            progress(f"{file.packed_name} from {request.host}", done, total)
    if total is not None and done < total:
        raise SourceError(f"the connection ended after {done:,} of {total:,} bytes")


def _read(response: Response) -> bytes:
    try:
        return response.read(CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _source_error(error) from error
