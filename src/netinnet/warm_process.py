"""Processes without a start-up: forks of one process that has imported what they need. Linux only.

    python -m netinnet.warm_process SOCKET MODULE ...    (what `Server` starts)

Each is what `python -c 'import MODULE; MODULE.main()'` would be, but for what a library reads from
the environment when it is imported: that is the server's. It has its own number, session, signals,
standard streams, folder, environment and memory, and its peak of memory begins with itself.

The server imports and forks: it computes nothing and starts no thread, since a fork takes over
locks that nobody gives back. (OpenBLAS starts threads when it is imported; it ends them before a
fork itself.) For each request it forks an attendant, which forks the process and says how it ended:

    Server ── request, files ──► server ── fork ──► attendant ── fork ──► process
    Process ◄──────────── number, exit status ──────────┘

multiprocessing's forkserver with set_forkserver_preload would not do: its processes run the user's
own program again (up to its `if __name__ == "__main__"`), get no standard streams, and all share
one server whose environment can't be chosen.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import FrameType, TracebackType
from typing import IO, Any, Self

from netinnet.signals import SIGNALS

IS_POSSIBLE = sys.platform == "linux"
_LARGEST_REQUEST = 2**20
_SIGNAL_OF_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG of Linux's prctl


class Server:
    """Imports modules in a process of its own, from which `start` forks.

    What they say while they are imported goes to `log`. One that can't be imported is left out: the
    process that needs it will say so.
    """

    def __init__(
        self, modules: Sequence[str], environment: Mapping[str, str], log: IO[Any] | int
    ) -> None:
        self._control, theirs = _pair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno()), *modules],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def start(
        self, module: str, arguments: Sequence[str], environment: Mapping[str, str], stderr: IO[Any]
    ) -> Process:
        """A process that calls `main()` of a module, in a session of its own and in this folder."""
        request = {
            "module": module,
            "arguments": [*arguments],
            "environment": dict(environment),
            "folder": os.getcwd(),  # noqa: PTH109
        }
        (stdin, to_stdin), (from_stdout, stdout) = os.pipe(), os.pipe()
        channel, theirs = _pair()
        files = [theirs.fileno(), stdin, stdout, stderr.fileno()]
        # A server that has died answers nothing, and `Process.wait` says so.
        with theirs, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(self._control, [json.dumps(request).encode()], files)
        os.close(stdin)
        os.close(stdout)
        return Process(channel, to_stdin, from_stdout)

    def close(self) -> None:
        """End the server. Its processes go on."""
        self._control.close()
        self._process.wait()


class Process:
    """A process of a server, with the names and meanings of subprocess.Popen.

    `returncode` is None until `wait` has found it: the exit status, -N where signal N killed it.
    """

    def __init__(self, channel: socket.socket, to_stdin: int, from_stdout: int) -> None:
        self.stdin = open(to_stdin, "w", encoding="utf-8")  # noqa: SIM115
        self.stdout = open(from_stdout, encoding="utf-8")  # noqa: SIM115
        self.returncode: int | None = None
        self._channel = channel
        self._beginning, self._ending = threading.Lock(), threading.Lock()
        self._number: int | None = None

    @property
    def pid(self) -> int:
        """The process's number, once it has begun; 0 where its server died before."""
        with self._beginning:
            if self._number is None:
                self._number = int(self._channel.recv(32) or 0)
        return self._number

    def wait(self) -> int:
        number = self.pid
        with self._ending:
            if self.returncode is None:
                # A process ends with its attendant; one without a number was never begun.
                killed = -signal.SIGKILL
                self.returncode = int((number and self._channel.recv(32)) or killed)
        return self.returncode

    def send_signal(self, number: int) -> None:
        # The number is not given to another process before the attendant sees the channel's end.
        if self.pid and self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stdout.close()
        self.stdin.close()
        self.wait()
        self._channel.close()


def _pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection on which each message arrives whole."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _serve(control: socket.socket) -> Callable[[], object] | None:
    """Fork for each request until the other side has gone; in a new process, return its task."""
    # An attendant that has ended is waited for, so that its processor time counts with ours.
    signal.signal(signal.SIGCHLD, _wait_for_ended)
    while True:
        message, files, _, _ = socket.recv_fds(control, _LARGEST_REQUEST, 4)
        if not message:
            return None
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            return _attend(json.loads(message), files)
        for file in files:
            os.close(file)


def _wait_for_ended(number: int, frame: FrameType | None) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _attend(request: dict[str, Any], files: list[int]) -> Callable[[], object] | None:
    """Fork the process, say its number and how it ended; in the process, return its task."""
    attendant = os.getpid()
    channel = socket.socket(fileno=files[0])
    child = os.fork()
    if child == 0:
        channel.close()
        return _begun(request, files[1:], attendant)
    for file in files[1:]:
        os.close(file)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        channel.send(str(child).encode())
        # Its number is taken until the other side has heard of its end.
        ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        exited = ended.si_code == os.CLD_EXITED
        channel.send(str(ended.si_status if exited else -ended.si_status).encode())
        channel.recv(1)
    os.waitpid(child, 0)
    os._exit(0)


def _begun(request: dict[str, Any], files: list[int], attendant: int) -> Callable[[], object]:
    os.setsid()
    ctypes.CDLL(None).prctl(_SIGNAL_OF_PARENTS_DEATH, signal.SIGKILL)
    if os.getppid() != attendant:
        os._exit(1)  # it died before
    for stream, file in enumerate(files):
        os.dup2(file, stream)
        os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    sys.argv = [request["module"], *request["arguments"]]
    return importlib.import_module(request["module"]).main  # type: ignore[no-any-return]


def main() -> None:
    # They are for the processes, which may have to save. Server and attendants, blocking them,
    # stay: an attendant that ends kills its process.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    control = socket.socket(fileno=int(sys.argv[1]))
    for module in sys.argv[2:]:
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    gc.freeze()  # what is imported is not looked through, and copied by that, in every process
    task = _serve(control)
    if task is not None:
        task()


if __name__ == "__main__":
    main()
