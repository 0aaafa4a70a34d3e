"""How fast `nin serve` answers, beside the bare session and a plain service of the same model.

    python benchmarks/serve_load.py [--part load] [--rounds 5] [--seconds 4] [--body NAME] …

Needs wrk (apt-get install wrk), the extra serve, and for the peer fastapi and torch. Everything
runs on this machine, so client and service share its cores. What is compared alternates in one run,
round by round, and medians are printed: of the rates, and of the rounds' ratios.

Parts: load (rates and latencies; the bare session at the batch size that formed; the peer), single
(a request at a time beside a bare session.run of one picture), start (from the start of the process
to the first answer).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from netinnet.inference import model_files, onnx_graph
from netinnet.inference.onnx_graph import FEATURES, INPUT, LOGITS

RAW = "application/octet-stream"
PATH = "/v1/predict"
SHAPE = f"{PATH}?shape=28,28,1"
SCRIPT = """local f = io.open("{file}", "rb"); local body = f:read("*a"); f:close()
wrk.method = "POST"; wrk.body = body; wrk.headers["Content-Type"] = "{kind}"
"""


class Load(NamedTuple):
    """What one run of wrk found."""

    rate: float
    p50: float
    p99: float
    errors: int


def bodies() -> dict[str, tuple[str, bytes]]:
    """Content type and content: a small picture three ways, and a photograph."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (28, 28), np.uint8)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    photo = coarse.resize((640, 480), Image.Resampling.BICUBIC)

    def file(picture: Image.Image, kind: str) -> bytes:
        made = io.BytesIO()
        picture.save(made, kind)
        return made.getvalue()

    return {
        "raw 28×28": (RAW, small.tobytes()),
        "PNG 28×28": ("image/png", file(Image.fromarray(small), "PNG")),
        "JPEG 28×28": ("image/jpeg", file(Image.fromarray(small), "JPEG")),
        "JPEG 640×480": ("image/jpeg", file(photo, "JPEG")),
    }


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
"""As for a user: modules are compiled once."""


@contextlib.contextmanager
def running(words: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    try:
        until_connected(port)
        yield process
    finally:
        process.terminate()
        process.wait(20)


def until_connected(port: int) -> None:
    for _ in range(10_000):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.002)
    raise SystemExit("the service has not started")


def service(port: int) -> list[str]:
    return [sys.executable, "-m", "netinnet", "serve", "--port", str(port), "--threads", "1"]


def wrk(url: str, connections: int, seconds: int, body: tuple[str, bytes] | None) -> Load:
    with tempfile.TemporaryDirectory() as folder:
        words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
        if body:
            file, script = Path(folder, "body"), Path(folder, "post.lua")
            file.write_bytes(body[1])
            script.write_text(SCRIPT.format(file=file, kind=body[0]))
            words += ["-s", str(script)]
        text = subprocess.run([*words, url], capture_output=True, text=True, check=True).stdout
    units = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    times = {
        p: float(v) * units[u] for p, v, u in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)", text)
    }
    (rate,) = re.findall(r"Requests/sec:\s+([\d.]+)", text)
    errors = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", text)))
    return Load(float(rate), times["50"], times["99"], errors)


def batches(port: int) -> tuple[float, float]:
    """How many batches there were so far, and how many pictures in them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as reply:
        text = reply.read().decode()
    count, total = (
        float(re.findall(rf"^nin_batch_pictures_{name} (\S+)", text, re.MULTILINE)[0])
        for name in ("count", "sum")
    )
    return count, total


def engine_seconds(process: subprocess.Popen[bytes]) -> float:
    """Processor time of the service's busiest thread but the first, which is the event loop."""
    times = []
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        if task.name != str(process.pid):
            times.append(sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK"))
    return max(times, default=0.0)


def bare_session() -> Callable[[int], Callable[[], Any]]:
    """Gives for a batch size what computes it on one thread: what the service asks of the model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    graph = onnx_graph.to_onnx(model_files.find(None), with_features=True)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def of(size: int) -> Callable[[], Any]:
        images = np.random.default_rng(0).integers(0, 256, (size, 28, 28, 1), np.uint8)
        return lambda: session.run([LOGITS, FEATURES], {INPUT: images})

    return of


def rate_of(work: Callable[[], Any], seconds: float) -> tuple[float, float]:
    """How often a second, and how often a second of the processor."""
    count, began, used = 0, time.perf_counter(), time.process_time()
    while (took := time.perf_counter() - began) < seconds:
        work()
        count += 1
    return count / took, count / (time.process_time() - used)


def median(values: list[float]) -> float:
    return statistics.median(values)


def load(seconds: int, rounds: int, connections: int, names: list[str], *, peer: bool) -> None:
    bare, port, peer_port = bare_session(), free_port(), free_port()
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(running(service(port), port))
        if peer:
            words = [
                sys.executable,
                str(Path(__file__).parent / "plain_service.py"),
                str(peer_port),
            ]
            stack.enter_context(running(words, peer_port))
        url, peer_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}/predict"
        show("GET /healthz", [wrk(f"{url}/healthz", connections, seconds, None)])
        for name in names:
            body = bodies()[name]
            target = f"{url}{SHAPE if body[0] == RAW else PATH}"
            ours, theirs, shares, engine_shares, sizes, bares = [], [], [], [], [], []
            for _ in range(rounds):
                before, used = batches(port), engine_seconds(process)
                ours.append(wrk(target, connections, seconds, body))
                count, pictures = (b - a for a, b in zip(before, batches(port), strict=True))
                used = engine_seconds(process) - used
                sizes.append(pictures / count)
                if "28×28" in name:
                    size = max(1, round(sizes[-1]))
                    rate, processor_rate = rate_of(bare(size), seconds / 2)
                    bares.append(size * rate)
                    shares.append(ours[-1].rate / bares[-1])
                    engine_shares.append(pictures / used / (size * processor_rate))
                if peer:
                    theirs.append(wrk(peer_url, connections, seconds, body))
            show(name, ours)
            print(f"    {median(sizes):.1f} pictures a batch")
            if shares:
                print(f"    bare session.run at that size: {median(bares):,.0f}/s")
                print(f"    the service has {spread(shares, '.0%')} of it")
                print(f"    by processor time its engine has {spread(engine_shares, '.0%')}")
            if theirs:
                show("    FastAPI + PyTorch", theirs)
                times = [a.rate / b.rate for a, b in zip(ours, theirs, strict=True)]
                print(f"    the service has {spread(times, '.1f')} times its rate")


def spread(values: list[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def show(name: str, found: list[Load]) -> None:
    rate, p50, p99 = (median([x[i] for x in found]) for i in range(3))
    errors = sum(x.errors for x in found)
    failed = f", {errors} ERRORS" if errors else ""
    print(f"{name}: {rate:,.0f}/s, p50 {p50:.2f} ms, p99 {p99:.2f} ms{failed}", flush=True)


def single(rounds: int) -> None:
    """One request at a time on one connection, and a bare run, in turns of 200."""
    work, port = bare_session()(1), free_port()
    kind, content = bodies()["raw 28×28"]
    head = f"POST {SHAPE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    message = f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
    with running(service(port), port), socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def request() -> None:
            connection.sendall(message)
            reply = connection.recv(65_536)
            while not reply.endswith(b"]}"):
                reply += connection.recv(65_536)

        overheads, requests, runs = [], [], []
        for _ in range(5 * rounds):
            a, b = (median([timed(w) for _ in range(200)]) for w in (request, work))
            requests.append(a)
            runs.append(b)
            overheads.append(a - b)
    print(
        f"a request at a time: {median(requests):.3f} ms, bare session.run {median(runs):.3f} ms, "
        f"overhead {median(overheads):.3f} ms (lowest round {min(overheads):.3f})"
    )


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def start(rounds: int) -> None:
    """From the process's start to the first answer; the first one compiles and is not counted."""
    kind, content = bodies()["raw 28×28"]
    seconds = []
    for _ in range(rounds + 1):
        port = free_port()
        began = time.perf_counter()
        with running(service(port), port):
            url = f"http://127.0.0.1:{port}{SHAPE}"
            request = urllib.request.Request(url, content, {"Content-Type": kind})
            with urllib.request.urlopen(request) as reply:  # noqa: S310 - our own address
                assert json.loads(reply.read())["pictures"]
            seconds.append(time.perf_counter() - began)
    found = seconds[1:]
    print(f"start to first answer: {median(found):.3f} s ({min(found):.3f}–{max(found):.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--part", action="append", choices=("load", "single", "start"))
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--body", action="append", choices=[*bodies()])
    given = parser.parse_args()
    parts = given.part or ["start", "single", "load"]
    if "start" in parts:
        start(given.rounds)
    if "single" in parts:
        single(given.rounds)
    if "load" in parts:
        names = given.body or [*bodies()]
        load(given.seconds, given.rounds, given.connections, names, peer=not given.no_peer)


if __name__ == "__main__":
    main()
