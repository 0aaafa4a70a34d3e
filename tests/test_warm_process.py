"""Processes that are forks of one that has imported: alike a fresh one, in all that is seen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netinnet.studies import workers
from netinnet.warm_process import IS_POSSIBLE, Process, Server
from tests.conftest import needs

pytestmark = pytest.mark.skipif(not IS_POSSIBLE, reason="Linux only")
PROGRAM = """
import json, os, signal, sys, time

imported_by = os.getpid()

def facts():
    return {
        "arguments": sys.argv[1:], "folder": os.getcwd(), "given": os.environ.get("GIVEN"),
        "session": os.getsid(0) == os.getpid(), "pid": os.getpid(), "by": imported_by,
        "threads": len(os.listdir("/proc/self/task")), "sigchld": signal.getsignal(signal.SIGCHLD),
        "files": sorted(map(int, os.listdir("/proc/self/fd"))),
    }

def main():
    what = sys.argv[1]
    if what == "facts":
        print(json.dumps(facts()))
    elif what == "echo":
        print(sys.stdin.read().upper())
        print("to the log", file=sys.stderr)
    elif what == "wait":
        print("here", flush=True)
        time.sleep(60)
    else:
        sys.exit(int(what))
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "program_of_test.py").write_text(PROGRAM)
    path = f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}"
    with (tmp_path / "log.txt").open("w") as log:
        made = Server(["program_of_test", "not_there"], {**os.environ, "PYTHONPATH": path}, log)
        yield made
        made.close()
    assert not (tmp_path / "log.txt").read_text()


def start(server: Server, folder: Path, *arguments: str, **environment: str) -> Process:
    with (folder / "said.txt").open("w") as stderr:
        return server.start("program_of_test", arguments, {**os.environ, **environment}, stderr)


def test_what_a_process_has_of_its_own(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = (
        start(server, tmp_path, "facts", "ä b", GIVEN=given) for given in ("one", "two")
    )
    told = []
    for process in (first, second):
        with process:
            told.append(json.loads(process.stdout.read()))
            assert process.wait() == process.returncode == 0
            assert told[-1]["pid"] == process.pid
    assert [one["given"] for one in told] == ["one", "two"]
    for one in told:
        assert one["arguments"] == ["facts", "ä b"]
        assert one["folder"] == str(tmp_path)
        assert one["session"]
        assert one["threads"] == 1
        assert one["sigchld"] == signal.SIG_DFL
        assert one["by"] == told[0]["by"] != one["pid"]  # imported once, elsewhere
        assert one["files"] == [0, 1, 2, 3]  # the last one lists them
    assert told[0]["pid"] != told[1]["pid"]


def test_streams(server: Server, tmp_path: Path) -> None:
    with start(server, tmp_path, "echo") as process:
        process.stdin.write("so")
        process.stdin.close()
        assert process.stdout.read() == "SO\n"
    assert process.returncode == 0
    assert (tmp_path / "said.txt").read_text() == "to the log\n"


@pytest.mark.parametrize("status", [0, 2, 143])
def test_exit_status(server: Server, tmp_path: Path, status: int) -> None:
    with start(server, tmp_path, str(status)) as process:
        assert process.wait() == status
        process.kill()  # nothing is left to be killed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signals(server: Server, tmp_path: Path, number: int) -> None:
    with start(server, tmp_path, "wait") as process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(number)
        assert process.wait() == -number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_asks_all_processes_to_stop_is_for_those_that_save(
    server: Server, tmp_path: Path, number: int
) -> None:
    """As SLURM, systemd or a cgroup send it; the server and the attendants end after the rest."""
    with start(server, tmp_path, "wait") as process:
        assert process.stdout.readline() == "here\n"
        os.kill(server._process.pid, number)
        os.kill(_parent(process.pid), number)
        with start(server, tmp_path, "0") as late:
            assert late.wait() == 0
        assert process.pid
        assert Path(f"/proc/{process.pid}").exists()
        process.terminate()
        assert process.wait() == -signal.SIGTERM


def test_a_process_outlives_its_server(server: Server, tmp_path: Path) -> None:
    with start(server, tmp_path, "wait") as process:
        assert process.stdout.readline() == "here\n"
        server.close()
        assert not server.is_alive
        os.kill(process.pid, 0)
        process.terminate()
        assert process.wait() == -signal.SIGTERM


def test_a_server_that_was_killed(server: Server, tmp_path: Path) -> None:
    """What it has begun ends as it would; what it is asked after that counts as killed."""
    with start(server, tmp_path, "wait") as process:
        assert process.stdout.readline() == "here\n"
        server._process.kill()
        server._process.wait()
        with start(server, tmp_path, "0") as late:
            assert late.stdout.read() == ""
            assert late.wait() == -signal.SIGKILL
            assert late.pid == 0
            late.kill()
        process.terminate()
        assert process.wait() == -signal.SIGTERM


def test_a_process_does_not_outlive_its_attendant(server: Server, tmp_path: Path) -> None:
    """Nobody could say any more how it ended."""
    with start(server, tmp_path, "wait") as process:
        assert process.stdout.readline() == "here\n"
        os.kill(_parent(process.pid), signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert process.stdout.read() == ""


def test_no_attendant_is_left(server: Server, tmp_path: Path) -> None:
    with start(server, tmp_path, "0") as process:
        process.wait()
        attendant = _parent(process.pid)  # a zombie yet, so that its number is not given away
    deadline = time.monotonic() + 20
    while Path(f"/proc/{attendant}").exists() or Path(f"/proc/{process.pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _parent(number: int) -> int:
    status = Path(f"/proc/{number}/status").read_text()
    return int(status.partition("PPid:")[2].split()[0])


@needs("pytorch")
@pytest.mark.parametrize("threads", [1, 2])
def test_what_studies_import_leaves_no_thread_behind(threads: int) -> None:
    """With two threads OpenBLAS starts one when it is imported; it ends it before a fork."""
    code = f"""
import importlib, os
for name in {workers._IMPORTED}:
    importlib.import_module(name)
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
print(len(os.listdir("/proc/self/task")))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=workers.environment(threads),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1\n"
