"""Nothing connects unless asked; the lock is the requirements with hashes; what an audit says."""

from __future__ import annotations

import platform
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netinnet.frameworks import FRAMEWORKS
from tests.conftest import FRAMEWORK, ROOT, connecting
from tools import audit

SOCKET = {"x86_64": 41, "aarch64": 198}.get(platform.machine())
"""The number of the system call."""


@pytest.mark.parametrize(
    ("limit", "address", "is_refused"),
    [
        ("nowhere", "127.0.0.1", True),
        ("nowhere", "192.0.2.1", True),
        ("here", "127.0.0.1", False),
        ("here", "192.0.2.1", True),
    ],
)
def test_no_test_connects_further_than_it_says(limit: str, address: str, is_refused: bool) -> None:
    refused = f"tests may connect {limit}"
    with connecting(limit), socket.socket() as made:
        with pytest.raises(BaseException, match=refused if is_refused else "Connection refused"):
            made.connect((address, 9))
        if is_refused:
            with pytest.raises(BaseException, match=refused):
                made.bind(("0.0.0.0", 0))  # noqa: S104 - it is refused


def test_no_process_of_a_test_connects() -> None:
    code = "import socket\ntry: socket.getaddrinfo('example.org', 80)\nexcept Exception: pass"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        "Connected: socket.getaddrinfo of 'example.org': tests may connect nowhere" in done.stderr
    )


def test_pairs_of_sockets_within_this_machine_are_free(tmp_path: Path) -> None:
    one, other = socket.socketpair()
    with one, other, socket.socket(socket.AF_UNIX) as named:
        named.bind(str(tmp_path / "s"))


# A kernel that ends the process for a socket of the network sees what native code does, too.
WITHOUT_SOCKETS = f"""
import ctypes, struct, sys
END, GO, INET, INET6 = 0x80000000, 0x7FFF0000, 2, 10
steps = [  # code, jump where true, jump where false, operand; calls and arguments by place
    (0x20, 0, 0, 0), (0x15, 0, 4, {SOCKET}), (0x20, 0, 0, 16),
    (0x15, 1, 0, INET), (0x15, 0, 1, INET6), (0x06, 0, 0, END), (0x06, 0, 0, GO),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # no new privileges: what the next call asks for
if libc.prctl(22, 2, program, 0, 0):  # a filter of system calls, for the children too
    sys.exit(77)
"""
WORK = """
from pathlib import Path
import netinnet
from netinnet.cli import main
framework, pictures = sys.argv[1:]
train = ["train", "--dataset", pictures, "--framework", framework, "--network", "lenet"]
for words in (
    [*train, "--epochs", "1", "--batch-size", "4", "--threads", "1", "--output", "run"],
    ["predict", "run", next(Path(pictures).rglob("*.png"))],
    ["evaluate", "run"],
    ["export", "run", "page.html"],
    ["export", "run", "other.onnx"],
):
    assert main.run([str(word) for word in words]) == 0, words
"""
needs_filter = pytest.mark.skipif(
    SOCKET is None or sys.platform != "linux", reason="the filter is for Linux on two processors"
)


def _run(code: str, *arguments: str | Path, folder: Path) -> None:
    program = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("this system takes no filter of system calls")
    assert done.returncode == 0, (done.returncode, done.stderr)


@needs_filter
@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_the_filter_ends_a_process_that_opens_a_socket(family: str, tmp_path: Path) -> None:
    start = WITHOUT_SOCKETS + "import socket; "
    _run(start + "socket.socketpair()", folder=tmp_path)
    with pytest.raises(AssertionError, match=str(-signal.SIGSYS)):
        _run(start + f"socket.socket(socket.{family})", folder=tmp_path)


@needs_filter
@pytest.mark.parametrize(
    "framework",
    [
        name if name == FRAMEWORK else pytest.param(name, marks=pytest.mark.slow)
        for name, found in FRAMEWORKS.items()
        if found.is_installed
    ],
)
def test_learning_and_predicting_open_no_socket(framework: str, tmp_path: Path) -> None:
    """Import, train, predict, evaluate, export: not even one that is never connected.

    TensorFlow and MXNet import urllib3, which opens one to see whether there is IPv6: that they
    connect nowhere is left to tests/offline.
    """
    rng = np.random.default_rng(0)
    for split, name in ((s, n) for s in ("train", "test") for n in ("a", "b")):
        folder = tmp_path / "pictures" / split / name
        folder.mkdir(parents=True)
        for place in range(4):
            picture = rng.integers(0, 256, (28, 28), np.uint8)
            Image.fromarray(picture).save(folder / f"{place}.png")
    start = "import sys" if framework in ("tensorflow", "mxnet") else WITHOUT_SOCKETS
    _run(start + WORK, framework, tmp_path / "pictures", folder=tmp_path)


def _pins(name: str) -> dict[str, str]:
    """Version by name, spelt as in the index: small letters and dashes."""
    text = (ROOT / "requirements" / name).read_text("ascii")
    return {
        re.sub(r"[-_.]+", "-", found).lower(): version
        for found, version in re.findall(r"^([\w.-]+)==([\w.+]+)", text, re.MULTILINE)
    }


def test_the_lock_is_the_requirements_with_hashes() -> None:
    """`make lock` was run after the last change."""
    wanted, locked = _pins("train.txt"), _pins("lock.txt")
    assert {name: locked.get(name) for name in wanted} == wanted
    by_pytorch = {name for name in locked.keys() - wanted.keys() if not name.startswith("nvidia-")}
    assert by_pytorch == {
        "cuda-bindings",
        "cuda-pathfinder",
        "cuda-toolkit",
        "setuptools",
        "triton",
    }
    text = (ROOT / "requirements/lock.txt").read_text("ascii")
    assert "://" not in text
    for entry in re.split(r"\n(?=\w)", text)[1:]:
        name, *hashes = entry.strip().split(" \\\n    ")
        assert hashes, name
        assert all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", line) for line in hashes), name


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        ("", 0, "not checked: pip-audit gave no answer (ConnectionError: no network)"),
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}', 0, "1 packages checked"),
        (
            '{"dependencies": [{"name": "a", "skip_reason": "x"}]}',
            0,
            "not checked, as the list does not know them: a",
        ),
        (
            '{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", '
            '"fix_versions": ["1.1", "2"]}]}]}',
            *(1, "a 1: PYSEC-1, mended in 1.1 or 2\n1 packages checked: 1 holes"),
        ),
    ],
    ids=["no network", "no hole", "unknown", "a hole"],
)
def test_an_audit_says_what_was_not_checked(
    answer: str, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import sys; print(sys.argv[1]); sys.exit('ConnectionError: no network')"
    assert audit.main([sys.executable, "-c", code, answer]) == status
    assert said in capsys.readouterr().out
