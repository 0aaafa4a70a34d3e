"""uvicorn's HTTP protocol with what it lacks: how long a request's head and body may take.

And limits on a head's size and on connections, and errors in JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import Server

from netinnet.serve.limits import Limits
from netinnet.serve.problems import Problem, busy

MAX_HEAD = 32_768
"""Most bytes of a request's head."""
MAX_PIPELINE = 128
"""Most requests that wait on a connection for the one in front of them to be answered."""
LINGER_SECONDS = 1.0
"""How long what still comes is thrown away, for a client that is refused to read why."""
TOGETHER = 65_536
"""Most bytes of a body that are copied to go out with their head."""


class _Gathered:
    """What an answer is written to: what comes in one turn of the event loop goes out together.

    uvicorn writes head and body one after the other: two system calls, and a client that waits is
    woken for the head alone.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held = b""
        self._turn: asyncio.Handle | None = None

    def write(self, data: bytes) -> None:
        if len(data) > TOGETHER:
            self._send()
            self._transport.write(data)
        elif self._turn is None:
            self._held, self._turn = data, self._loop.call_soon(self._send)
        else:
            self._held += data
            self._send()

    def close(self) -> None:
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._turn is None:
            return
        self._turn.cancel()
        held, self._held, self._turn = self._held, b"", None
        if not self._transport.is_closing():
            self._transport.write(held)


class Protocol(HttpToolsProtocol):
    """One connection.

    One timer runs while something is waited for: a request's head, from the connection's or the
    last answer's on, then its body. In both the client decides how long it takes.
    """

    def __init__(self, *arguments: Any, limits: Limits, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.limits = limits
        self._head_size = 0
        self._has_body = True
        """Whether the newest request's body has come."""
        self._is_refused = False
        self._running: RequestResponseCycle | None = None
        """The request that is answered; those behind it, in the pipeline, wait."""
        self._timer: asyncio.TimerHandle | None = None
        self._unsent = 0
        self._taking: asyncio.TimerHandle | None = None
        """Runs while answers lie ready that the client has not taken."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._refuse(busy("too many connections; try again"))
        else:
            self._expect("head", self.limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._came()
        if self._taking is not None:
            self._taking.cancel()
        self._give_up()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._head_size += len(data)
        super().data_received(data)
        if self._is_refused or self.transport.is_closing():
            return
        if not self._has_body:
            self._expect("body", self.limits.body_seconds)
        elif not self._is_answering:
            # The head has not come, or not all of it; empty lines in front of it are none.
            if self._head_size > MAX_HEAD:
                self._refuse(_head_too_large())
            else:
                self._expect("head", self.limits.head_seconds)

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINE:
            raise ValueError("pipeline")
        super().on_message_begin()
        self._head_size = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        if self._head_size > 2 * MAX_HEAD:  # it is counted a second time where it comes in pieces
            raise ValueError("head")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._came()
        self._has_body = False
        super().on_headers_complete()
        self.cycle.transport = cast(asyncio.Transport, _Gathered(self.transport, self.loop))
        if not self.pipeline:
            self._running = self.cycle

    def on_message_complete(self) -> None:
        self._came()
        self._has_body, self._head_size = True, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self.pipeline:
            self._running = self.pipeline[-1][0]  # it is started now
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        if len(self.pipeline) >= MAX_PIPELINE:
            self._refuse(busy(f"more than {MAX_PIPELINE} requests wait on this connection"))
        elif self._head_size > MAX_HEAD:
            self._refuse(_head_too_large())
        else:
            self._refuse(Problem(400, "this is not HTTP/1.1"))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._taking = self.loop.call_later(
            self.limits.idle_seconds, self._is_taken, self.transport.get_write_buffer_size()
        )

    def resume_writing(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
        super().resume_writing()

    def _is_taken(self, before: int) -> None:
        """End the connection of a client that takes nothing of the answers that lie ready."""
        unsent = self.transport.get_write_buffer_size()
        if unsent >= before:
            self.transport.abort()
        else:
            self._taking = self.loop.call_later(self.limits.idle_seconds, self._is_taken, unsent)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; at once where nobody takes the answer that lies ready."""
        unsent = self.transport.get_write_buffer_size()
        if unsent and unsent != self._unsent:
            self._unsent = unsent
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        elif unsent:
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect(self, what: str, seconds: float) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(seconds, self._is_late, what, seconds)

    def _came(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_late(self, what: str, seconds: float) -> None:
        self._timer = None
        self._refuse(Problem(408, f"the request's {what} has not come within {seconds:g} s"))

    def _give_up(self) -> None:
        """Tell the application that nobody waits for what it answers, nor for what comes then."""
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()
        self.pipeline.clear()

    def _refuse(self, problem: Problem) -> None:
        """Answer without asking the application, and close."""
        self._is_refused = True
        self._came()
        running = self._running
        if running is not None and running.response_started and not running.response_complete:
            self.transport.close()  # when it has been sent, which may be never
            self._timer = self.loop.call_later(self.limits.idle_seconds, self.transport.abort)
            return
        self._give_up()  # nothing is sent behind this
        body = problem.body
        head = [STATUS_LINE[problem.status], b"content-type: application/json\r\n"]
        head += [b"%b: %b\r\n" % pair for pair in problem.headers]
        head.append(b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body))
        self.transport.write(b"".join([*head, body]))
        if len(self.connections) > 2 * self.limits.max_connections:
            self.transport.close()
            return
        # Closed with something unread, the system would tell the client so before it has read this.
        self.transport.write_eof()
        self.flow.resume_reading()
        self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)


def _head_too_large() -> Problem:
    return Problem(431, f"the request's head is larger than {MAX_HEAD:,} bytes")


class _Server(Server):
    """uvicorn's server; signals are caught elsewhere."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Lines(logging.Handler):
    """Gives what is logged to a function, tracebacks too."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self.say = say

    def emit(self, record: logging.LogRecord) -> None:
        self.say(self.format(record).strip())


def server(app: Any, limits: Limits, say: Callable[[str], None]) -> Server:
    """uvicorn's server for an application, not yet started; `say` hears of its errors."""
    logger = logging.getLogger("uvicorn.error")
    logger.handlers, logger.propagate = [_Lines(say)], False
    http: Any = functools.partial(Protocol, limits=limits)
    keep_alive: Any = limits.idle_seconds  # whatever the event loop takes
    config = Config(
        app,
        http=http,
        interface="asgi3",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=5,
    )
    return _Server(config)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop: uvloop where it is installed."""
    # Configuring logging would close the handlers of other libraries in this process.
    return Config("", log_config=None).get_loop_factory()
