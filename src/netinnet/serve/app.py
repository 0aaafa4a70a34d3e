"""The service as an ASGI application: what is asked, what is answered.

It is plain ASGI: seven fixed paths need no router, and a prediction of a small network takes less
time than a framework's layers would.
"""

from __future__ import annotations

import asyncio
import re
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from netinnet.serve import front, openapi
from netinnet.serve.body import Body, Gone, Message, Receive
from netinnet.serve.catalog import Catalog, Say, Served
from netinnet.serve.children import Children
from netinnet.serve.decoding import RAW, Part, decode
from netinnet.serve.engine import Engine, Outcome, Question
from netinnet.serve.guard import NO_SNIFFING, NO_STORE, Access, host_of
from netinnet.serve.limits import MAX_MAP_VALUES, Limits
from netinnet.serve.meters import CONTENT_TYPE, Meters
from netinnet.serve.problems import Headers, Problem, busy, to_json

HTML = b"text/html; charset=utf-8"
METHODS = ("GET", "HEAD", "POST", "OPTIONS")
Send = Callable[[Message], Awaitable[None]]
SMALL = 65_536
"""Bytes of raw values that are so few that a thread would take longer to wake than they take."""

FEW = 8
"""Pictures whose JSON is made in the event loop; that of more would hold others up."""
QUICK_SECONDS = 0.001
"""A model that takes less answers a request that is alone in the event loop: to wake the engine and
to be woken by it would take a third of that time, and nobody waits."""
_TOP = re.compile(r"[0-9]{1,6}")


class Request(NamedTuple):
    """What is asked."""

    path: str
    method: str
    headers: Headers
    query: bytes
    body: Body


class Answer(NamedTuple):
    """What is sent."""

    body: bytes
    status: int = 200
    kind: bytes = b"application/json"
    headers: Headers = []  # noqa: RUF012 - never changed


Handler = Callable[[Request], Awaitable[Answer]]


@dataclass(frozen=True)
class Options:
    """What stands behind a path's question mark."""

    model: str | None = None
    shape: str = ""
    top: int = 5
    maps: bool = False
    always_answer: bool = False


@lru_cache(maxsize=256)
def options(query: bytes) -> Options:
    """The options in a query. Raises Problem for one that is unknown, twice there, or wrong."""
    given: dict[str, Any] = {}
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="surrogateescape",  # so are models called whose file's name is no text
            max_num_fields=16,
        )
    except ValueError as error:
        raise Problem(400, f"the query can't be read: {error}") from error
    for name, value in pairs:
        if name not in Options.__dataclass_fields__ or name in given:
            known = ", ".join(Options.__dataclass_fields__)
            raise Problem(400, f"options are {known}, each once")
        given[name] = value
    for name in ("maps", "always_answer"):
        if name in given:
            if given[name] not in ("0", "1"):
                raise Problem(400, f"{name} is 0 or 1")
            given[name] = given[name] == "1"
    if "top" in given:
        # Of very many digits Python makes no number.
        if not (_TOP.fullmatch(given["top"]) and int(given["top"])):
            raise Problem(400, "top is a whole number from 1 to 999,999")
        given["top"] = int(given["top"])
    return Options(**given)


@dataclass(eq=False)
class App:
    """The application.

    Attributes:
        catalog: The models.
        engine: What computes.
        decoders: The threads that decode pictures, or wait for a child that does.
        access: Who may ask.
        limits: What a request may take.
        meters: What is measured.
        log: Called with a line a request, without anything of its content; None for none.
        say: Called with what went wrong in the service itself.
    """

    catalog: Catalog
    engine: Engine
    decoders: ThreadPoolExecutor
    access: Access
    limits: Limits
    meters: Meters
    log: Say | None = None
    say: Say = lambda line: None
    stopping: bool = False
    """Set when the service is about to end: nothing new is begun."""
    under_way: int = 0
    """Predictions that are not answered yet."""
    bytes_held: int = 0
    routes: dict[str, dict[str, Handler]] = field(init=False)
    """What answers, by path and method."""

    def __post_init__(self) -> None:
        self.children = Children(self.limits)
        self.meters.under_way.set_function(lambda: self.under_way)
        gets = {
            "/": self.page,
            "/v1/model": self.model,
            "/healthz": self.health,
            "/readyz": self.ready,
            "/metrics": self.metrics,
            "/openapi.json": self.describe,
        }
        self.routes = {path: {"GET": answer, "HEAD": answer} for path, answer in gets.items()}
        self.routes["/v1/predict"] = {"POST": self.predict}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI's entry. Nothing is raised: what goes wrong is an answer too."""
        began = time.perf_counter()
        body = Body(receive, scope["headers"], self.limits, self._hold)
        request = Request(
            scope["path"], scope["method"], scope["headers"], scope["query_string"], body
        )
        try:
            answer = await self._handler(request)(request)
        except Problem as problem:
            answer = Answer(problem.body, problem.status, headers=problem.headers)
        except Gone:
            return
        except Exception:  # noqa: BLE001 - a fault of ours must not end the service
            self.say(traceback.format_exc())
            answer = Answer(Problem(500, "a fault of the service; its log says more").body, 500)
        finally:
            self.bytes_held -= body.held
        closes = self.stopping or body.is_left
        if body.is_left:
            await body.drain()
        await self._send(request, answer, closes, send)
        seconds = time.perf_counter() - began
        route = request.path if request.path in self.routes else "other"
        count = self.meters.answered  # the answer goes out before it is counted
        asyncio.get_running_loop().call_soon(count, route, answer.status, seconds)
        if self.log:
            shown = request.method if request.method in METHODS else "other"
            self.log(f"{shown} {route} {answer.status} {body.size} bytes, {seconds * 1000:.1f} ms")

    def _handler(self, request: Request) -> Handler:
        """What answers. Raises Problem: 400, 401 or 421 by `Access`, 404, 405."""
        self.access.check(request.path, request.method, request.headers)
        if (methods := self.routes.get(request.path)) is None:
            raise Problem(404, f"no such path; there are: {', '.join(self.routes)}")
        if request.method in methods:
            return methods[request.method]
        if request.method == "OPTIONS" and self.access.allows(request.headers):
            return self.preflight
        allowed = ", ".join(methods)
        raise Problem(405, f"this path takes {allowed}", [(b"allow", allowed.encode())])

    async def _send(self, request: Request, answer: Answer, closes: bool, send: Send) -> None:
        headers: Headers = [
            (b"content-type", answer.kind),
            (b"content-length", b"%d" % len(answer.body)),
            *NO_SNIFFING,
            *answer.headers,
            *self.access.for_origin(request.headers),
        ]
        if answer.kind != HTML:
            headers += NO_STORE
        if closes:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _hold(self, size: int) -> None:
        """Count bytes of bodies that are in memory. Raises Problem where they are too many."""
        if self.bytes_held + size > self.limits.bytes_at_once:
            raise busy("too many large requests at a time; try again")
        self.bytes_held += size

    async def predict(self, request: Request) -> Answer:
        """The answer to POST /v1/predict."""
        if self.stopping:
            raise busy("the service is stopping", code="stopping")
        if self.under_way >= self.limits.max_waiting:
            raise busy(f"{self.under_way} requests are waiting already; try again")
        self.under_way += 1
        try:
            wanted = options(request.query)
            served = self.catalog.get(wanted.model)
            if wanted.maps and not served.predictor.maps:
                raise Problem(400, f"{served.name} has no class maps; leave out maps=1")
            outcomes = await self._ask(served, await request.body.parts(wanted.shape), wanted.maps)
            if sum(len(outcome.probabilities) for outcome in outcomes) <= FEW:
                return Answer(_predictions(served, outcomes, wanted))
            return Answer(
                await asyncio.get_running_loop().run_in_executor(
                    self.decoders, _predictions, served, outcomes, wanted
                )
            )
        finally:
            self.under_way -= 1

    async def _ask(self, served: Served, parts: Sequence[Part], maps: bool) -> list[Outcome]:
        """What the model says of the parts, each decoded in a thread unless it is a few values."""
        loop = asyncio.get_running_loop()
        question = Question(served.predictor, maps, loop.create_future())
        channels = served.predictor.network.input.channels
        if parts[0].kind == RAW and len(parts[0].content) <= SMALL:
            question.arrays = decode(parts, channels, self.limits)
            if served.seconds < QUICK_SECONDS:
                await asyncio.sleep(0)  # those that came at the same time begin
                if self.under_way == 1:
                    return self.engine.now(question)
            self.engine.ask(question)
        else:

            def work() -> None:
                began = time.perf_counter()
                try:
                    question.arrays = self.children.decode(parts, channels)
                    self.meters.decode_seconds.observe(time.perf_counter() - began)
                    self.engine.ask(question, wait=True)
                except Exception as error:  # noqa: BLE001 - it is raised where the answer is awaited
                    loop.call_soon_threadsafe(question.fail, error)

            self.decoders.submit(work)
        return await question.future

    async def preflight(self, request: Request) -> Answer:
        """The answer to a browser that asks for an allowed site's page what it may send."""
        allowed = ", ".join(self.routes[request.path]).encode()
        names = b"authorization, content-type, x-shape"
        return Answer(
            b"",
            204,
            headers=[
                (b"access-control-allow-methods", allowed),
                (b"access-control-allow-headers", names),
                (b"access-control-max-age", b"600"),
            ],
        )

    async def page(self, request: Request) -> Answer:
        """The page of a model, or of all."""
        models, wanted = self.catalog.models, options(request.query)
        if wanted.model is None and len(models) > 1:
            page = front.list_page([*models.values()])
        else:
            page = front.front_page(self.catalog.get(wanted.model), host_of(request.headers))
        return Answer(page, kind=HTML, headers=front.headers(page))

    async def model(self, request: Request) -> Answer:
        """What is known of one model, or of all."""
        name = options(request.query).model
        if name is not None:
            return Answer(to_json(self.catalog.get(name).to_dict()))
        models = [served.to_dict() for served in self.catalog.models.values()]
        return Answer(to_json({"models": models}))

    async def health(self, _: Request) -> Answer:
        """That the process answers."""
        return Answer(b'{"status":"ok"}')

    async def ready(self, _: Request) -> Answer:
        """Whether new requests are welcome."""
        if self.stopping:
            raise busy("the service is stopping", code="stopping")
        return Answer(b'{"status":"ready"}')

    async def metrics(self, _: Request) -> Answer:
        """What Prometheus collects."""
        return Answer(self.meters.text(), kind=CONTENT_TYPE)

    async def describe(self, _: Request) -> Answer:
        """The service's own description."""
        return Answer(to_json(openapi.document(self.limits, self.access.token is not None)))


def _predictions(served: Served, outcomes: Sequence[Outcome], wanted: Options) -> bytes:
    """The JSON of all pictures.

    Raises Problem for too many values of class maps, and ModelError where a network's numbers are
    not finite.
    """
    if wanted.maps and sum(o.maps.size for o in outcomes if o.maps is not None) > MAX_MAP_VALUES:
        raise Problem(
            413, f"more than {MAX_MAP_VALUES:,} values of class maps; send fewer pictures"
        )
    rows = []
    for outcome in outcomes:
        for i, probabilities in enumerate(outcome.probabilities):
            score = None if outcome.scores is None else float(outcome.scores[i])
            answer = served.predictor.to_answer(probabilities, score, wanted.top)
            refused = answer.refused and not wanted.always_answer
            row: dict[str, Any] = {
                "predictions": [] if refused else [vars(p) for p in answer.predictions],
                "score": score,
                "none_of_these": answer.refused,
            }
            if wanted.maps and outcome.maps is not None:
                names = served.predictor.network.classes
                row["class_maps"] = dict(zip(names, outcome.maps[i].tolist(), strict=True))
            rows.append(row)
    return to_json({"model": served.name, "version": served.version, "pictures": rows})
