"""The process: from models and an address to an end without a lost answer."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import ipaddress
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from netinnet import process_memory
from netinnet.errors import FrameworkError, NetinnetError
from netinnet.fresh_process import cores
from netinnet.serve.guard import Access, access
from netinnet.serve.limits import MOST_SECONDS, Limits

if TYPE_CHECKING:
    from netinnet.serve.app import App
    from netinnet.serve.catalog import Catalog

Say = Callable[[str], None]
PACKAGES = ("uvicorn", "httptools", "starlette", "python_multipart", "prometheus_client")
"""Those of the extra that must be there. uvloop is taken where it is."""

TICK_SECONDS = 0.02
MOST_THREADS = 1_024
KEPT_BYTES = 8 * 2**20
"""Largest array whose memory stays for the next picture: those of large pictures are given back."""


@dataclass(frozen=True)
class Started:
    """What is known once requests are answered."""

    host: str
    port: int
    models: tuple[tuple[str, str], ...]
    """Name and version of each."""
    is_open: bool
    """Whether other machines may reach it, and need no token."""

    @property
    def url(self) -> str:
        """For a browser."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/"


class Stopped(NetinnetError):
    """The service was ended before every request was answered.

    `status` is the exit status a shell expects: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, message: str, number: signal.Signals) -> None:
        super().__init__(message)
        self.status = 128 + number


def serve(
    models: Sequence[Path] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    allow_host: Sequence[str] = (),
    allow_origin: Sequence[str] = (),
    threads: int | None = None,
    reload_seconds: float = 1.0,
    limits: Limits | None = None,
    started: Callable[[Started], None] = lambda _: None,
    say: Say = lambda _: None,
    log: Say | None = None,
) -> None:
    """Answer requests until SIGINT or SIGTERM; those under way are answered first.

    Args:
        models: Run folders, model files, folders of those; the shipped model if there are none.
        host: Address or name to listen at.
        port: Port; 0 for any free one.
        token: What requests must show, if anything.
        allow_host: More names that a Host header may have.
        allow_origin: Sites whose pages may read answers.
        threads: CPU threads of a model; one less than there are cores if None.
        reload_seconds: How often files are looked at; 0 for never.
        limits: What requests may take.
        started: Called when requests are answered.
        say: Called with a line where something happens to the service.
        log: Called with a line a request.

    Raises:
        NetinnetError: For what can't be served, or can't be listened at.
        FrameworkError: Where the extra `serve` is not installed.
        Stopped: Where a second signal came, or requests took too long to end.

    Example:
        >>> serve([Path("runs/first")], port=0, started=print)
    """
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise FrameworkError(f"nin serve needs {package}: pip install 'netinnet[serve]'")
    limits = limits or Limits()
    if not 0 <= port <= 65_535:
        raise NetinnetError(f"--port is a number from 0 to 65535, got {port}")
    if not 0 <= reload_seconds <= MOST_SECONDS:  # nan is not, either
        raise NetinnetError(
            f"--reload-seconds is a number from 0 to {MOST_SECONDS:,}, got {reload_seconds}"
        )
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise NetinnetError(f"--threads is a number from 1 to {MOST_THREADS:,}, got {threads}")
    who = access(host, token, allow_host, allow_origin)
    threads = threads or max(1, cores() - 1)
    with _listener(host, port) as listener:
        service = _Service(limits, say, log, reload_seconds)
        service.run(listener, host, models, threads, who, started)


@contextlib.contextmanager
def _listener(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NetinnetError(f"--host {host}: cannot listen there ({reason})") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(place)
        except OSError as error:
            raise NetinnetError(
                f"{host} port {port}: cannot listen there ({error.strerror or error}); "
                f"choose another --port, or 0 for any free one"
            ) from error
        yield listener


def _is_local(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


class _Service:
    """One life of the service."""

    def __init__(self, limits: Limits, say: Say, log: Say | None, reload_seconds: float) -> None:
        self.limits, self.say, self.log = limits, say, log
        self.reload_seconds = reload_seconds
        self.signal: signal.Signals | None = None
        self.is_cut = False
        """Whether answers were lost."""

    def run(
        self,
        listener: socket.socket,
        host: str,
        models: Sequence[Path],
        threads: int,
        who: Access,
        started: Callable[[Started], None],
    ) -> None:
        """Serve at the listener until the end. Raises Stopped where answers were lost."""
        from netinnet.serve.protocol import loop_factory

        process_memory.keep_freed_memory(KEPT_BYTES)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(self._live(listener, host, models, threads, who, started))
        if self.is_cut and self.signal is not None:
            raise Stopped("stopped before every request was answered", self.signal)

    async def _live(
        self,
        listener: socket.socket,
        host: str,
        models: Sequence[Path],
        threads: int,
        who: Access,
        started: Callable[[Started], None],
    ) -> None:
        from netinnet.serve.app import App
        from netinnet.serve.catalog import Catalog
        from netinnet.serve.engine import Engine
        from netinnet.serve.meters import Meters
        from netinnet.serve.protocol import server

        meters = Meters()
        catalog = Catalog(models, threads, self.say, meters)
        engine = Engine(asyncio.get_running_loop(), self.limits, meters)
        decoders = ThreadPoolExecutor(cores(), thread_name_prefix="decoder")
        app = App(catalog, engine, decoders, who, self.limits, meters, self.log, self.say)
        with self._signals(app) as asked:
            http = server(app, self.limits, self.say)
            serving = asyncio.create_task(http.serve(sockets=[listener]))
            serving.add_done_callback(lambda _: asked.set())  # where it fails, this ends too
            while not http.started and not asked.is_set():
                await asyncio.sleep(0)
            names = tuple((m.name, m.version) for m in catalog.models.values())
            is_open = who.token is None and not _is_local(host)
            if http.started:
                started(Started(host, listener.getsockname()[1], names, is_open))
            watching = asyncio.create_task(self._watch(catalog))
            await asked.wait()
            await self._finish(app)
            watching.cancel()
            http.should_exit, http.force_exit = True, self.is_cut
            await serving
        decoders.shutdown(wait=False, cancel_futures=True)
        app.children.close()
        if not self.is_cut:
            engine.close()

    async def _watch(self, catalog: Catalog) -> None:
        """Look at the models' files now and then; loading runs beside the answers."""
        while self.reload_seconds:
            await asyncio.sleep(self.reload_seconds)
            try:
                await asyncio.to_thread(catalog.refresh)
            except Exception as error:  # noqa: BLE001 - the old models go on
                self.say(f"the models' files can't be checked for changes: {error}")

    async def _finish(self, app: App) -> None:
        """Wait for the requests under way: not too long, and not after a second signal."""
        end = time.monotonic() + self.limits.stop_seconds
        while app.under_way and not self.is_cut:
            await asyncio.sleep(TICK_SECONDS)
            self.is_cut = self.is_cut or time.monotonic() > end

    @contextlib.contextmanager
    def _signals(self, app: App) -> Iterator[asyncio.Event]:
        """SIGINT and SIGTERM: the first one asks for an end, the second one ends at once."""
        loop, asked = asyncio.get_running_loop(), asyncio.Event()

        def ask(number: signal.Signals) -> None:
            self.is_cut = self.is_cut or (self.signal is not None and app.under_way > 0)
            self.signal = self.signal or number
            app.stopping = True
            if app.under_way and not self.is_cut:
                self.say(f"stopping after {app.under_way} requests; a second signal stops at once")
            asked.set()

        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            loop.add_signal_handler(number, ask, number)
        try:
            yield asked
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)
