"""Hostile clients of `nin serve`: other names, slow and endless requests, pictures that hang."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import random
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attacks import clients
from netinnet.serve import children, protocol
from netinnet.serve.children import Children, _Child
from netinnet.serve.decoding import Part, decode
from netinnet.serve.guard import access
from netinnet.serve.limits import Limits
from netinnet.serve.problems import Problem
from tests.test_serve import (
    BODIES,
    PHOTO,
    PICTURE,
    PNG,
    REFUSED,
    _file,
    _form,
    _raw,
    _same,
    answering,
    client,
    listening,
)

pytestmark = pytest.mark.connects("here")

# Other names: a page of another site whose name leads to this machine (DNS rebinding)

OURS = (
    "localhost",
    "LocalHost:8000",
    "localhost:",
    "127.0.0.1",
    "127.0.0.1:1",
    "[::1]",
    "[::1]:80",
)
OTHERS = (
    *("evil.example", "evil.example:8000", "localhost.", "localhost.:8000", "127.0.0.1."),
    *("localhost.evil.example", "127.0.0.1.evil.example", "evil.example.localhost", "xlocalhost"),
    *("127.0.0.2", "127.1", "0", "0.0.0.0", "0x7f000001", "2130706433", "017700000001"),
    *("::1", "[::]", "[::2]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::1%25lo]"),
    *("[::1]evil.example", "[::1", "[localhost]", "[127.0.0.1]", "localhost]", "[::1]]"),
    *("localhost:evil.example", "localhost:80:80", "localhost:-1", "localhost:٣"),
    *("evil.example@localhost", "localhost@evil.example", "localhost/", "localhost, evil.example"),
    *("localhost\t.evil.example", "http://localhost", "", ":8000", "l\u00f6calhost", "%6cocalhost"),
)


@pytest.mark.parametrize(
    ("host", "status"), [*((name, 200) for name in OURS), *((name, 421) for name in OTHERS)]
)
def test_names(host: str, status: int) -> None:
    answers = (
        contextlib.nullcontext() if status == 200 else pytest.raises(Problem, match="allow-host")
    )
    with answers as refused:
        access("127.0.0.1").check("/v1/model", "GET", [(b"host", host.encode())])
    assert refused is None or refused.value.status == status


@pytest.fixture(scope="module")
def port() -> Any:
    quick = Limits(head_seconds=1, body_seconds=1, idle_seconds=1, max_body=100_000)
    with listening(quick) as found:
        yield found


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /v1/model HTTP/1.1\r\nHost: 127.0.0.1:9\r\n", 200),
        (b"GET /v1/model HTTP/1.1\r\nhOsT:  LOCALHOST  \r\n", 200),
        (b"GET /v1/model HTTP/1.1\r\nHost: evil.example\r\n", 421),
        (b"GET /v1/model HTTP/1.1\r\n", 400),
        (b"GET /v1/model HTTP/1.0\r\n", 400),
        (b"GET /v1/model HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n", 400),
        (b"GET /v1/model HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n", 400),
        (b"GET /v1/model HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: localhost\r\n", 421),
        # The Host header decides, whatever the target says.
        (b"GET http://localhost/v1/model HTTP/1.1\r\nHost: localhost\r\n", 200),
        (b"GET http://localhost/v1/model HTTP/1.1\r\nHost: evil.example\r\n", 421),
        (b"GET http://localhost/v1/model HTTP/1.1\r\n", 400),
        (b"GET //localhost/v1/model HTTP/1.1\r\nHost: evil.example\r\n", 421),
        (b"OPTIONS * HTTP/1.1\r\nHost: evil.example\r\n", 421),
        (b"CONNECT localhost:80 HTTP/1.1\r\nHost: evil.example\r\n", 400),
    ],
)
def test_heads_with_other_names(head: bytes, status: int, port: int) -> None:
    received, _ = _raw(port, head + b"Connection: close\r\n\r\n")
    assert int(received.split()[1]) == status


# Many at once


def test_256_clients_at_once() -> None:
    """All kinds at once: each gets what it deserves, and the service answers at once afterwards."""
    # The clients share this process with the service: on a busy machine all of them are slow.
    with listening(Limits(body_seconds=5, idle_seconds=1, max_body=100_000)) as port:
        ends = asyncio.run(clients.together(port, 256))
        assert ends.total() == 256
        assert clients.unexpected(ends) == []
        assert ends["honest", 200] > 0
        began = time.monotonic()
        name, status = asyncio.run(clients._one(port, "honest", random.Random(0)))
        assert (name, status) == ("honest", 200)
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
def test_a_busy_service_blames_no_client(name: str) -> None:
    """What lies ready when the time is up, because nobody has read it, has come in time."""

    async def live() -> None:
        async with answering(Limits(head_seconds=0.3)) as port:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                await asyncio.sleep(0.1)  # the service's clock runs
                connection.sendall(clients.GOOD)
                time.sleep(0.4)
                connection.setblocking(False)
                answer = await asyncio.get_running_loop().sock_recv(connection, 12)
        assert answer == b"HTTP/1.1 200"

    with asyncio.Runner(loop_factory=pytest.importorskip(name).new_event_loop) as runner:
        runner.run(live())


class _Written:
    """A transport that remembers what is written."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.pieces.append(data)

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ([b"head", b"body"], [b"headbody"]),
        ([b"head", b""], [b"head"]),
        ([b"head"], [b"head"]),
        ([b"head", bytes(70_000)], [b"head", bytes(70_000)]),
        ([b"head", b"body", b"head", b"body"], [b"headbody", b"headbody"]),
        ([b"head", b"body", b"more"], [b"headbody", b"more"]),
        ([bytes(70_000), b"a"], [bytes(70_000), b"a"]),
    ],
)
@pytest.mark.parametrize("closes", [False, True])
def test_an_answer_goes_out_at_once(written: list[bytes], sent: list[bytes], closes: bool) -> None:
    """Head and body in one packet; a head alone one turn of the event loop later."""

    async def live() -> list[bytes]:
        transport = _Written()
        gathered = protocol._Gathered(transport, asyncio.get_running_loop())  # type: ignore[arg-type]
        for data in written:
            gathered.write(data)
        if closes:
            gathered.close()
        await asyncio.sleep(0)
        assert transport.is_closed == closes
        return transport.pieces

    assert asyncio.run(live()) == sent


def test_what_is_held_goes_nowhere_once_the_connection_is_closed() -> None:
    async def live() -> list[bytes]:
        transport = _Written()
        gathered = protocol._Gathered(transport, asyncio.get_running_loop())  # type: ignore[arg-type]
        gathered.write(b"head")
        transport.close()
        await asyncio.sleep(0)
        return transport.pieces

    assert asyncio.run(live()) == []


def test_a_client_that_takes_no_answer_is_left() -> None:
    with listening(Limits(idle_seconds=0.3)) as port, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.sendall(clients.PAGE * 100)
        time.sleep(2)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while count := len(connection.recv(65_536)):
                received += count
        assert received < 10_000_000  # all of them are 34 million


@pytest.mark.parametrize("end", [b"?\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + bytes(9)])
def test_a_refusal_behind_requests_is_the_last_word(end: bytes) -> None:
    """What waits in front of it is given up, quietly."""
    said: list[str] = []
    with listening(Limits(), said.append) as port:
        received, _ = _raw(port, clients.GOOD * 3 + end)
        assert b"HTTP/1.1 400" in received
    assert said == []


# Pictures that end their decoder. The children see a decoder that does what the picture says.

BAD_DECODER = """
import ctypes, os, sys
if sys.argv[0].endswith("children.py") or sys.argv[0] == "-m":
    from netinnet.data import pictures
    read = pictures.read
    def bad(content, *rest, **options):
        if content.endswith(b"hang"):
            while True:
                pass
        if content.endswith(b"memory"):
            kept = [bytearray(400_000_000) for _ in range(100)]
        if content.endswith(b"crash"):
            ctypes.string_at(0)
        if content.endswith(b"exit"):
            os._exit(0)
        return read(content, *rest, **options)
    pictures.read = bad
"""
WEBP = _file(PHOTO, "WEBP")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("hang", "decoding took longer than 2 s and was ended"),
        ("memory", "the picture ended the process that decoded it"),
        ("crash", "the picture ended the process that decoded it"),
        ("exit", "the picture ended the process that decoded it"),
    ],
)
def test_a_picture_that_ends_its_decoder(
    word: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BAD_DECODER)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}")
    limits = Limits(decode_seconds=2 if word == "hang" else 30, max_pixels=1_000_000)
    with client(limits=limits) as asked:
        target = "/v1/predict?always_answer=1"
        good = asked.post(target, WEBP, "image/webp")
        assert good.status == 200
        bad = asked.post(target, WEBP + word.encode(), "image/webp")
        assert (bad.status, bad.code, bad.message) == (422, "unusable_picture", message)
        _same(asked.post(target, WEBP, "image/webp").json["pictures"][0], good.json["pictures"][0])
        assert asked.said == []


LARGE = _file(np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8), "PNG")


@pytest.mark.parametrize(
    ("kind", "body", "is_here"),
    [
        ("image/png", PNG, True),
        ("image/jpeg", _file(PHOTO, "JPEG"), True),
        ("image/webp", PNG, True),  # what it is, not what it is called
        ("image/png", WEBP, False),
        ("image/png", _file(PICTURE, "TIFF"), False),
        ("image/png", _file(np.zeros((256, 256), np.uint8), "PNG"), True),
        ("image/png", _file(np.zeros((257, 256), np.uint8), "PNG"), False),
        ("image/png", LARGE, False),
        (_form(("a", "image/png", PNG), ("b", "image/png", PNG))[1], b"", True),
        (_form(("a", "image/png", PNG), ("b", "image/webp", WEBP))[1], b"", False),
    ],
)
def test_who_decodes(kind: str, body: bytes, is_here: bool) -> None:
    """Small PNG and JPEG files are decoded in the service, all else in a child."""
    if not body:
        second = ("b", "image/png", PNG) if is_here else ("b", "image/webp", WEBP)
        body = _form(("a", "image/png", PNG), second)[0]
    with client() as asked:
        assert asked.post("/v1/predict", body, kind).status == 200
        assert len(asked.app.children._idle) == (not is_here)


def _decoded(by: Callable[..., list[Any]], parts: list[Part]) -> list[Any]:
    """The pictures, or what is said against them."""
    try:
        return by(parts, 3)
    except Problem as problem:
        return [problem.status, str(problem)]


def test_a_child_decodes_and_refuses_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "SMALL_BYTES", 0)
    pool, decode_here = Children(Limits()), functools.partial(decode, limits=Limits())
    cases = [(body, kind.lower().partition(";")[0]) for body, kind, _ in BODIES.values()]
    cases += [(body, kind) for _, body, kind, *_ in REFUSED.values() if kind.startswith("image/")]
    for body, kind in cases:
        parts = [Part(kind, body, "a", "28,28"), Part("image/webp", WEBP, "b")]
        expected, found = (_decoded(by, parts) for by in (decode_here, pool.decode))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    (child,) = pool._idle  # one was enough
    for number in (signal.SIGINT, signal.SIGTERM):
        child.process.send_signal(number)
    assert len(pool.decode(parts, 1)) == 2  # these are for the service
    child.socket.shutdown(socket.SHUT_RDWR)
    assert child.process.wait(10) == 0
    pool.close()


def _says(*pieces: bytes) -> bytes:
    head, *rest = pieces
    return struct.pack(">I", len(head)) + b"".join([head, *rest])


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff" * 4,
        b"\0\0",
        _says(b"no JSON"),
        _says(b'"shapes"'),
        _says(b"[]"),
        _says(b"{}"),
        _says(b'{"shapes": [[1, 2, 2, 1]]}', b"abc"),
        _says(b'{"shapes": [[1, 2, 2, -1]]}'),
        _says(b'{"shapes": [[1000000, 1000000, 1, 1]]}'),
        _says(b'{"shapes": [["1"]]}'),
        _says(b'{"shapes": [[-1, -1]]}', b"a"),
        _says(b'{"shapes": [[true, 1]]}', b"a"),
        _says(b'{"shapes": [[1180591620717411303424, 0]]}'),
        _says(b'{"status": Infinity, "message": ""}'),
        _says(b"[" * 100_000),
        _says(b'{"shapes": [[0.5]]}', b"abc"),
        _says(b'{"shapes": 5}'),
        _says(b'{"status": 200, "message": ""}'),
        _says(b'{"status": 422}'),
        _says(b'{"status": "x", "message": ""}'),
    ],
)
def test_a_child_is_not_believed(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been taken over by the picture that it decodes."""
    own, other = socket.socketpair()
    pool = Children(Limits())

    class Ended:
        def kill(self) -> None:
            pass

        wait = kill

    child = object.__new__(_Child)
    child.limits, child.socket = pool.limits, own
    child.process = Ended()  # type: ignore[assignment]
    own.settimeout(5)
    pool._idle.append(child)

    def answers() -> None:
        with other:
            other.recv(65_536)
            other.sendall(answer)

    thread = threading.Thread(target=answers)
    thread.start()
    with pytest.raises(Problem, match="the picture ended the process") as caught:
        pool.decode([Part("image/webp", WEBP)], 1)
    thread.join()
    assert caught.value.status == 422
    assert pool._idle == []


def test_no_child_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with client() as asked:
        reply = asked.post("/v1/predict", WEBP, "image/webp")
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert reply.message == "no process to decode pictures could be started"
        assert asked.post("/v1/predict", PNG, "image/png").status == 200


def test_all_pictures_of_a_request_have_a_limit_together() -> None:
    """Files of some kilobytes that are gigabytes when decoded."""
    black = _file(np.zeros((100, 100), np.uint8), "PNG")
    with client(limits=Limits(max_pixels=10_000)) as asked:
        for count, status in ((6, 200), (7, 413)):
            body, kind = _form(*[(f"{place}", "image/png", black) for place in range(count)])
            assert asked.post("/v1/predict", body, kind).status == status
        reply = asked.post("/v1/predict", body, kind)
        assert reply.message == "all pictures together have more than 60,000 values; send fewer"
        assert json.loads(reply.body)["error"]["code"] == "too_large"
