"""`nin serve`: answers equal to the predictor's, refusals, limits, reloading, a graceful end."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import gc
import hashlib
import html
import http.client
import io
import json
import logging
import math
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import weakref
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

import netinnet
from netinnet import weights
from netinnet.cli.main import run
from netinnet.errors import ModelError, NetinnetError
from netinnet.export import page
from netinnet.inference import model_files
from netinnet.inference.predictor import Predictor
from netinnet.networks import Flatten, Linear, zoo
from netinnet.networks.blocks import Block
from netinnet.networks.network import Network
from netinnet.serve import front, openapi
from netinnet.serve.catalog import Catalog
from netinnet.serve.decoding import KINDS, NPY, RAW
from netinnet.serve.engine import Engine
from netinnet.serve.guard import Access, access
from netinnet.serve.limits import Limits
from netinnet.serve.problems import CODES
from netinnet.serve.server import PACKAGES
from netinnet.weights import Model
from tests.browser import BROWSER, difference

for package in PACKAGES:
    pytest.importorskip(package)

pytestmark = pytest.mark.connects("here")
RANDOM = np.random.default_rng(0)
PICTURE = RANDOM.integers(0, 256, (28, 28), np.uint8)
PHOTO = RANDOM.integers(0, 256, (33, 40, 3), np.uint8)


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        assert self.json["error"].keys() == {"code", "message"}
        return str(self.json["error"]["code"])

    @property
    def message(self) -> str:
        return str(self.json["error"]["message"])


class Client:
    """Asks the application itself, without a socket, in an event loop of its own."""

    def __init__(self, models: list[Path], limits: Limits, who: Access) -> None:
        from netinnet.serve.app import App
        from netinnet.serve.meters import Meters

        self.runner = asyncio.Runner()
        self.said: list[str] = []
        self.logged: list[str] = []
        meters = Meters()
        self.catalog = Catalog(models, 1, self.said.append, meters)
        self.engine = Engine(self.runner.get_loop(), limits, meters)
        self.decoders = ThreadPoolExecutor(2)
        self.app = App(
            *(self.catalog, self.engine, self.decoders, who, limits, meters),
            log=self.logged.append,
            say=self.said.append,
        )

    def close(self) -> None:
        self.engine.close()
        self.decoders.shutdown()
        self.app.children.close()
        self.runner.close()

    def run(self, work: Awaitable[Any]) -> Any:
        async def waited() -> Any:
            return await work

        return self.runner.run(waited())

    async def ask(
        self, method: str, target: str, body: bytes | list[bytes] = b"", **headers: str
    ) -> Reply:
        path, _, query = target.partition("?")
        chunks = [body] if isinstance(body, bytes) else list(body)
        names = {"host": "localhost:8000", **headers}
        if any(chunks):
            names["content-length"] = str(sum(map(len, chunks)))
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [
                (name.replace("_", "-").encode(), value.encode("latin-1"))
                for name, value in names.items()
                if value
            ],
        }
        sent: list[Any] = []

        async def receive() -> Any:
            await asyncio.sleep(0)
            if not chunks:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start, content = sent
        decoded = {name.decode(): value.decode() for name, value in start["headers"]}
        assert int(decoded["content-length"]) == len(content["body"])
        return Reply(start["status"], decoded, content["body"])

    def get(self, target: str, **headers: str) -> Reply:
        reply: Reply = self.run(self.ask("GET", target, **headers))
        return reply

    def post(self, target: str, body: bytes | list[bytes], kind: str, **headers: str) -> Reply:
        reply: Reply = self.run(self.ask("POST", target, body, content_type=kind, **headers))
        return reply


@contextlib.contextmanager
def client(
    *models: Path, limits: Limits | None = None, who: Access | None = None
) -> Iterator[Client]:
    made = Client(list(models), limits or Limits(), who or access("127.0.0.1"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def shipped() -> Iterator[Client]:
    with client() as made:
        yield made


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(model_files.find(None), threads=1)


def _file(array: np.ndarray, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()


def _npy(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


def _npy_of(shape: str, content: bytes) -> bytes:
    """A .npy file that says any shape."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def _form(*parts: tuple[str, str, bytes]) -> tuple[bytes, str]:
    """Files of name, content type and content, as a body and its content type."""
    lines = []
    for name, kind, content in parts:
        disposition = f'Content-Disposition: form-data; name="picture"; filename="{name}"'
        lines += [b"--split", disposition.encode(), f"Content-Type: {kind}".encode(), b"", content]
    return b"\r\n".join([*lines, b"--split--", b""]), "multipart/form-data; boundary=split"


def _expected(predictor: Predictor, picture: Any, top: int = 5) -> dict[str, Any]:
    answer = predictor.answer(picture, top)
    return {
        "predictions": [vars(p) for p in answer.predictions],
        "score": answer.score,
        "none_of_these": answer.refused,
    }


def _same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Equal but for the last digits, which depend on what else was in the batch."""
    assert found["none_of_these"] == expected["none_of_these"]
    assert found["score"] == pytest.approx(expected["score"], rel=1e-4)
    assert [p["name"] for p in found["predictions"]] == [p["name"] for p in expected["predictions"]]
    for one, other in zip(found["predictions"], expected["predictions"], strict=True):
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)


# Answers

ALWAYS = "/v1/predict?always_answer=1"
BODIES = {
    "png": (_file(PICTURE, "PNG"), "image/png", ALWAYS),
    "colour": (_file(PHOTO, "PNG"), "image/png", ALWAYS),
    "jpeg": (_file(PHOTO, "JPEG"), "image/jpeg; q=1", ALWAYS),
    "webp": (_file(PHOTO, "WEBP"), "IMAGE/WEBP", ALWAYS),
    "raw": (PICTURE.tobytes(), RAW, f"{ALWAYS}&shape=28,28"),
    "raw colour": (PHOTO.tobytes(), RAW, f"{ALWAYS}&shape=33,40,3"),
    "npy": (_npy(PICTURE), NPY, ALWAYS),
    "npy colour": (_npy(PHOTO[None]), NPY, ALWAYS),
    "npy Fortran": (_npy(np.asfortranarray(PHOTO)), NPY, ALWAYS),
    "npy 2.0": (_npy(PHOTO, version=(2, 0)), NPY, ALWAYS),
}


@pytest.mark.parametrize("name", BODIES)
def test_the_answer_is_the_predictors(name: str, shipped: Client, predictor: Predictor) -> None:
    body, kind, target = BODIES[name]
    picture = PICTURE if name in ("png", "raw", "npy") else PHOTO
    if kind.lower().startswith(("image/jpeg", "image/webp")):
        picture = np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))
    for sent in (body, [body[:100], b"", body[100:]]):
        reply = shipped.post(target, sent, kind)
        assert reply.status == 200
        (found,) = reply.json["pictures"]
        _same(found, _expected(predictor, picture))
    assert reply.json["model"] == "nin-small-fashion-mnist"
    content = model_files.shipped().read_bytes()
    assert reply.json["version"] == hashlib.sha256(content).hexdigest()[:12]


def test_the_shape_may_be_a_header(shipped: Client) -> None:
    by_header = shipped.post("/v1/predict", PICTURE.tobytes(), RAW, x_shape="28, 28, 1")
    assert by_header.json == shipped.post("/v1/predict?shape=28,28", PICTURE.tobytes(), RAW).json


def test_a_form_has_several_pictures(shipped: Client, predictor: Predictor) -> None:
    body, kind = _form(
        ("a.png", "image/png", _file(PICTURE, "PNG")),
        ("b.png", "image/png", _file(PHOTO, "PNG")),
        ("c.npy", NPY, _npy(np.stack([PHOTO, PHOTO[::-1]]))),
    )
    pieces = [body[i : i + 500] for i in range(0, len(body), 500)]
    reply = shipped.post(ALWAYS, pieces, kind)
    expected = [PICTURE, PHOTO, PHOTO, PHOTO[::-1]]
    for found, picture in zip(reply.json["pictures"], expected, strict=True):
        _same(found, _expected(predictor, picture))


@hypothesis.settings(max_examples=25)
@hypothesis.given(
    st.tuples(*(st.integers(1, n) for n in (4, 40, 40))), st.sampled_from((1, 3)), st.booleans()
)
def test_any_shape(
    shipped: Client, predictor: Predictor, sizes: tuple[int, ...], channels: int, raw: bool
) -> None:
    shape = (*sizes, channels)
    images = np.random.default_rng(list(shape)).integers(0, 256, shape, np.uint8)
    shown = ",".join(map(str, shape))
    target = f"{ALWAYS}&shape={shown}" if raw else ALWAYS
    reply = shipped.post(target, *((images.tobytes(), RAW) if raw else (_npy(images), NPY)))
    for found, picture in zip(reply.json["pictures"], images, strict=True):
        _same(found, _expected(predictor, picture))


def test_what_comes_together_is_computed_together(shipped: Client, predictor: Predictor) -> None:
    """Of two sizes, and each gets its own answer."""
    sizes = [(28, 28) if i % 3 else (20, 31) for i in range(60)]
    images = [RANDOM.integers(0, 256, size, np.uint8) for size in sizes]
    before = _samples(shipped)

    async def all_at_once() -> list[Reply]:
        asked = [
            shipped.ask(
                "POST",
                f"{ALWAYS}&shape={size[0]},{size[1]}",
                image.tobytes(),
                content_type=RAW,
            )
            for image, size in zip(images, sizes, strict=True)
        ]
        return await asyncio.gather(*asked)

    for reply, image in zip(shipped.run(all_at_once()), images, strict=True):
        _same(reply.json["pictures"][0], _expected(predictor, image))
    after = _samples(shipped)
    batches, pictures = (
        after[name] - before[name] for name in ("batch_pictures_count", "batch_pictures_sum")
    )
    assert pictures == 60
    assert batches < 20


@pytest.mark.parametrize("quick", [True, False])
def test_a_request_that_is_alone_wakes_no_thread_if_its_model_is_quick(
    quick: bool, shipped: Client, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netinnet.serve.app.QUICK_SECONDS", 1e9 if quick else 0)
    woken: list[Any] = []
    real = shipped.engine.ask
    monkeypatch.setattr(shipped.engine, "ask", lambda *a, **k: (woken.append(a), real(*a, **k)))
    before = _samples(shipped)["batch_pictures_sum"]
    body, kind, target = BODIES["raw"]
    (found,) = shipped.post(target, body, kind).json["pictures"]
    _same(found, _expected(predictor, PICTURE))
    assert len(woken) == (not quick)
    assert _samples(shipped)["batch_pictures_sum"] == before + 1


def _samples(asked: Client) -> dict[str, float]:
    text = asked.get("/metrics").body.decode()
    found = re.findall(r"^nin_(\S+) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def test_top_maps_and_none_of_these(shipped: Client, predictor: Predictor) -> None:
    body, kind, _ = BODIES["png"]
    assert predictor.answer(PICTURE).refused
    (refused,) = shipped.post("/v1/predict", body, kind).json["pictures"]
    assert (refused["predictions"], refused["none_of_these"]) == ([], True)
    (two,) = shipped.post(f"{ALWAYS}&top=2", body, kind).json["pictures"]
    _same(two, _expected(predictor, PICTURE, 2))
    (mapped,) = shipped.post(f"{ALWAYS}&maps=1&top=99", body, kind).json["pictures"]
    assert len(mapped["predictions"]) == 10
    maps = predictor.class_maps(PICTURE[None, :, :, None])[0]
    for name, values in zip(predictor.network.classes, maps, strict=True):
        np.testing.assert_allclose(mapped["class_maps"][name], values, rtol=1e-4, atol=1e-4)


def test_class_maps_have_a_limit(shipped: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netinnet.serve.app.MAX_MAP_VALUES", 490 * 20)
    for count, status in ((20, 200), (21, 413)):
        target = f"/v1/predict?maps=1&shape={count},2,2,1"
        reply = shipped.post(target, bytes(4 * count), RAW)
        assert reply.status == status
    assert "values of class maps; send fewer pictures" in reply.message


def test_a_model_that_is_not_calibrated_refuses_nothing(tmp_path: Path) -> None:
    model = _other(tmp_path / "plain.safetensors", calibrated=False)
    with client(model) as asked:
        (found,) = asked.post("/v1/predict", *BODIES["png"][:2]).json["pictures"]
        assert (len(found["predictions"]), found["score"]) == (5, None)
        assert found["none_of_these"] is False
        assert not asked.get("/v1/model?model=plain").json["calibrated"]


def _other(path: Path, calibrated: bool = True, scale: float = 2.0) -> Path:
    """A model file with other weights than the shipped one."""
    model = model_files.find(None)
    changed = {name: array * np.float32(scale) for name, array in model.weights.items()}
    calibration = model.calibration if calibrated else None
    weights.save(path, Model(model.network, changed, calibration=calibration))
    return path


def test_a_network_without_class_maps_says_so(tmp_path: Path) -> None:
    network = zoo.network("lenet")
    path = tmp_path / "lenet.safetensors"
    weights.save(path, Model(network, weights.initial(network, 0)))
    with client(path) as asked:
        reply = asked.post("/v1/predict?maps=1", *BODIES["png"][:2])
        assert (reply.status, reply.message) == (
            400,
            "lenet has no class maps; leave out maps=1",
        )
        assert asked.post("/v1/predict", *BODIES["png"][:2]).status == 200


# Refusals


def _png(width: int, height: int) -> bytes:
    """A PNG that says how large it is and has no pixels: decoding it would fail."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = b""
    for kind, content in ((b"IHDR", header), (b"IDAT", b""), (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        chunks += struct.pack(">I", len(content)) + kind + content + checksum
    return b"\x89PNG\r\n\x1a\n" + chunks


TEXT = b"no picture"
PNG = BODIES["png"][0]
LARGE_NPY = _npy(np.zeros((1, 1), np.uint8)).replace(b"(1, 1)", b"(99999999, 9)", 1)
REFUSED: dict[str, tuple[str, bytes, str, int, str]] = {
    "no type": ("", PNG, "", 415, "the Content-Type must be one of image/png, image/jpeg"),
    "other type": ("", PNG, "text/plain", 415, "the Content-Type must be one of"),
    "no body": ("", b"", "image/png", 400, "the body is empty"),
    "text": ("", TEXT, "image/png", 422, "picture: not a picture that can be read; expected a PNG"),
    "cut": ("", PNG[:200], "image/png", 422, "damaged or truncated picture"),
    "long side": ("", _png(1, 3_000_000), "image/png", 413, "a side is longer than 8,192 pixels"),
    "many pixels": (
        "",
        _png(4_001, 4_000),
        "image/png",
        413,
        "4001×4000 pixels are more than 16 megapixels",
    ),
    "more than any": (
        "",
        _png(6_000, 6_000),
        "image/png",
        413,
        "6000×6000 pixels are more than 16 megapixels",
    ),
    "huge": ("", _png(60_000, 60_000), "image/png", 413, "more than 16 megapixels"),
    "no shape": ("", TEXT, RAW, 400, "raw values need their shape, as in ?shape=28,28,1"),
    "odd shape": ("?shape=5,-2", TEXT, RAW, 400, "got '5,-2'"),
    "other shape": ("?shape=5,3", TEXT, RAW, 400, "10 bytes are no uint8 array of 5×3"),
    "channels": ("?shape=1,5,2", TEXT, RAW, 400, "got 1×5×2"),
    "no pixels": ("?shape=0,5", TEXT, RAW, 400, "10 bytes are no uint8 array of 0×5"),
    "raw side": ("?shape=9000,1", bytes(9000), RAW, 413, "a side is longer than 8,192 pixels"),
    "many": ("?shape=257,1,1,1", bytes(257), RAW, 413, "more than 256 pictures"),
    "no npy": ("", TEXT, NPY, 422, "not a .npy file of version 1 or 2"),
    "floats": ("", _npy(np.zeros((2, 2))), NPY, 422, "holds float64; pictures are uint8"),
    "object": ("", _npy(np.array([{}]), allow_pickle=True), NPY, 422, "holds object"),
    "large npy": ("", LARGE_NPY, NPY, 422, "damaged or truncated .npy file"),
    "below 0": ("", _npy_of("(-28, -28)", bytes(784)), NPY, 422, "damaged or truncated .npy"),
    "truth": ("", _npy_of("(True, 28, 28)", bytes(784)), NPY, 422, "damaged or truncated .npy"),
    "immense": ("", _npy_of(f"({2**70}, 0)", b""), NPY, 422, "damaged or truncated .npy"),
    "sizes": ("", _npy_of(f"({'1, ' * 99})", b"a"), NPY, 422, "damaged or truncated .npy"),
    "empty npy": ("", _npy_of("(0, 28)", b""), NPY, 400, "got 0×28"),
    "single": ("", _npy(np.zeros((), np.uint8)), NPY, 400, "got a single value"),
    "form": ("", TEXT, "multipart/form-data", 400, "the form can't be read"),
    "empty form": ("", *_form(), 400, "the form has no file"),
    "form type": ("", *_form(("a", "text/html", PNG)), 415, "a: the Content-Type of a file"),
    "form picture": (
        *("", *_form(("a.png", "image/png", PNG), ("b.png", "image/png", TEXT))),
        *(422, "b.png: not a picture"),
    ),
    "model": ("?model=x", PNG, "image/png", 404, "no model of that name; there are: nin-small-fas"),
    "option": ("?tops=3", PNG, "image/png", 400, "options are model, shape, top, maps, always"),
    "twice": ("?top=3&top=4", PNG, "image/png", 400, "each once"),
    "top": ("?top=0", PNG, "image/png", 400, "top is a whole number from 1 to 999,999"),
    "large top": ("?top=1000000", PNG, "image/png", 400, "top is a whole number from 1 to"),
    "long top": (f"?top={'9' * 5000}", PNG, "image/png", 400, "top is a whole number from 1 to"),
    "digits": ("?top=²", PNG, "image/png", 400, "the query can't be read"),
    "maps": ("?maps=yes", PNG, "image/png", 400, "maps is 0 or 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, shipped: Client) -> None:
    query, body, kind, status, message = REFUSED[name]
    reply = shipped.post(f"/v1/predict{query}", body, kind)
    assert (reply.status, reply.code) == (status, CODES[status])
    assert message in reply.message
    assert "\n" not in reply.message


def test_a_compressed_body_is_refused(shipped: Client) -> None:
    reply = shipped.post("/v1/predict", PNG, "image/png", content_encoding="gzip")
    assert (reply.status, "Content-Encoding" in reply.message) == (415, True)


@pytest.mark.parametrize("said", [True, False], ids=["length", "chunks"])
def test_a_body_is_cut_off_at_its_limit(said: bool) -> None:
    with client(limits=Limits(max_body=1000)) as asked:
        chunks = [bytes(400)] * 6
        headers = {} if said else {"content_length": "", "transfer_encoding": "chunked"}
        reply = asked.post("/v1/predict", chunks, "image/png", **headers)
        assert (reply.status, reply.message) == (413, "the body is larger than 1,000 bytes")
        assert reply.headers["connection"] == "close"
        assert asked.app.bytes_held == 0
        assert asked.post("/v1/predict", PNG[:999], "image/png").status in (200, 422)


def test_paths_and_methods(shipped: Client) -> None:
    assert shipped.get("/nowhere").code == "not_found"
    assert shipped.get("/V1/predict").status == 404
    for path, methods in shipped.app.routes.items():
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT"):
            if method in methods:
                continue
            reply: Reply = shipped.run(shipped.ask(method, path))
            assert (reply.status, reply.code) == (405, "method_not_allowed")
            assert reply.headers["allow"] == ", ".join(methods)


UPWARDS = (
    "../",
    "..%2f",
    "%2e%2e/",
    "..\\",
    "..%5c",
    "%252e%252e/",
    "....//",
    "..;/",
    "%c0%ae/",
    "",
)
AIMS = ("etc/passwd", "model.safetensors", "recipe.toml", "proc/self/environ", "\0", "v1/predict")


@pytest.mark.parametrize("start", ["/", "/v1/", "/static/", "//", "/v1/predict/", "/v1/model/", ""])
def test_no_path_leads_out(start: str, shipped: Client) -> None:
    """840 paths: none is a file's."""
    for upwards in UPWARDS:
        for aim in AIMS:
            for depth in (1, 8):
                path = start + upwards * depth + aim
                if path not in shipped.app.routes:
                    assert shipped.get(path).code == "not_found", path


def test_too_many_at_a_time() -> None:
    with client(limits=Limits(max_waiting=3)) as asked:

        async def all_at_once() -> list[Reply]:
            return await asyncio.gather(
                *(asked.ask("POST", "/v1/predict", PNG, content_type="image/png") for _ in range(8))
            )

        replies = asked.run(all_at_once())
        assert sorted(reply.status for reply in replies) == [200] * 3 + [503] * 5
        refused = [reply for reply in replies if reply.status == 503]
        assert {reply.code for reply in refused} == {"busy"}
        assert {reply.headers["retry-after"] for reply in refused} == {"1"}
        assert asked.app.under_way == 0


def test_all_bodies_together_have_a_limit() -> None:
    limits = Limits(max_body=1000)
    with client(limits=limits) as asked:
        asked.app.bytes_held = limits.bytes_at_once - 10
        reply = asked.post("/v1/predict", PNG[:900], "image/png")
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert asked.app.bytes_held == limits.bytes_at_once - 10


def test_decoding_waits_for_room() -> None:
    """Many pictures that are small as files and large when decoded do not fill the memory."""
    limits = Limits(max_pixels=4_000, max_batch=1)
    body = _file(np.zeros((60, 60, 3), np.uint8), "PNG")
    with client(limits=limits) as asked:
        most, real = 0, asked.engine.ask

        def watched(*arguments: Any, **named: Any) -> None:
            nonlocal most
            real(*arguments, **named)
            most = max(most, asked.engine._values)

        asked.engine.ask = watched  # type: ignore[method-assign]

        async def all_at_once() -> list[Reply]:
            work = (
                asked.ask("POST", "/v1/predict", body, content_type="image/png") for _ in range(40)
            )
            return await asyncio.gather(*work)

        assert {reply.status for reply in asked.run(all_at_once())} == {200}
        assert 0 < most <= limits.values_at_once


def test_a_fault_of_the_service_is_an_answer(
    shipped: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(Predictor, "run", fail)
    reply = shipped.post("/v1/predict", *BODIES["png"][:2])
    assert (reply.status, reply.code) == (500, "internal")
    assert "broken" not in reply.message
    assert "RuntimeError: broken" in shipped.said.pop()


def test_a_log_line_has_nothing_of_the_content(shipped: Client) -> None:
    shipped.logged.clear()
    body, kind = _form(("secret.png", "image/png", TEXT))
    shipped.post("/v1/predict?model=nin-small-fashion-mnist", body, kind)
    shipped.get("/secret\n")
    first, second = shipped.logged
    assert re.fullmatch(rf"POST /v1/predict 422 {len(body)} bytes, [\d.]+ ms", first)
    assert re.fullmatch(r"GET other 404 0 bytes, [\d.]+ ms", second)


# Who may ask


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((name, 200) for name in ("localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000")),
        *((name, 200) for name in ("LocalHost", "box.lan:80", "10.0.0.7")),
        *(
            (name, 421)
            for name in ("evil.example", "localhost.evil.example", "127.0.0.1.", "[::2]")
        ),
        *((name, 421) for name in ("", "::1", "0.0.0.0:8000")),
    ],
)
def test_only_names_of_ours(host: str, status: int) -> None:
    with client(who=access("10.0.0.7", allow_host=["Box.lan"])) as asked:
        reply: Reply = asked.run(asked.ask("GET", "/v1/model", host=host or " "))
        assert reply.status == status
        if status == 421:
            assert "--allow-host adds a name" in reply.message
        assert asked.get("/healthz", host=host or " ").status == 200


def test_one_host_header(shipped: Client) -> None:
    assert shipped.get("/v1/model", host="").status == 400
    with pytest.raises(Exception, match="one Host header"):
        shipped.app.access.check("/", "GET", [(b"host", b"localhost"), (b"host", b"localhost")])


def _basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("shown", "status"),
    [
        ("Bearer s3cret", 200),
        ("bearer  s3cret ", 200),
        (_basic(":s3cret"), 200),
        (_basic("anyone:s3cret"), 200),
        *((shown, 401) for shown in ("", "s3cret", "Bearer", "Bearer s3cre", "Bearer s3crett")),
        *((shown, 401) for shown in (_basic("s3cret"), "Basic ?", "Digest s3cret", "Bearer é")),
    ],
)
def test_the_token(shown: str, status: int) -> None:
    with client(who=access("127.0.0.1", "s3cret\n")) as asked:
        for path in ("/", "/v1/model", "/metrics", "/openapi.json"):
            reply = asked.get(path, authorization=shown)
            assert reply.status == status
            if status == 401:
                assert reply.headers["www-authenticate"].startswith("Basic ")
                assert "s3cret" not in reply.message
        assert asked.get("/readyz").status == 200
        assert asked.post("/v1/predict", *BODIES["png"][:2]).status == 401


def test_other_sites_read_nothing_unless_named(shipped: Client) -> None:
    origin = "https://a.example"
    reply = shipped.get("/v1/model", origin=origin)
    assert not [name for name in reply.headers if name.startswith("access-control")]
    with client(who=access("localhost", "t", allow_origin=[origin])) as asked:
        allowed = asked.get("/v1/model", origin=origin, authorization="Bearer t")
        assert allowed.headers["access-control-allow-origin"] == origin
        assert allowed.headers["vary"] == "origin"
        other = asked.get("/v1/model", origin="https://b.example", authorization="Bearer t")
        assert "access-control-allow-origin" not in other.headers
        ask: Reply = asked.run(asked.ask("OPTIONS", "/v1/predict", origin=origin))
        assert (ask.status, ask.headers["access-control-allow-methods"]) == (204, "POST")
        refused: Reply = asked.run(asked.ask("OPTIONS", "/v1/predict", origin="https://b.example"))
        assert refused.status == 401


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("https://Example.org", "https://example.org"),
        ("HTTPS://example.org:443", "https://example.org"),
        ("http://example.org:80", "http://example.org"),
        ("http://example.org:443", "http://example.org:443"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_origin_is_taken_as_browsers_send_it(given: str, sent: str) -> None:
    assert access("localhost", allow_origin=[given]).allows([(b"origin", sent.encode())])


@pytest.mark.parametrize(
    "given",
    [
        *("https://*.example.org", "https://example.org/", "https://bücher.example", "null", "*"),
        *("https://me@example.org", "https://example.org?", "https://example.org:", "ftp://a.org"),
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(given: str) -> None:
    with pytest.raises(NetinnetError, match=r"--allow-origin is a site as in https://example\.org"):
        access("localhost", allow_origin=[given])


@pytest.mark.parametrize("path", ["/", "/v1/model", "/nowhere", "/metrics", "/healthz"])
def test_headers_that_keep_browsers_careful(path: str, shipped: Client) -> None:
    headers = shipped.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == ("no-cache" if path == "/" else "no-store")
    if path == "/":
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_the_page_may_run_its_own_scripts_only() -> None:
    page = "<style>a{}</style><script type=module>run()</script><script src=x></script>"
    policy = front.header_policy(page)
    for text in (b"a{}", b"run()"):
        digest = base64.b64encode(hashlib.sha256(text).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert not re.search(r"unsafe-(inline|hashes)|[' ]unsafe-eval", policy)


needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium")


@contextlib.contextmanager
def opened(*models: Path) -> Iterator[tuple[Any, list[str], Catalog]]:
    """The page of a service in a browser, what goes wrong in it, and the service's models."""
    playwright = pytest.importorskip("playwright.sync_api")
    catalog, troubles = Catalog(models, 1), []
    with listening(Limits(), catalog=catalog) as port, playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.on("console", lambda message: troubles.append(message.text))
        tab.on("pageerror", lambda error: troubles.append(str(error)))
        tab.goto(f"http://127.0.0.1:{port}/")
        yield tab, troubles, catalog
        browser.close()


def _given(picture: np.ndarray, kind: str = "image/png") -> dict[str, Any]:
    return {"name": "picture.png", "mimeType": kind, "buffer": _file(picture, "PNG")}


def _flat(path: Path, *classes: str) -> Path:
    """A model file without class maps."""
    head = Block("head", (Flatten(), Linear(len(classes))))
    network = Network("flat", (1, 28, 28), (head,), classes)
    weights.save(path, Model(network, weights.initial(network, 0)))
    return path


@needs_browser
@pytest.mark.parametrize("most", [front.MOST_PARAMETERS, 0], ids=["in the page", "by the service"])
def test_the_page_answers(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same page, whether it computes or asks; nothing goes wrong in it."""
    monkeypatch.setattr(front, "MOST_PARAMETERS", most)
    array = np.zeros((28, 28), np.uint8)
    array[8:24, 16:25] = array[18:24, 4:25] = 200
    asked: list[str] = []
    with opened() as (tab, troubles, _):
        tab.on("request", lambda request: asked.append(request.url))
        tab.reload()
        tab.set_input_files("#file", _given(array))
        tab.wait_for_selector("#bars li")
        answer = tab.evaluate(
            "Object.fromEntries(['logits', 'maps'].map(k => [k, Array.from(state.answer[k])]))"
        )
        asked = [url for url in asked if not url.startswith(("data:", "blob:"))]
        assert [("predict" in url) for url in asked] == ([False] if most else [False, True])
        assert troubles == []
    want = Predictor(model_files.find(None)).run(array[None, ..., None], ("logits", "class_maps"))
    assert difference(answer["logits"], want["logits"]) < 5e-3
    assert difference(answer["maps"], want["class_maps"]) < 5e-3


@needs_browser
def test_the_page_of_a_model_without_class_maps_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the service, also for a file whose type the service does not take."""
    monkeypatch.setattr(front, "MOST_PARAMETERS", 0)
    with opened(_flat(tmp_path / "m.safetensors", "a", "b", "c")) as (tab, troubles, _):
        for kind in ("image/png", "application/octet-stream"):
            tab.reload()
            tab.set_input_files("#file", _given(PICTURE, kind))
            tab.wait_for_selector("#bars li")
            assert tab.locator("#bars li").count() == 3
            assert tab.is_hidden("#map")
        assert troubles == []


def test_the_page_asks_for_class_maps_that_can_be_answered(
    shipped: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "MOST_PARAMETERS", 0)
    for most, asks in ((490, b"maps=1"), (489, b"maps=0")):  # 10 classes, 7×7 cells
        monkeypatch.setattr(front, "MAX_MAP_VALUES", most)
        front._PAGES.clear()
        assert asks in shipped.get("/").body
    front._PAGES.clear()


@needs_browser
@pytest.mark.parametrize("maps", [True, False], ids=["other classes", "no class maps"])
def test_the_page_says_that_the_model_has_changed(
    maps: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "MOST_PARAMETERS", 0)
    file = _other(tmp_path / "m.safetensors")
    with opened(file) as (tab, _, catalog):
        if maps:
            network = zoo.network("nin-small", classes=("a", "b"))
            weights.save(file, Model(network, weights.initial(network, 0)))
        else:
            _flat(file, "a", "b")
        catalog.refresh()
        tab.set_input_files("#file", _given(PICTURE))
        tab.wait_for_selector("#problem:not([hidden])")
        assert tab.inner_text("#problem") == "The model has changed: load the page again."
        assert tab.inner_text("#verdict") == ""
        tab.select_option("#language", "pt")
        assert tab.inner_text("#problem") == "O modelo mudou: recarregue a página."
        tab.reload()
        tab.set_input_files("#file", _given(PICTURE))
        tab.wait_for_selector("#bars li")
        assert tab.locator("#bars li").count() == 2


@needs_browser
def test_the_page_says_what_the_service_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "MOST_PARAMETERS", 0)
    with opened() as (tab, _, _):
        monkeypatch.setattr(Predictor, "run", None)
        tab.set_input_files("#file", _given(PICTURE))
        tab.wait_for_selector("#problem:not([hidden])")
        message = "a fault of the service; its log says more"
        assert tab.inner_text("#problem") == f"The model can't be run here: {message}."
        assert tab.inner_text("#problem [lang=en]") == message
        assert tab.inner_text("#verdict") == ""  # no "One moment …"


def test_a_replaced_model_is_not_kept_for_its_page(tmp_path: Path) -> None:
    file = _other(tmp_path / "m.safetensors")
    with client(file) as asked:
        old = weakref.ref(asked.catalog.models["m"])
        asked.get("/")
        _other(file, scale=3)
        asked.catalog.refresh()
        gc.collect()
        assert old() is None


def test_the_page_is_of_the_model_that_answers(tmp_path: Path) -> None:
    """Whatever has become of its file."""
    file = Path(shutil.copy(model_files.shipped(), tmp_path / "m.safetensors"))
    with client(file) as asked:
        _other(file)  # nobody has looked at it yet
        pages = [asked.get("/")]
        front._PAGES.clear()
        file.unlink()
        pages.append(asked.get("/"))
    expected = page.page(model_files.find(None), title="m").encode()
    assert [(reply.status, reply.body == expected) for reply in pages] == [(200, True)] * 2


def test_the_page_asks_the_service_where_weights_are_too_large_for_it(tmp_path: Path) -> None:
    with client(_other(tmp_path / "C++ & more.safetensors", scale=1e6)) as asked:
        reply = asked.get("/")
    assert reply.status == 200
    assert b'"v1/predict?model=C%2B%2B%20%26%20more&' in reply.body


NAMES = ("C++ & more", "a#b?c=d;e%41", "'\"<i>", "é", os.fsdecode(b"a\xff"))


def test_links_name_their_models(tmp_path: Path) -> None:
    """The list's, and the one in the example of a model whose input is no picture."""
    network = zoo.resolve("lenet", channels=2)
    model = Model(network, weights.initial(network, 0))
    for name in NAMES:
        weights.save(tmp_path / f"{name}.safetensors", model)
    with client(tmp_path, who=access("127.0.0.1", allow_host=["a&b"])) as asked:
        links = re.findall(r'href="([^"]*)"', asked.get("/").body.decode())
        assert len(links) == len(NAMES)
        for link, name in zip(links, sorted(NAMES), strict=True):
            query = html.unescape(link)
            shown = name.encode(errors="replace").decode()
            assert asked.get(f"/v1/model{query}").json["name"] == shown
            reply = asked.get(f"/{query}", host="A&B:1234")
            assert reply.status == 200
            assert f"<h1>{html.escape(shown)}</h1>" in reply.body.decode()
            assert f"'http://a&amp;b:1234/v1/predict{link}'</pre>" in reply.body.decode()


def test_other_libraries_logging_is_left_alone() -> None:
    """uvicorn's own configuration closes their handlers, and the streams of some with them."""
    from netinnet.serve.protocol import loop_factory

    handler = logging.StreamHandler(io.StringIO())
    with listening(Limits()):
        loop_factory()
    assert any(kept() is handler for kept in logging._handlerList)  # type: ignore[attr-defined]


# Models


def test_several_models(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    (folder / "run").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    _other(folder / "a.safetensors")
    _other(folder / "run/model.safetensors", scale=0.5)
    (folder / "notes.txt").write_text("hello")
    alone = _other(tmp_path / "<b>.safetensors", scale=1.5)
    with client(folder, alone) as asked:
        models = asked.get("/v1/model").json["models"]
        assert [model["name"] for model in models] == ["a", "run", "<b>"]
        assert len({model["version"] for model in models}) == 3
        reply = asked.post("/v1/predict", *BODIES["png"][:2])
        assert (reply.status, reply.message) == (
            400,
            "there are several models; add ?model=NAME: a, run, <b>",
        )
        answers = [
            asked.post(f"{ALWAYS}&model={name}", *BODIES["png"][:2]).json
            for name in ("a", "run", "%3Cb%3E")
        ]
        assert [answer["model"] for answer in answers] == ["a", "run", "<b>"]
        assert len({json.dumps(answer["pictures"]) for answer in answers}) == 3
        page = asked.get("/").body.decode()
        assert 'href="?model=run"' in page
        assert "<b>" not in page
        assert b"Ankle boot" in asked.get("/?model=run").body


def test_a_changed_file_takes_the_old_ones_place(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    file = Path(shutil.copy(model_files.shipped(), folder / "m.safetensors"))
    with client(folder) as asked:
        old = asked.catalog.models["m"]
        os.utime(file, (1, 1))  # touched only
        asked.catalog.refresh()
        assert asked.catalog.models["m"] is old
        file.write_bytes(file.read_bytes()[:-100])  # damaged
        asked.catalog.refresh()
        asked.catalog.refresh()
        assert asked.catalog.models["m"] is old
        (said,) = asked.said
        assert said.startswith(
            f"m: not loaded, version {old.version} stays in use: {file}: not a safe"
        )
        file.unlink()  # gone
        asked.catalog.refresh()
        assert asked.catalog.models["m"] is old
        _other(file)
        _other(folder / "second.safetensors", scale=3)
        asked.catalog.refresh()
        new = asked.catalog.models["m"]
        assert new.version != old.version
        assert asked.said[1:] == [
            f"m: now version {new.version} of {file}",
            f"second: now version {asked.catalog.models['second'].version} of "
            f"{folder / 'second.safetensors'}",
        ]
        assert asked.get("/v1/model?model=m").json["version"] == new.version
        metrics = asked.get("/metrics").body.decode()
        assert f'nin_model{{name="m",version="{new.version}"}} 1.0' in metrics
        assert old.version not in metrics
        assert 'nin_loads_total{name="m",outcome="failed"} 1.0' in metrics
        assert 'nin_loads_total{name="m",outcome="loaded"} 1.0' in metrics


def test_a_new_file_of_a_name_that_answers_is_not_loaded(tmp_path: Path) -> None:
    file, second = tmp_path / "m.safetensors", tmp_path / "m" / "model.safetensors"
    _other(file)
    with client(tmp_path) as asked:
        old = asked.catalog.models["m"]
        second.parent.mkdir()
        _other(second, scale=3)  # a run's, which comes first among the names
        for _ in range(2):
            asked.catalog.refresh()
            assert asked.catalog.models["m"] is old
        assert asked.said == [f"{second}: not loaded, {file} is called m, too; rename one"]
        file.unlink()
        asked.catalog.refresh()
        assert asked.catalog.models["m"].file == second


def test_models_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model in this folder"):
        Catalog([tmp_path], 1)
    one, two = tmp_path / "1", tmp_path / "2"
    for folder in (one, two):
        folder.mkdir()
        _other(folder / "same.safetensors")
    with pytest.raises(ModelError, match="two models are called same"):
        Catalog([one, two], 1)
    (one / "recipe.toml").write_text("")
    with pytest.raises(ModelError, match="the run is not finished"):
        Catalog([one], 1)


def test_what_is_no_model_is_left_out_of_a_folder(tmp_path: Path) -> None:
    """With a line; it is an error where it is named itself, or no model is left."""
    half = tmp_path / "half.onnx"
    netinnet.export_model(None, half, precision="float16")
    reason = f"{half}: an export"
    for place in (tmp_path, half):
        with pytest.raises(ModelError, match=re.escape(reason)):
            Catalog([place], 1)
    _other(tmp_path / "whole.safetensors")
    with pytest.raises(ModelError, match="an export"):
        Catalog([tmp_path / "whole.safetensors", half], 1)
    with client(tmp_path) as asked:
        assert [*asked.catalog.models] == ["whole"]
        asked.catalog.refresh()
        (said,) = asked.said
        assert said.startswith(f"half: not loaded, it is left out: {reason}")
        assert b'nin_loads_total{name="half",outcome="failed"} 1.0' in asked.get("/metrics").body


# Its own description


def test_the_description_is_of_the_routes(shipped: Client) -> None:
    found = shipped.get("/openapi.json").json
    assert found["openapi"].startswith("3.1")
    described = {path: {m.upper() for m in methods} for path, methods in found["paths"].items()}
    real = {path: {*methods} - {"HEAD"} for path, methods in shipped.app.routes.items()}
    assert described == real
    predict = found["paths"]["/v1/predict"]["post"]
    assert {*predict["requestBody"]["content"]} == {*KINDS}
    names = {p["name"] for p in predict["parameters"] if p["in"] == "query"}
    text = shipped.post("/v1/predict?x=1", *BODIES["png"][:2]).message
    assert names == {*text.removeprefix("options are ").removesuffix(", each once").split(", ")}
    always = {"408", "431", "500", "503"}
    statuses = {str(status) for *_, status, _ in REFUSED.values()} | {"401", "421"} | always
    assert statuses | {"200"} == {*predict["responses"]}
    for described in found["paths"].values():
        for operation in described.values():
            assert always < {*operation["responses"]}
    assert {*map(str, CODES)} - statuses == {"405"}  # of no operation: of methods that are none
    assert "another method with 405" in found["info"]["description"]
    schemas = found["components"]["schemas"]
    for name in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(found)):
        assert name in schemas
    assert "security" not in found
    assert openapi.document(Limits(), True)["security"] == [{"bearer": []}, {"basic": []}]


def test_answers_are_as_described(shipped: Client) -> None:
    schemas = openapi.SCHEMAS
    answer = shipped.post(f"{ALWAYS}&maps=1", *BODIES["png"][:2]).json
    assert {*answer} == {*schemas["Predictions"]["required"]}
    picture = schemas["Picture"]
    assert {*answer["pictures"][0]} == {*picture["properties"]}
    best = picture["properties"]["predictions"]["items"]
    assert {*answer["pictures"][0]["predictions"][0]} == {*best["required"]}
    (model,) = shipped.get("/v1/model").json["models"]
    assert {*model} == {*schemas["Model"]["required"]}
    assert model["parameters"] == 96_080
    error = schemas["Error"]["properties"]["error"]
    assert {*shipped.get("/x").json["error"]} == {*error["required"]}


def test_metrics(shipped: Client) -> None:
    before = _samples(shipped)
    shipped.post("/v1/predict", *BODIES["png"][:2])
    shipped.get("/nowhere")
    after = _samples(shipped)
    for name, more in {
        'requests_total{route="/v1/predict",status="200"}': 1,
        'requests_total{route="other",status="404"}': 1,
        'request_seconds_count{route="/v1/predict"}': 1,
        "decode_seconds_count": 1,
        "batch_pictures_sum": 1,
        "batch_seconds_count": 1,
        "under_way": 0,
    }.items():
        assert after[name] - before.get(name, 0) == more


def test_stopping(shipped: Client) -> None:
    assert shipped.get("/readyz").json == {"status": "ready"}
    shipped.app.stopping = True
    try:
        for reply in (shipped.get("/readyz"), shipped.post("/v1/predict", PNG, "image/png")):
            assert (reply.status, reply.code) == (503, "stopping")
            assert reply.headers["connection"] == "close"
        assert shipped.get("/healthz").status == 200
    finally:
        shipped.app.stopping = False


# Connections


@contextlib.asynccontextmanager
async def answering(
    limits: Limits, say: Callable[[str], None] = lambda line: None, catalog: Catalog | None = None
) -> AsyncIterator[int]:
    """A service at a port, in this event loop."""
    from netinnet.serve.app import App
    from netinnet.serve.meters import Meters
    from netinnet.serve.protocol import server

    meters = Meters()
    engine = Engine(asyncio.get_running_loop(), limits, meters)
    decoders = ThreadPoolExecutor(1)
    models = catalog or Catalog([], 1)
    app = App(models, engine, decoders, access("127.0.0.1"), limits, meters)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        made = server(app, limits, say)
        task = asyncio.create_task(made.serve(sockets=[listener]))
        while not made.started:
            await asyncio.sleep(0)
        try:
            yield listener.getsockname()[1]
        finally:
            made.should_exit = True
            await task
            engine.close()
            decoders.shutdown()
            app.children.close()


@contextlib.contextmanager
def listening(
    limits: Limits, say: Callable[[str], None] = lambda line: None, catalog: Catalog | None = None
) -> Iterator[int]:
    """A service at a port, in a thread of this process."""
    ports: list[int] = []
    ready = threading.Event()
    is_over: list[Callable[[], None]] = []

    async def live() -> None:
        over = asyncio.Event()
        async with answering(limits, say, catalog) as port:
            loop = asyncio.get_running_loop()
            is_over.append(lambda: loop.call_soon_threadsafe(over.set))
            ports.append(port)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    assert ready.wait(10)
    try:
        yield ports[0]
    finally:
        is_over[0]()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    quick = Limits(
        head_seconds=0.3, body_seconds=0.4, idle_seconds=1.0, max_connections=5, max_body=50_000
    )
    with listening(quick) as found:
        yield found


def _raw(port: int, *pieces: bytes | float) -> tuple[bytes, float]:
    """What comes back for pieces (bytes are sent, numbers are seconds of silence), and how soon."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                if isinstance(piece, bytes):
                    connection.sendall(piece)
                else:
                    time.sleep(piece)
        received = b""
        with contextlib.suppress(ConnectionError):
            while chunk := connection.recv(65_536):
                received += chunk
    return received, time.monotonic() - began


HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("pieces", "status", "message"),
    [
        ([], 408, "the request's head has not come within 0.3 s"),
        ([b"GET / HT", 0.2, b"TP/1.1\r\n", 0.2, b"Host: localhost\r\n"], 408, "head has not come"),
        ([b"\r\n", 0.2, b"\r\n", 0.2, b"\r\n", 0.2, b"\r\n"], 408, "head has not come"),
        ([GET + b"\r\n", 0.1, b"\r\n", 0.1, b"G", 0.2, b"E"], 408, "head has not come"),
        ([HEAD + b"Content-Length: 9\r\n\r\nab"], 408, "body has not come within 0.4 s"),
        ([HEAD + b"Content-Length: 9\r\n\r\n", *[b"a", 0.1] * 6], 408, "body has not come"),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n"], 408, "body has not come"),
        ([GET, b"X: " + bytes(100), b"\r\n\r\n"], 400, "not HTTP/1.1"),
        ([GET, *[b"X: " + b"a" * 20_000 + b"\r\n"] * 4, b"\r\n"], 431, "larger than 32,768"),
        ([b"GET /" + b"a" * 300_000], 431, "head is larger than 32,768 bytes"),
        ([b"hello\r\n\r\n"], 400, "this is not HTTP/1.1"),
        ([b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"], 400, "a request has one Host header"),
        ([HEAD + b"Content-Length: 60000\r\n\r\n", bytes(60_000)], 413, "larger than 50,000"),
        (
            [HEAD + b"Expect: 100-continue\r\nContent-Length: 60000\r\n\r\n"],
            413,
            "larger than 50,000 bytes",
        ),
        ([b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"], 408, "body"),
    ],
)
def test_slow_large_and_odd_requests(
    pieces: list[bytes | float], status: int, message: str, port: int
) -> None:
    received, seconds = _raw(port, *pieces)
    assert seconds < 3
    last = received[received.rindex(b"HTTP/1.1 ") :]
    assert received.count(b"connection: close") == 1
    head, _, body = last.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert b"connection: close" in head
    error = json.loads(body)["error"]
    assert error["code"] == CODES[status]
    assert message in error["message"]


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 4\r\nContent-Length: 40\r\n\r\nabcd",
        b"Content-Length: -1\r\n\r\nabcd",
        b"Content-Length: +4\r\n\r\nabcd",
        b"Content-Length: 4, 40\r\n\r\nabcd",
        b"Content-Length: 99999999999999999999999\r\n\r\nabcd",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabcd",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\nabcd\r\n",
        b"Content-Length : 4\r\n\r\nabcd",
        b" Content-Length: 4\r\n\r\nabcd",
    ],
)
def test_no_request_is_smuggled(head: bytes, port: int) -> None:
    """What two servers could read in two ways is refused, and what follows is never answered."""
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    received, _ = _raw(port, HEAD + head + smuggled)
    statuses = re.findall(rb"HTTP/1\.1 (\d+)", received)
    assert len(statuses) == 1
    assert statuses[0][:1] == b"4"


def test_a_connection_is_kept_and_an_idle_one_closed(port: int) -> None:
    body = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(PNG), PNG)
    received, seconds = _raw(port, GET + b"\r\n" + GET + b"\r\n", 0.1, body, body)
    assert received.count(b"HTTP/1.1 200 OK") == 4
    assert 0.9 < seconds < 4


def test_too_many_connections(port: int) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        received, _ = _raw(port)
        assert received.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in received
        assert b"too many connections; try again" in received


# The command


def test_the_process(tmp_path: Path) -> None:
    """Start, predict, reload, refuse what is damaged, and end without losing an answer."""
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(model_files.shipped(), folder / "m.safetensors")
    words = [sys.executable, "-m", "netinnet", "serve", str(folder), "--port", "0", "--json"]
    with subprocess.Popen(
        [*words, "--reload-seconds", "0.05", "--threads", "1", "--verbose"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            start = json.loads(process.stdout.readline())
            assert start["url"] == f"http://127.0.0.1:{start['port']}/"
            first = start["models"][0]["version"]
            answer = json.loads(_over_http(start["port"], "POST", ALWAYS, PNG)[1])
            assert (answer["model"], answer["version"]) == ("m", first)
            assert "POST /v1/predict 200" in process.stderr.readline()
            _other(folder / "m.safetensors")
            assert "m: now version" in process.stderr.readline()
            answer = json.loads(_over_http(start["port"], "POST", ALWAYS, PNG)[1])
            assert answer["version"] != first
            process.stderr.readline()
            (folder / "m.safetensors").write_bytes(b"damaged")
            assert "m: not loaded, version" in process.stderr.readline()
            # A request is under way while the process is asked to stop.
            with socket.create_connection(("127.0.0.1", start["port"]), timeout=10) as slow:
                slow.sendall(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(PNG), PNG[:50]))
                time.sleep(0.2)
                process.send_signal(signal.SIGTERM)
                assert "stopping after 1 requests" in process.stderr.readline()
                assert _over_http(start["port"], "GET", "/readyz")[0] == 503
                assert _over_http(start["port"], "GET", "/healthz")[0] == 200
                slow.sendall(PNG[50:])
                assert slow.recv(65_536).startswith(b"HTTP/1.1 200 OK")
            assert process.wait(10) == 0
        finally:
            process.kill()


def _over_http(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path, body, {"Content-Type": "image/png"} if body else {})
        reply = connection.getresponse()
        return reply.status, reply.read()


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "netinnet", "serve", "--port", "0", "--json", "--threads", "1"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            port = json.loads(process.stdout.readline())["port"]
            with socket.create_connection(("127.0.0.1", port), timeout=10) as slow:
                slow.sendall(HEAD + b"Content-Length: 100\r\n\r\n")
                time.sleep(0.2)
                process.send_signal(signal.SIGINT)
                assert "a second signal stops at once" in process.stderr.readline()
                process.send_signal(signal.SIGINT)
                assert process.wait(10) == 130
            assert "nin: stopped before every request was answered" in process.stderr.read()
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "0", "missing.safetensors"], "missing.safetensors: no such model file"),
        (["--port", "70000"], "--port is a number from 0 to 65535, got 70000"),
        pytest.param(
            *(["--host", "no such host"], "--host no such host: cannot listen there"),
            marks=pytest.mark.connects("anywhere"),
        ),
        (["--token", " "], "--token is empty"),
        (["--allow-host", "a.example:80"], "--allow-host is a name without port or slash"),
        (["--allow-origin", "a.example"], "--allow-origin is a site as in https://example.org"),
        (["--threads", "0"], "--threads is a number from 1 to 1,024, got 0"),
        (["--threads", "9" * 22], "--threads is a number from 1 to 1,024, got 999999"),
        *(
            (
                ["--reload-seconds", text],
                f"--reload-seconds is a number from 0 to 1,000,000, got {v}",
            )
            for text, v in (("-1", "-1.0"), ("nan", "nan"), ("inf", "inf"), ("1e300", "1e+300"))
        ),
        (["--max-body", "0"], "--max-body must be above 0 and at most 1,000,000,000,000, got 0"),
        *(
            (
                ["--decode-seconds", v],
                f"--decode-seconds must be above 0 and at most 1,000,000, got {v}",
            )
            for v in ("nan", "inf", "3000000.0")
        ),
        *(
            ([f"--{field.name.replace('_', '-')}", "1.6"], 'unable to convert "1.6" into int')
            for field in dataclasses.fields(Limits)
            if field.type == "int"
        ),
    ],
    ids=str,
)
def test_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    # Nothing is served where a mistake is overlooked: the test would not end.
    assert run(["serve", *arguments, "none.safetensors"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert run(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert "or 0 for any" in capsys.readouterr().err


def test_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run(["serve"]) == 2
    assert "nin serve needs uvicorn: pip install 'netinnet[serve]'" in capsys.readouterr().err


def test_limits_are_all_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr("netinnet.cli.serve.run", lambda *_, **named: given.append(named["limits"]))
    for field in dataclasses.fields(Limits):
        flag = f"--{field.name.replace('_', '-')}"
        for value in (0, math.nan, math.inf, 10**13):
            with pytest.raises(NetinnetError, match=f"{flag} must be above"):
                Limits(**{field.name: value})
        assert run(["serve", flag, "7"]) == 0
        expected = dataclasses.asdict(Limits(**{field.name: 7}))
        assert dataclasses.asdict(given.pop()) == expected
