"""Data sets: IDX, where they are looked for, integrity, fetching."""

from __future__ import annotations

import dataclasses
import email.message
import gzip
import hashlib
import http.server
import io
import os
import re
import shutil
import socket
import struct
import tarfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netinnet.data import cifar, datasets, debian, download, fashion_mnist, mnist, svhn
from netinnet.data.idx import parse_idx
from netinnet.data.named import NamedDataset
from netinnet.data.original import OriginalFile, checked
from netinnet.errors import DataError, NetinnetError
from tests.conftest import connecting, nin

MIRROR = "https://mirror.test/data"
OTHER = "https://other.test/data"


def exactly(text: str) -> str:
    return f"^{re.escape(text)}$"


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def described(name: str, content: bytes) -> OriginalFile:
    return OriginalFile(name, len(content), hashlib.sha256(content).hexdigest(), gzip=True)


def tiny_contents() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    return {
        "train-images-idx3-ubyte": idx(rng.integers(0, 256, (6, 28, 28))),
        "train-labels-idx1-ubyte": idx(np.arange(6)),
        "t10k-images-idx3-ubyte": idx(rng.integers(0, 256, (3, 28, 28))),
        "t10k-labels-idx1-ubyte": idx(np.array([9, 8, 7])),
    }


def put(folder: Path, contents: dict[str, bytes], compressed: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


class Messages(list[tuple[str, int, int | None]]):
    """A progress callback that remembers."""

    def __call__(self, text: str, done: int, total: int | None) -> None:
        self.append((text, done, total))

    @property
    def texts(self) -> list[str]:
        return [text for text, _, _ in self]


@pytest.fixture
def contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Tiny files in place of the real ones, an empty cache and system folder, and no sources."""
    tiny = tiny_contents()
    files = tuple(described(name, content) for name, content in tiny.items())
    change(monkeypatch, files=files, system_folder=tmp_path / "system", sources=())
    monkeypatch.setenv("NETINNET_CACHE", str(tmp_path / "cache"))
    return tiny


def change(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Change what is known of Fashion-MNIST, in this test."""
    changed = dataclasses.replace(known(), **changes)
    monkeypatch.setitem(datasets.DATASETS, "fashion-mnist", changed)


def known() -> NamedDataset:
    return datasets.find("fashion-mnist")


# --- IDX


@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple),
    seed=st.integers(0, 2**32 - 1),
)
def test_parse_idx_gives_back_any_array(shape: tuple[int, ...], seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    parsed = parse_idx(idx(array), "x")
    assert parsed.dtype == np.uint8
    np.testing.assert_array_equal(parsed, array)


@given(
    st.binary(max_size=64)
    | st.tuples(st.integers(0, 255), st.binary(max_size=40)).map(
        lambda pair: bytes([0, 0, 8, pair[0]]) + pair[1]
    )
)
def test_parse_idx_returns_an_array_or_one_line(content: bytes) -> None:
    message = ""
    try:
        assert idx(parse_idx(content, "x")) == content
    except DataError as error:
        message = str(error)
    assert message == "" or (message.startswith("x: ") and "\n" not in message)


@given(st.data())
def test_parse_idx_notices_every_missing_or_extra_byte(data: st.DataObject) -> None:
    content = idx(np.zeros((3, 4)))
    cut = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(DataError):
        parse_idx(content[:cut], "x")
    with pytest.raises(DataError):
        parse_idx(content + data.draw(st.binary(min_size=1, max_size=4)), "x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"\x89PNG",
            "x: not an IDX file, it should begin with two zero bytes, the element type and the"
            " number of dimensions, not with 89 50 4e 47",
        ),
        (
            b"",
            "x: not an IDX file, it should begin with two zero bytes, the element type and the"
            " number of dimensions, not with nothing",
        ),
        (b"\0\0\x0d\1\0\0\0\0", "x: IDX elements of type 0x0d, expected 0x08 (bytes)"),
        (b"\0\0\x08\0", "x: IDX with 0 dimensions, expected 1 to 32"),
        (b"\0\0\x08\x02\0\0\0\1", "x: truncated, 8 bytes of an IDX header of 12"),
        (b"\0\0\x08\x01\0\0\0\0", "x: IDX of 0 elements, no dimension may be 0"),
        (
            b"\0\0\x08\x02\0\0\0\2\0\0\0\3abcde",
            "x: 5 bytes after the IDX header, which announces 2×3 = 6",
        ),
    ],
)
def test_parse_idx_errors(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=exactly(message)):
        parse_idx(content, "x")


# --- integrity


def test_checked_errors() -> None:
    content = bytes(range(200))
    file = described("f", content)
    packed = gzip.compress(content)
    assert checked(content, file, "x") == checked(packed, file, "x") == content
    for raw, message in [
        (content[:-1], "x: truncated, it holds 199 bytes instead of 200"),
        (content + b"a", "x: too long, it holds more than 200 bytes"),
        (packed[:-9], "x: truncated, the gzip data end early"),
        (packed[:10] + b"\xff" * 20, "x: damaged gzip data"),
        (
            bytes(200),
            f"x: not the original f, its SHA-256 is {hashlib.sha256(bytes(200)).hexdigest()[:12]}…"
            f" instead of {file.sha256[:12]}…",
        ),
    ]:
        with pytest.raises(DataError, match=exactly(message)):
            checked(raw, file, "x")


def test_decompression_bomb_is_stopped_early() -> None:
    bomb = gzip.compress(bytes(1 << 26), compresslevel=1)
    file = described("f", b"abc")
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(DataError, match=exactly("x: too long, it holds more than 3 bytes")):
        checked(bomb, file, "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 22


# --- where it is looked for


@pytest.mark.parametrize("compressed", [True, False])
def test_load_from_a_given_folder(
    contents: dict[str, bytes], tmp_path: Path, compressed: bool
) -> None:
    loaded = datasets.load("fashion-mnist", put(tmp_path / "mine", contents, compressed))
    assert loaded.name == "fashion-mnist"
    assert loaded.facts.classes[0] == "T-shirt/top"
    assert loaded.facts.classes[9] == "Ankle boot"
    assert loaded.train.images.shape == (6, 28, 28, 1)
    assert loaded.train.images.dtype == np.uint8
    assert loaded.train.images.flags.writeable
    assert loaded.test.labels.dtype == np.int64
    assert loaded.test.labels.tolist() == [9, 8, 7]
    first = contents["train-images-idx3-ubyte"][16 : 16 + 784]
    assert loaded.train.images[0].tobytes() == first


def test_order_of_places(contents: dict[str, bytes], tmp_path: Path) -> None:
    assert known().locate() is None
    system = put(tmp_path / "system", contents)
    assert known().locate() == system
    cache = put(tmp_path / "cache" / "fashion-mnist", contents)
    assert known().locate() == cache
    mine = tmp_path / "mine"
    assert known().locate(mine) is None
    put(mine, contents)
    assert known().locate(mine) == mine


def test_cache_is_the_platforms_unless_the_environment_says_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from platformdirs import user_cache_path

    monkeypatch.setenv("NETINNET_CACHE", "/elsewhere")
    assert known().cache_folder == Path("/elsewhere/fashion-mnist")
    monkeypatch.delenv("NETINNET_CACHE")
    assert known().cache_folder == user_cache_path("netinnet") / "fashion-mnist"


def test_given_folder_errors(contents: dict[str, bytes], tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    names = ", ".join(f"{name}.gz" for name in contents)
    message = f"{mine}: no such folder; --data-dir takes a folder with {names}"
    with pytest.raises(DataError, match=exactly(message)):
        known().load(mine)
    put(mine, contents)
    (mine / "t10k-labels-idx1-ubyte.gz").unlink()
    message = (
        f"{mine}: t10k-labels-idx1-ubyte.gz not found; put the original files there, or leave out"
        " --data-dir and they are found or fetched"
    )
    with pytest.raises(DataError, match=exactly(message)):
        known().load(mine)
    (mine / "t10k-labels-idx1-ubyte").write_bytes(b"\0" * 5)
    message = (
        f"{mine}/t10k-labels-idx1-ubyte: truncated, it holds 5 bytes instead of 11; replace it, or"
        " leave out --data-dir and it is found or fetched"
    )
    with pytest.raises(DataError, match=exactly(message)):
        known().load(mine)


def test_damaged_cache_falls_back_to_the_system(contents: dict[str, bytes], tmp_path: Path) -> None:
    cache = put(tmp_path / "cache" / "fashion-mnist", contents)
    put(tmp_path / "system", contents)
    (cache / "train-labels-idx1-ubyte.gz").write_bytes(b"\x1f\x8bnonsense")
    messages = Messages()
    assert len(known().load(on_progress=messages).train) == 6
    assert messages == [
        (
            f"{cache}/train-labels-idx1-ubyte.gz: damaged gzip data; looking for another copy",
            0,
            None,
        )
    ]


def test_damaged_file_in_the_cache_is_fetched_again(
    contents: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = put(tmp_path / "cache" / "fashion-mnist", contents, compressed=False)
    (cache / "t10k-images-idx3-ubyte").write_bytes(contents["t10k-images-idx3-ubyte"][:-1])
    asked = []

    def source(wanted, folder, progress):
        asked.extend(file.name for file in wanted)
        put(folder, {file.name: contents[file.name] for file in wanted})
        return []

    change(monkeypatch, sources=(source,))
    messages = Messages()
    assert len(known().load(on_progress=messages).test) == 3
    assert asked == ["t10k-images-idx3-ubyte"]
    assert messages.texts[-1] == (
        f"{cache}/t10k-images-idx3-ubyte: truncated, it holds 2,367 bytes instead of 2,368;"
        " it is fetched again"
    )


def test_sources_are_asked_in_turn_for_what_is_missing(
    contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def first(wanted, folder, progress):
        asked.append(len(wanted))
        name = wanted[0].name
        put(folder, {name: contents[name]})
        return ["first: ended"]

    def second(wanted, folder, progress):
        asked.append(len(wanted))
        put(folder, {file.name: contents[file.name] for file in wanted})
        return []

    def third(wanted, folder, progress):
        raise AssertionError

    change(monkeypatch, sources=(first, second, third))
    assert len(known().load().train) == 6
    assert asked == [4, 3]


def test_nothing_works(contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    sources = (lambda *_: ["a: HTTP 404", "b: refused"], lambda *_: ["c: no apt-get"])
    change(monkeypatch, sources=sources)
    message = (
        "Fashion-MNIST could not be fetched (a: HTTP 404; b: refused; c: no apt-get); connect to a"
        " network, or put train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz,"
        " t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz into a folder DIR and pass"
        " --data-dir DIR"
    )
    with pytest.raises(DataError, match=exactly(message)):
        known().load()


def test_cache_that_cannot_be_made(
    contents: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NETINNET_CACHE", str(tmp_path / "file"))
    message = (
        f"{tmp_path}/file/fashion-mnist: cannot be written (Not a directory); set NETINNET_CACHE"
        " to a folder you may write to"
    )
    with pytest.raises(NetinnetError, match=exactly(message)):
        known().load()


@pytest.mark.skipif(os.name == "nt", reason="no file locks of this kind")
def test_processes_started_together_fetch_once(
    contents: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    cache = tmp_path / "cache" / "fashion-mnist"
    cache.mkdir(parents=True)
    messages = Messages()
    with (cache / ".lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        loading = threading.Thread(target=known().load, kwargs={"on_progress": messages})
        loading.start()
        deadline = time.monotonic() + 10
        while not messages and time.monotonic() < deadline:
            time.sleep(0.01)
        put(cache, contents)  # what the other process does meanwhile; there are no sources here
    loading.join(10)
    assert messages.texts == ["waiting for another process that fetches Fashion-MNIST"]
    assert not loading.is_alive()


def test_status_never_fetches(
    contents: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def source(wanted, folder, progress):
        raise AssertionError

    change(monkeypatch, sources=(source,))
    found, *_ = datasets.status()
    assert (found.name, found.folder, found.verified) == ("fashion-mnist", None, False)
    assert found.message == "not here yet; it is fetched when it is first used (31 MB)"
    assert not (tmp_path / "cache").exists()

    cache = put(tmp_path / "cache" / "fashion-mnist", contents)
    found, *_ = datasets.status()
    assert (found.folder, found.verified) == (cache, True)
    assert found.message == "complete, SHA-256 checked"

    label = cache / "t10k-labels-idx1-ubyte.gz"
    label.write_bytes(gzip.compress(contents["t10k-labels-idx1-ubyte"])[:-2])
    found, *_ = datasets.status()
    assert (found.folder, found.verified) == (cache, False)
    assert found.message == (
        f"{label}: truncated, the gzip data end early; it is fetched again when it is next used"
    )
    found, *_ = datasets.status(cache)
    assert found.message == f"{label}: truncated, the gzip data end early; replace it"
    found, *_ = datasets.status(tmp_path / "none")
    assert (found.folder, found.verified) == (None, False)
    assert found.message.startswith(f"{tmp_path}/none: no such folder; --data-dir takes")


def test_unknown_name() -> None:
    message = (
        "no data set 'fashion_mnist' (did you mean 'fashion-mnist'?); known: fashion-mnist,"
        " mnist, cifar10, cifar100, svhn"
    )
    with pytest.raises(DataError, match=exactly(message)):
        datasets.load("fashion_mnist")


def test_the_real_data_set_where_it_is_here() -> None:
    if known().locate() is None:
        pytest.skip("Fashion-MNIST is not on this machine, and tests fetch nothing")
    loaded = known().load()
    assert loaded.train.images.shape == (60_000, 28, 28, 1)
    assert loaded.test.images.shape == (10_000, 28, 28, 1)
    assert np.bincount(loaded.train.labels).tolist() == [6000] * 10
    assert np.bincount(loaded.test.labels).tolist() == [1000] * 10
    facts = datasets.facts("fashion-mnist")
    assert loaded.facts == facts
    assert loaded.train.images.mean() / 255 == pytest.approx(facts.mean[0], abs=5e-5)
    assert loaded.train.images.std() / 255 == pytest.approx(facts.std[0], abs=5e-5)


# --- over HTTPS (a local server stands in for it, behind `open_url`)


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; knows ranges unless told to ignore them; may break off after some bytes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.break_after: int | None = None
        self.requests: list[tuple[str, str | None]] = []

    def open_url(self, request: urllib.request.Request) -> download.Response:
        local = f"http://127.0.0.1:{self.server_port}/{request.full_url.removeprefix('https://')}"
        return urllib.request.urlopen(
            urllib.request.Request(local, headers=dict(request.header_items())), timeout=5
        )


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requests.append((self.path, wanted))
        body = self.server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        start = 0
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : self.server.break_after])

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with connecting("here"), Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


CONTENT = np.random.default_rng(1).integers(0, 256, 200_000, dtype=np.uint8).tobytes()
PACKED = gzip.compress(CONTENT, mtime=1)
FILE = described("f", CONTENT)


def test_download(server: Server, tmp_path: Path) -> None:
    server.files["/mirror.test/data/f.gz"] = PACKED
    messages = Messages()
    assert download.fetch([FILE], [MIRROR, OTHER], tmp_path, messages, server.open_url) == []
    assert (tmp_path / "f.gz").read_bytes() == PACKED
    assert os.listdir(tmp_path) == ["f.gz"]
    assert messages[-1] == ("f.gz from mirror.test", len(PACKED), len(PACKED))
    assert server.requests == [("/mirror.test/data/f.gz", None)]


def test_broken_download_is_resumed(server: Server, tmp_path: Path) -> None:
    server.files["/mirror.test/data/f.gz"] = PACKED
    server.break_after = 70_000
    reasons = download.fetch([FILE], [MIRROR], tmp_path, Messages(), server.open_url)
    assert reasons == [f"mirror.test: the connection ended after 70,000 of {len(PACKED):,} bytes"]
    assert os.listdir(tmp_path) == ["f.gz.part"]
    server.break_after = None
    messages = Messages()
    assert download.fetch([FILE], [MIRROR], tmp_path, messages, server.open_url) == []
    assert (tmp_path / "f.gz").read_bytes() == PACKED
    assert server.requests[-1] == ("/mirror.test/data/f.gz", "bytes=70000-")
    assert messages[0][1] > 70_000
    assert messages[-1][1:] == (len(PACKED), len(PACKED))


def test_broken_download_goes_on_at_the_next_mirror(server: Server, tmp_path: Path) -> None:
    server.files["/other.test/data/f.gz"] = PACKED
    (tmp_path / "f.gz.part").write_bytes(PACKED[:1000])
    reasons = download.fetch([FILE], [MIRROR, OTHER], tmp_path, Messages(), server.open_url)
    assert reasons == ["mirror.test: HTTP 404"]
    assert (tmp_path / "f.gz").read_bytes() == PACKED
    assert server.requests[-1] == ("/other.test/data/f.gz", "bytes=1000-")


def test_server_that_ignores_ranges(server: Server, tmp_path: Path) -> None:
    server.files["/mirror.test/data/f.gz"] = PACKED
    server.ranges = False
    (tmp_path / "f.gz.part").write_bytes(PACKED[:1000])
    assert download.fetch([FILE], [MIRROR], tmp_path, Messages(), server.open_url) == []
    assert (tmp_path / "f.gz").read_bytes() == PACKED
    assert len(server.requests) == 1


@pytest.mark.parametrize("part", [b"another container's beginning", PACKED + b"too much"])
def test_beginning_of_another_container_is_given_up(
    server: Server, tmp_path: Path, part: bytes
) -> None:
    server.files["/mirror.test/data/f.gz"] = PACKED
    (tmp_path / "f.gz.part").write_bytes(part)
    assert download.fetch([FILE], [MIRROR], tmp_path, Messages(), server.open_url) == []
    assert (tmp_path / "f.gz").read_bytes() == PACKED
    assert [wanted for _, wanted in server.requests] == [f"bytes={len(part)}-", None]


def test_complete_part_is_used(server: Server, tmp_path: Path) -> None:
    server.files["/mirror.test/data/f.gz"] = PACKED
    (tmp_path / "f.gz.part").write_bytes(PACKED)
    assert download.fetch([FILE], [MIRROR], tmp_path, Messages(), server.open_url) == []
    assert os.listdir(tmp_path) == ["f.gz"]


def test_wrong_or_endless_file_is_refused(server: Server, tmp_path: Path) -> None:
    server.files["/mirror.test/data/f.gz"] = gzip.compress(CONTENT[::-1])
    server.files["/other.test/data/f.gz"] = bytes(FILE.largest_container + 1)
    reasons = download.fetch([FILE], [MIRROR, OTHER], tmp_path, Messages(), server.open_url)
    assert reasons == [
        "mirror.test: f.gz is not the original",
        "other.test: f.gz is too long",
    ]
    assert not (tmp_path / "f.gz").exists()


def test_file_too_long_does_not_spoil_the_next_mirror(server: Server, tmp_path: Path) -> None:
    server.files["/mirror.test/data/f.gz"] = bytes(FILE.largest_container + 1)
    server.files["/other.test/data/f.gz"] = PACKED
    download.fetch([FILE], [MIRROR, OTHER], tmp_path, Messages(), server.open_url)
    assert (tmp_path / "f.gz").read_bytes() == PACKED


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_is_no_fault_of_the_mirror(server: Server, tmp_path: Path) -> None:
    server.files["/mirror.test/data/f.gz"] = PACKED
    part = tmp_path / "f.gz.part"
    part.symlink_to("/dev/full")
    message = f"{part}: cannot be written (No space left on device); free some space"
    with pytest.raises(NetinnetError, match=exactly(message)):
        download.fetch([FILE], [MIRROR], tmp_path, Messages(), server.open_url)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (urllib.error.URLError(socket.gaierror(-2, "Name not known")), "Name not known"),
        (urllib.error.URLError("unknown url type: http"), "unknown url type: http"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (TimeoutError("timed out"), "timed out"),
        (http.client.BadStatusLine("x"), "bad answer (BadStatusLine)"),
    ],
)
def test_reasons_are_short(error: Exception, reason: str, tmp_path: Path) -> None:
    def open_url(request: urllib.request.Request) -> download.Response:
        raise error

    assert download.fetch([FILE], [MIRROR], tmp_path, Messages(), open_url) == [
        f"mirror.test: {reason}"
    ]


def test_offline_machine_moves_on_quickly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.2)
    hanging = threading.Event()

    def open_url(request: urllib.request.Request) -> download.Response:
        hanging.wait(30)
        raise OSError

    started = time.monotonic()
    reasons = download.fetch([FILE], [MIRROR, OTHER, MIRROR], tmp_path, Messages(), open_url)
    hanging.set()
    assert time.monotonic() - started < 5
    assert reasons[0] == "mirror.test: no answer within 0.2 s"
    assert reasons[1:] == [
        "other.test: not tried, no connection",
        "mirror.test: not tried, no connection",
    ]


class FakeHttps(urllib.request.BaseHandler):
    """Answers every HTTPS request with a redirect to `location`."""

    handler_order = 100

    def __init__(self, location: str) -> None:
        self.location = location

    def https_open(self, request: urllib.request.Request) -> urllib.request.addinfourl:
        headers = email.message.Message()
        headers["Location"] = self.location
        response = urllib.response.addinfourl(io.BytesIO(), headers, request.full_url, 302)
        response.msg = "Found"
        return response


@pytest.mark.parametrize("location", ["http://mirror.test/f.gz", "HTTP://mirror.test/f.gz"])
def test_redirect_to_http_is_refused(location: str) -> None:
    opener = download.https_opener()
    opener.add_handler(FakeHttps(location))
    with pytest.raises(download.SourceError, match=exactly("redirects to http://, refused")):
        opener.open("https://mirror.test/f.gz")


def test_redirect_to_https_is_followed() -> None:
    opener = download.https_opener()
    opener.add_handler(FakeHttps("https://mirror.test/f.gz"))
    with pytest.raises(urllib.error.HTTPError, match="infinite loop") as caught:
        opener.open("https://mirror.test/f.gz")
    caught.value.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1/f", "file:///etc/passwd", "ftp://x/f"])
def test_nothing_but_https_is_opened(url: str) -> None:
    with pytest.raises(urllib.error.URLError, match="unknown url type"):
        download.open_https(urllib.request.Request(url))


def test_mirrors_are_https() -> None:
    for module in (fashion_mnist, mnist, cifar, svhn):
        assert all(mirror.startswith("https://") for mirror in module.MIRRORS)


# --- Debian's package

needs_shell = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")


def deb(files: dict[str, bytes]) -> bytes:
    """A Debian archive: ar with debian-binary, control.tar and data.tar.xz."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    archive = b"!<arch>\n"
    empty = io.BytesIO()
    with tarfile.open(fileobj=empty, mode="w"):
        pass
    members = [
        ("debian-binary", b"2.0\n"),
        ("control.tar", empty.getvalue()),
        ("data.tar.xz", packed.getvalue()),
    ]
    for name, content in members:
        archive += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        archive += content + b"\n" * (len(content) % 2)
    return archive


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH, for a fake apt-get; returns the script's path."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("dpkg-deb", "tar"):
        if real := shutil.which(name):
            (programs / name).symlink_to(real)
    monkeypatch.setenv("PATH", str(programs))
    return programs / "apt-get"


def write_apt(path: Path, download_with: str) -> None:
    """A fake apt-get that notes its arguments; `download_with` is run for a real download."""
    path.write_text(
        f"""#!/bin/sh
echo "$@" >> {path.parent}/log
case "$*" in
*update*) exit 0 ;;
*--print-uris*) echo "'http://x/p_1_all.deb' p_1_all.deb 1234 SHA256:0" ;;
*) {download_with} ;;
esac
"""
    )
    path.chmod(0o755)


def fetch_package(folder: Path, messages: Messages | None = None) -> list[str]:
    return debian.fetch(
        [FILE], "p", "usr/share/f", folder, Messages() if messages is None else messages
    )


@needs_shell
def test_package_is_fetched_and_unpacked(apt: Path, tmp_path: Path) -> None:
    stored = tmp_path / "p.deb"
    stored.write_bytes(deb({"usr/share/f/f.gz": PACKED, "usr/share/doc/f.gz": b"other"}))
    write_apt(apt, f"/bin/cp {stored} p_1_all.deb")
    messages = Messages()
    assert fetch_package(tmp_path / "cache", messages) == []
    assert (tmp_path / "cache" / "f.gz").read_bytes() == PACKED
    assert messages[-1] == ("p from Debian", 1234, 1234)


@needs_shell
def test_own_package_lists_where_the_systems_do_not_do(apt: Path, tmp_path: Path) -> None:
    stored = tmp_path / "p.deb"
    stored.write_bytes(deb({"usr/share/f/f.gz": PACKED}))
    write_apt(
        apt,
        f'case "$*" in *Dir::State*) /bin/cp {stored} p_1_all.deb ;;'
        ' *) echo "E: 404  Not Found" >&2; exit 100 ;; esac',
    )
    messages = Messages()
    assert fetch_package(tmp_path / "cache", messages) == []
    assert ("package lists for p", 0, None) in messages
    log = (apt.parent / "log").read_text().splitlines()
    (update,) = [line for line in log if line.endswith("update")]
    assert "-oDir::State=" in update
    assert "-oDir::Cache=" in update


@needs_shell
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            'echo "W: odd" >&2; echo "E: Unable to locate package p" >&2; exit 100',
            "Unable to locate package p",
        ),
        ("exit 1", "apt-get failed and gave no reason"),
        ("exit 0", "apt-get downloaded nothing"),
        ("echo nonsense > p_1_all.deb", "dpkg-deb cannot unpack p_1_all.deb"),
    ],
)
def test_package_errors(apt: Path, tmp_path: Path, script: str, reason: str) -> None:
    write_apt(apt, script)
    assert fetch_package(tmp_path / "cache") == [f"Debian's p: {reason}"]


@needs_shell
def test_package_of_other_content(apt: Path, tmp_path: Path) -> None:
    stored = tmp_path / "p.deb"
    write_apt(apt, f"/bin/cp {stored} p_1_all.deb")
    stored.write_bytes(deb({"usr/share/other/f.gz": PACKED}))
    assert fetch_package(tmp_path / "cache") == ["Debian's p: No such file or directory"]
    stored.write_bytes(deb({"usr/share/f/f.gz": gzip.compress(CONTENT[:-1])}))
    assert fetch_package(tmp_path / "cache") == [
        "Debian's p: f.gz: truncated, it holds 199,999 bytes instead of 200,000"
    ]
    assert not (tmp_path / "cache" / "f.gz").exists()


@needs_shell
def test_hanging_apt_is_ended(apt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "DOWNLOAD_SECONDS", 0.1)
    write_apt(apt, "exec /bin/sleep 60")
    started = time.monotonic()
    assert fetch_package(tmp_path / "cache") == [
        "Debian's p: apt-get download took more than 0.1 s"
    ]
    assert time.monotonic() - started < 20


def test_no_apt(apt: Path, tmp_path: Path) -> None:
    assert fetch_package(tmp_path / "cache") == ["Debian's p: there is no apt-get"]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--split", "80/20"], "split"),
        (["--group-by", "person"], "group_by"),
        (["--skip-bad", "--split", "80/20"], "skip_bad and split"),
    ],
)
def test_a_folder_of_arrays_is_read_as_it_is(flags: list[str], named: str, tmp_path: Path) -> None:
    from netinnet import data

    pictures, labels = np.zeros((4, 8, 8, 1), np.uint8), np.arange(4) % 2
    data.save(data.from_arrays("dots", (pictures, labels), (pictures, labels)), tmp_path / "dots")
    done = nin("train", "--dataset", tmp_path / "dots", *flags, "--dry-run")
    assert done.returncode == 2
    assert "no folder of pictures by class, so it is read as it is: leave out " + named in (
        done.stderr
    )
