"""Hostile clients of `nin serve`, all at once, and a long mixture of good and bad requests.

    python -m attacks.clients [--requests 1000000] [--clients 256]

starts a service of the shipped model on this machine. First come all hostile clients at once, then
the requests by wrk (apt-get install wrk), with hostile clients beside them all the time. Printed
are every status, how soon the service answered afterwards, and its memory (its decoding processes
included) once warm and at the end. tests/test_serve_hostile.py runs the clients, fewer of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
from PIL import Image

HOST = "127.0.0.1"
HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
PAGE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
PATIENCE = 60.0
"""Seconds after which a client that has got neither an answer nor an end counts as hanging."""

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Status = int | str
"""An answer's, or "closed" or "hanging"."""


def picture(kind: str = "PNG", size: int = 28) -> bytes:
    values = np.random.default_rng(0).integers(0, 256, (size, size), np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind)
    return file.getvalue()


PNG = picture()
GOOD = HEAD + b"Content-Length: %d\r\n\r\n" % len(PNG) + PNG


async def _status(reader: asyncio.StreamReader) -> Status:
    """The next answer's, which is read to its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
    except (OSError, asyncio.IncompleteReadError):
        return "closed"
    return int(head.split()[1])


async def _drip(connection: Connection, pieces: Callable[[], bytes], seconds: float) -> Status:
    """Send pieces without an end until there is an answer."""
    reader, writer = connection
    answer = asyncio.create_task(_status(reader))
    with contextlib.suppress(OSError):
        while not answer.done():
            writer.write(pieces())
            await writer.drain()
            await asyncio.sleep(seconds)
    return await answer


async def slow_head(connection: Connection, _: random.Random) -> Status:
    connection[1].write(HEAD)
    return await _drip(connection, lambda: b"X-A: b\r\n", 0.1)


async def slow_body(connection: Connection, _: random.Random) -> Status:
    connection[1].write(HEAD + b"Content-Length: 9999\r\n\r\n")
    return await _drip(connection, lambda: b"a", 0.1)


async def endless_chunks(connection: Connection, _: random.Random) -> Status:
    connection[1].write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    return await _drip(connection, lambda: b"4000\r\n" + bytes(0x4000) + b"\r\n", 0)


async def silent(connection: Connection, _: random.Random) -> Status:
    return await _status(connection[0])


async def half_closed(connection: Connection, _: random.Random) -> Status:
    connection[1].write(GOOD)
    connection[1].write_eof()
    return await _status(connection[0])


async def half_a_request(connection: Connection, rng: random.Random) -> Status:
    connection[1].write(GOOD[: rng.randrange(1, len(GOOD))])
    connection[1].write_eof()
    return await _status(connection[0])


async def gone(connection: Connection, rng: random.Random) -> Status:
    connection[1].write(GOOD[: rng.randrange(1, len(GOOD) + 1)])
    await connection[1].drain()
    connection[1].transport.abort()
    return "closed"


async def never_reads(connection: Connection, _: random.Random) -> Status:
    """Asks for the page a hundred times, and leaves without a look at the answers."""
    connection[1].transport.pause_reading()
    connection[1].write(PAGE * 100)
    await asyncio.sleep(3)
    return "closed"


async def pipelines(connection: Connection, _: random.Random) -> Status:
    """Thousands of requests in one piece."""
    connection[1].write(PAGE * 5000)
    status = await _status(connection[0])
    while status == 200:
        status = await _status(connection[0])
    return status


async def garbage(connection: Connection, rng: random.Random) -> Status:
    connection[1].write(rng.randbytes(rng.randrange(1, 2000)) + b"\r\n\r\n")
    return await _status(connection[0])


async def honest(connection: Connection, _: random.Random) -> Status:
    connection[1].write(GOOD)
    return await _status(connection[0])


CLIENTS: dict[str, tuple[Callable[[Connection, random.Random], Awaitable[Status]], set[Status]]] = {
    "slow head": (slow_head, {408, 503, "closed"}),
    "slow body": (slow_body, {408, 503, "closed"}),
    "endless chunks": (endless_chunks, {408, 413, 503, "closed"}),
    "silent": (silent, {408, 503}),
    "half closed": (half_closed, {200, 503, "closed"}),
    "half a request": (half_a_request, {408, 503, "closed"}),
    "gone": (gone, {"closed"}),
    "never reads": (never_reads, {"closed"}),
    "pipelines": (pipelines, {503, "closed"}),
    "garbage": (garbage, {400, 408, 431, 503, "closed"}),
    "honest": (honest, {200, 503}),
}
"""Each client, and what may come of it. One that goes on sending may lose its answer."""


async def _one(port: int, name: str, rng: random.Random) -> tuple[str, Status]:
    try:
        async with asyncio.timeout(PATIENCE):
            connection = await asyncio.open_connection(HOST, port)
            try:
                return name, await CLIENTS[name][0](connection, rng)
            finally:
                connection[1].transport.abort()
    except TimeoutError:
        return name, "hanging"
    except OSError:
        return name, "closed"


async def together(port: int, count: int, seed: int = 0) -> Counter[tuple[str, Status]]:
    """So many clients at once, of all kinds in turn: how often each ended how."""
    names = [name for name, _ in zip(list(CLIENTS) * count, range(count), strict=False)]
    clients = (_one(port, name, random.Random(seed + place)) for place, name in enumerate(names))
    return Counter(await asyncio.gather(*clients))


def unexpected(ends: Counter[tuple[str, Status]]) -> list[tuple[str, Status]]:
    """What must not come of a client."""
    return [(name, status) for name, status in ends if status not in CLIENTS[name][1]]


# The long run

MIXTURE = """local requests = {{}}
for line in io.lines("{file}") do requests[#requests + 1] = (line:gsub("%x%x", function(pair)
  return string.char(tonumber(pair, 16)) end)) end
math.randomseed({seed})
request = function() return requests[math.random(#requests)] end
"""


def mixture() -> list[bytes]:
    """Whole requests: some are answered with a prediction, most are refused, each for a reason.

    What takes the service long is rare: the page, metrics, class maps.
    """

    def post(kind: str, body: bytes, query: str = "", host: str = "localhost") -> bytes:
        head = f"POST /v1/predict{query} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def get(path: str, method: str = "GET", more: str = "Host: localhost\r\n") -> bytes:
        return f"{method} {path} HTTP/1.1\r\n{more}\r\n".encode()

    raw = "application/octet-stream"
    rare = [
        post(raw, bytes(784), "?shape=28,28&maps=1&top=3"),
        get("/"),
        get("/metrics"),
        post("image/webp", picture("WEBP")),
        post("image/png", picture(size=300)),
    ]
    return rare + 20 * [
        post("image/png", PNG),
        post("image/jpeg", picture("JPEG")),
        post(raw, bytes(784), "?shape=28,28"),
        post("image/png", PNG[:200]),
        post("image/png", b"no picture"),
        post("image/tiff", PNG[:60]),
        post(raw, bytes(784), "?shape=28,29"),
        post(raw, bytes(300), "?shape=300,1,1,1"),
        post("text/plain", b"hello"),
        post("multipart/form-data; boundary=a", b"--a\r\n\r\n"),
        post("image/png", b""),
        post("image/png", PNG, "?top=0"),
        post("image/png", PNG, "?model=none"),
        post("image/png", PNG, host="evil.example"),
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
        *(get(path) for path in ("/healthz", "/readyz", "/v1/model", "/openapi.json")),
        *(get(path) for path in ("/nowhere", "/../../etc/passwd", "/%00", "//", "/v1/predict/")),
        get("/healthz", "DELETE"),
        get("/v1/model", more="Host: 127.0.0.1.evil.example\r\n"),
        get("/v1/model", more=""),
        get("/v1/model", more="Host: localhost\r\nHost: localhost\r\n"),
        get("/v1/model", more="Host: localhost\r\nAuthorization: Bearer " + "a" * 5000 + "\r\n"),
    ]


def memory(pid: int) -> int:
    """KiB of a process and its children that lie in memory."""
    words = ["ps", "-o", "rss=", "--pid", str(pid), "--ppid", str(pid)]
    return sum(
        map(int, subprocess.run(words, capture_output=True, text=True, check=True).stdout.split())
    )


def answered(port: int) -> Counter[str]:
    """How many requests the service says it has answered, by status."""
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=60) as reply:
        text = reply.read().decode()
    counts: Counter[str] = Counter()
    for status, count in re.findall(r'nin_requests_total\{.*status="(\d+)"\} (\S+)', text):
        counts[status] += int(float(count))
    return counts


def _by_wrk(pid: int, port: int, count: int, folder: Path) -> list[int]:
    """The mixture until so many more requests are answered; the memory now and then."""
    (folder / "requests").write_text("\n".join(request.hex() for request in mixture()))
    script, readings = folder / "mixture.lua", list[int]()
    done, goal = 0, sum(answered(port).values()) + count
    while done < goal:
        script.write_text(MIXTURE.format(file=folder / "requests", seed=len(readings)))
        words = ["wrk", "-t1", "-c64", "-d10s", "--timeout", "30s", "-s", str(script)]
        subprocess.run([*words, f"http://{HOST}:{port}"], check=True, capture_output=True)
        done = sum(answered(port).values())
        readings.append(memory(pid))
        print(f"{done:,}: {readings[-1]:,} KiB", file=sys.stderr, flush=True)
    return readings


def _beside_hostile(
    pid: int, port: int, count: int, ends: Counter[tuple[str, Status]]
) -> list[int]:
    """The mixture, and beside it hostile clients, whose ends are counted."""
    is_over = threading.Event()

    def beside() -> None:
        while not is_over.is_set():
            ends.update(asyncio.run(together(port, 2 * len(CLIENTS), seed=sum(ends.values()))))
            is_over.wait(5)

    thread = threading.Thread(target=beside)
    thread.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _by_wrk(pid, port, count, Path(folder))
    finally:
        is_over.set()
        thread.join()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=256)
    options = parser.parse_args()
    words = [sys.executable, "-m", "netinnet", "serve", "--port", "0", "--json", "--threads", "1"]
    ends: Counter[tuple[str, Status]] = Counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout is not None
            port = int(json.loads(service.stdout.readline())["port"])
            ends += asyncio.run(together(port, options.clients))
            began = time.monotonic()
            assert asyncio.run(_one(port, "honest", random.Random(0)))[1] == 200
            print(f"answers {time.monotonic() - began:.2f} s after {options.clients} clients")

            _beside_hostile(service.pid, port, options.requests // 10, ends)  # to warm up
            readings = _beside_hostile(service.pid, port, options.requests, ends)
            counts = answered(port)
        finally:
            service.terminate()
    # Bodies of the hostile come and go: the median of a tenth of the readings.
    tenth = max(1, len(readings) // 10)
    first, last = map(statistics.median, (readings[:tenth], readings[-tenth:]))
    print(f"{sum(counts.values()):,} requests answered")
    print("statuses:", dict(sorted(counts.items())))
    print("hostile clients:", dict(sorted(ends.items(), key=str)))
    print(f"memory: {first:,} KiB once warm, {last:,} KiB at the end: {last / first - 1:+.1%}")
    wrong = [status for status in counts if status[0] not in "24" and status != "503"]
    wrong_ends = unexpected(ends)
    print("unexpected:", [*wrong, *wrong_ends] or "nothing")
    return 1 if wrong or wrong_ends or last > 1.05 * first or service.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
