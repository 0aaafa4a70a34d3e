"""What docs/reliability.md promises beside crashes: files, claims, signals, messages, names."""

from __future__ import annotations

import json
import os
import platform
import pty
import resource
import select
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from netinnet import files
from netinnet.data import datasets
from netinnet.errors import NetinnetError, nin, printable
from netinnet.files import CannotWrite, write_bytes
from netinnet.frameworks.learner import Learner
from netinnet.studies import tuning
from netinnet.training import claim
from netinnet.training.claim import LOCK_FILE, claimed
from netinnet.training.events import End, Evaluation, Interrupted, Progress, Start, of_kind
from netinnet.training.run import Run
from tests.conftest import FRAMEWORK, needs
from tests.conftest import nin as run_nin
from tests.crash import training

pytestmark = pytest.mark.usefixtures("without_matplotlib")  # figures take most of the time

# Files


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    """300 saves under a reader that polls: each time a whole file, the old or the new one."""
    file, ended = tmp_path / "model", threading.Event()
    contents = [bytes([n]) * 20_000 for n in range(7)]
    write_bytes(file, contents[0])
    seen: list[bytes] = []

    def read() -> None:
        while not ended.is_set():
            seen.append(file.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(300):
        write_bytes(file, contents[n % 7])
    ended.set()
    reader.join()
    assert len(seen) > 100
    assert set(seen) <= set(contents)


def test_a_failed_sync_of_a_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename that is not durable is no success; a system that can't sync folders is."""
    sync = os.fsync

    def failing(error: int) -> Any:
        def fsync(handle: int) -> None:
            if os.path.isdir(f"/proc/self/fd/{handle}"):  # noqa: PTH112
                raise OSError(error, os.strerror(error))
            sync(handle)

        return fsync

    monkeypatch.setattr(os, "fsync", failing(22))
    write_bytes(tmp_path / "x", b"")
    monkeypatch.setattr(os, "fsync", failing(5))
    with pytest.raises(CannotWrite, match="Input/output error"):
        write_bytes(tmp_path / "x", b"")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder with the tiny data set, and the flags of its training."""
    folder = tmp_path_factory.mktemp("tiny")
    return folder, ["train", *training.make(folder), "--framework", FRAMEWORK]


@pytest.fixture
def stopped(made: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that was interrupted after its fourth step."""
    run = Run(tmp_path / "run")
    log = Run.log

    def interrupting(self: Run, event: Any) -> None:
        log(self, event)
        if getattr(event, "images_per_second", None) and event.step == 4:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Run, "log", interrupting)
        assert run_nin(*made[1], "--output", run.folder).returncode == 143
    return run


def test_a_system_without_locks_trains(
    made: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Windows: there is no fcntl, and so no lock file."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    done = run_nin(*made[1], "--output", tmp_path / "run", in_this_process=True)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "run" / LOCK_FILE).exists()
    with pytest.raises(NetinnetError, match="moved or removed while it was trained in"):
        claim.Claim(tmp_path / "gone").check()


def test_an_event_that_the_disk_has_no_room_for_is_no_event(tmp_path: Path) -> None:
    """The system takes a part of its line without an error."""
    run = Run(tmp_path)
    event = Interrupted("2026", 1, "x" * 150)
    run.log(event)
    size, limits = run.events_file.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 60, limits[1]))
    try:
        with pytest.raises(CannotWrite):
            run.log(event)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    run.log(event)
    assert run.events() == [event, event]


def test_all_time_counts(
    made: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also that of a sitting that takes no step: it evaluates what was abandoned."""
    log = Run.log

    def interrupting(self: Run, event: Any) -> None:
        log(self, event)
        if isinstance(event, Progress) and event.step == 6:
            signal.raise_signal(signal.SIGTERM)

    def slow(self: Run, event: Any) -> None:
        log(self, event)
        if isinstance(event, Evaluation):
            time.sleep(0.3)

    flags = [*made[1], "--output", tmp_path / "run"]
    with monkeypatch.context() as patched:
        patched.setattr(Run, "log", interrupting)
        assert run_nin(*flags).returncode == 143
        patched.setattr(Run, "log", slow)
        assert run_nin("train", "--resume", tmp_path / "run").returncode == 0
    run = Run(tmp_path / "run")
    assert run.metrics()["wall_seconds"] > 0.3
    (end,) = of_kind(run.events(), End)
    assert end.seconds > 0.3


@pytest.mark.parametrize("exchange", [0, 1], ids=["averages put in", "weights put back"])
def test_a_signal_while_averages_take_the_place_of_weights(
    exchange: int, made: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For an evaluation; half of the tensors are exchanged. What is saved are the weights."""
    flags = [*made[1], "--weight-averaging", "0.9"]
    assert run_nin(*flags, "--output", tmp_path / "whole").returncode == 0
    written, calls = Learner.set_weights, [0]

    def interrupting(self: Learner, weights: dict[str, Any]) -> None:
        calls[0] += 1
        if calls[0] == exchange + 1:
            half = {name: self._read(name, native) for name, native in self.values.items()}
            written(self, half | {name: weights[name] for name in [*weights][::2]})
            signal.raise_signal(signal.SIGTERM)
        written(self, weights)

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "set_weights", interrupting)
        assert run_nin(*flags, "--output", tmp_path / "cut").returncode == 143
    assert run_nin("train", "--resume", tmp_path / "cut").returncode == 0
    whole, cut = (Run(tmp_path / name).model_file.read_bytes() for name in ("whole", "cut"))
    assert whole == cut


@pytest.mark.parametrize("place", [-1, -200, 300])
def test_one_wrong_bit_in_a_checkpoint_is_said(stopped: Run, place: int) -> None:
    """In its tensors, in its progress: the one before is used, and that is said."""
    newest = max(stopped.checkpoints.iterdir())
    content = bytearray(newest.read_bytes())
    content[place] ^= 1
    newest.write_bytes(content)
    done = run_nin("train", "--resume", stopped.folder)
    assert done.returncode == 0, done.stderr
    assert "continuing from step 3" in done.stderr + done.stdout
    assert "caution: the checkpoint step-00000004.safetensors is damaged" in done.stderr
    assert not newest.exists()


def test_other_versions_are_said(stopped: Run) -> None:
    log = stopped.events_file.read_text().replace('"numpy": "', '"numpy": "0.')
    stopped.events_file.write_text(log)
    done = run_nin("train", "--resume", stopped.folder)
    assert f"resumed under other versions (numpy 0.{np.__version__} → {np.__version__})" in (
        done.stderr
    )


def test_a_torn_last_line_of_the_log(stopped: Run) -> None:
    whole = len(stopped.events())
    for torn in (b'{"event": "progr', b"\0" * 40, b"\xff\xfe"):
        stopped.events_file.write_bytes(stopped.events_file.read_bytes() + torn)
        assert len(stopped.events()) == whole
    assert run_nin("train", "--resume", stopped.folder, "--quiet").returncode == 0
    assert stopped.metrics()["steps"] == 6


def test_space_is_checked_before_the_first_step(
    made: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "free_bytes", lambda folder: 1000)
    done = run_nin(*made[1], "--output", tmp_path / "run")
    assert done.returncode == 2
    assert "1,000 bytes are free there, and the run needs about 2," in done.stderr
    assert not (tmp_path / "run").exists()


# Two processes on one folder


def test_a_second_process_is_refused_and_changes_nothing(stopped: Run) -> None:
    """It is told who is at work, and removes no file that the first is writing."""
    half = stopped.checkpoints / ".step-5.tmp"
    half.touch()
    with claimed(stopped.folder):
        second = run_nin("train", "--resume", stopped.folder, fresh=True)
    assert second.returncode == 2
    who = f"process {os.getpid()} on {platform.node()}, since "
    assert f"another process is training in this folder ({who}" in second.stderr
    assert half.exists()


def held(folder: Path, host: str, age: float) -> None:
    """A lock as a holder leaves it that never said it had ended."""
    lock = folder / LOCK_FILE
    lock.write_text(json.dumps({"host": host, "process": 12, "since": "2026-01-31T00:00:00"}))
    os.utime(lock, (time.time() - age, time.time() - age))


def test_stale_locks_are_told_apart(tmp_path: Path) -> None:
    """Killed here, killed elsewhere, alive elsewhere."""
    for host, age in ((platform.node(), 0.0), ("other", claim.ALIVE_SECONDS + 1)):
        held(tmp_path, host, age)
        with claimed(tmp_path) as own:
            assert own.before == f"process 12 on {host}, since 2026-01-31T00:00:00"
        with claimed(tmp_path) as own:
            assert own.before == ""
    held(tmp_path, "other", 5)
    with pytest.raises(NetinnetError, match=r"another process .* \(process 12 on other"):
        claimed(tmp_path).__enter__()
    assert json.loads((tmp_path / LOCK_FILE).read_text())["host"] == "other"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"host":' * 100_000, "{", "5", "\xff"])
def test_a_damaged_lock_names_nobody(text: str, tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_bytes(text.encode("latin-1"))
    with claimed(tmp_path) as own:
        assert own.before == ""


def test_a_holder_shows_that_it_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "BEAT_SECONDS", 0.01)
    with claimed(tmp_path):
        os.utime(tmp_path / LOCK_FILE, (0, 0))
        deadline = time.monotonic() + 10
        while not (tmp_path / LOCK_FILE).stat().st_mtime and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (tmp_path / LOCK_FILE).stat().st_mtime


def test_a_killed_sitting_is_said(stopped: Run) -> None:
    held(stopped.folder, platform.node(), 0)
    done = run_nin("train", "--resume", stopped.folder)
    assert "caution: the last sitting was killed (process 12 on " in done.stderr


# Signals


def test_twice_stops_at_once(stopped: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Run.log

    def asking(self: Run, event: Any) -> None:
        log(self, event)
        if isinstance(event, Start):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    before = {path.name for path in stopped.checkpoints.iterdir()}
    monkeypatch.setattr(Run, "log", asking)
    assert run_nin("train", "--resume", stopped.folder, "--quiet").returncode == 130
    assert {path.name for path in stopped.checkpoints.iterdir()} == before


@pytest.mark.parametrize(
    "framework",
    [
        pytest.param("pytorch", marks=needs("pytorch")),
        *(pytest.param(n, marks=[needs(n), pytest.mark.slow]) for n in ("tensorflow", "jax")),
    ],
)
def test_an_evaluation_is_abandoned_and_done_again(
    framework: str, made: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed terminal in the midst of one: saved at once, and the same model in the end."""
    from netinnet.training import loop

    flags = [*made[1][:-1], framework]
    del flags[(at := flags.index("--threads")) : at + 2]  # else in a process of its own
    whole, run = Run(tmp_path / "whole"), Run(tmp_path / "run")
    assert run_nin(*flags, "--output", whole.folder, "--quiet").returncode == 0
    evaluate, calls = loop.metrics.evaluate, 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            signal.raise_signal(signal.SIGHUP)
            raise AssertionError("the evaluation went on")
        return evaluate(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(loop.metrics, "evaluate", interrupted)
        done = run_nin(*flags, "--output", run.folder, "--quiet")
    assert done.returncode == 129, done.stderr
    assert "interrupted after step 3 of 6, saved" in done.stderr
    assert [event.step for event in of_kind(run.events(), Interrupted)] == [3]
    assert run_nin("train", "--resume", run.folder, "--quiet").returncode == 0
    assert run.model_file.read_bytes() == whole.model_file.read_bytes()
    figures = [{k: r.metrics()[k] for k in ("train", "test")} for r in (run, whole)]
    assert figures[0] == figures[1]


def test_a_closed_terminal(made: tuple[Path, list[str]], tmp_path: Path) -> None:
    """With the bar that is drawn there: what is written to it fails, and the run is saved."""
    flags, run = [*made[1]], Run(tmp_path / "run")
    flags[flags.index("--epochs") + 1] = "100000"
    flags[flags.index("--checkpoint-seconds") + 1] = "1000"
    ours, theirs = pty.openpty()
    # Nothing may run between fork and exec here: JAX's threads, where another test has begun them.
    controlled = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", controlled, "-m", "netinnet", *flags, "--output", run.folder],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    deadline = time.monotonic() + 120
    while not of_kind(run.events(), Evaluation) and time.monotonic() < deadline:
        select.select([ours], [], [], 0.1)
        os.read(ours, 65536)
    os.close(ours)
    assert process.wait(timeout=60) == 129
    assert isinstance(run.events()[-1], Interrupted)
    assert len(list(run.checkpoints.iterdir())) == 1


def test_nohup_is_heard(made: tuple[Path, list[str]], tmp_path: Path) -> None:
    """A signal that is ignored when the command starts stays ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.MonkeyPatch.context() as patched:
            log = Run.log
            patched.setattr(Run, "log", lambda *a: (log(*a), signal.raise_signal(signal.SIGHUP)))
            done = run_nin(*made[1], "--output", tmp_path / "run", "--quiet")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert done.returncode == 0, done.stderr


# Messages


ODD = ["plain", "my run", "-run", "it's", 'a "b"', "$HOME", "[red]", "a\nb", "é;ls"]


@pytest.mark.parametrize("name", ODD)
def test_a_command_is_what_a_shell_reads(name: str, tmp_path: Path) -> None:
    line = printable(f"see {nin('train', '--resume', Path(name))} continues")
    assert "\n" not in line
    words = line.removeprefix("see ").removesuffix(" continues").removeprefix("nin ")
    script = f"printf '%s\\0' {words}"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == [
        *("train", "--resume"),
        str(Path(name).absolute()),
    ]


def commands(text: str) -> list[list[str]]:
    """The words of each command of ours that goes on with something, in what was printed."""
    found = []
    for part in text.split("nin ")[1:]:
        words = shlex.split(
            part.partition(" continues")[0].partition(" shows")[0].partition("\n")[0]
        )
        if words[0] in ("train", "reliability", "tune", "evaluate") and len(words) > 1:
            found.append(words)
    return found


@pytest.mark.parametrize("name", ["my 'run'", "-run"])
def test_printed_commands_work_from_another_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data by a relative path, a run with an odd name, other working folders: each as printed."""
    training.make(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    start = [
        *("train", "--network", "./net.toml", "--dataset", "./dots", "--epochs", "1"),
        *("--batch-size", "8", "--framework", FRAMEWORK, f"--output={name}"),
    ]
    log = Run.log

    def interrupting(self: Run, event: Any) -> None:
        log(self, event)
        if isinstance(event, Start):
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Run, "log", interrupting)
        stopped = run_nin(*start, cwd=tmp_path)
    assert stopped.returncode == 143
    assert "saved" in stopped.stderr
    printed = [
        *commands(stopped.stderr),
        *commands(run_nin("evaluate", f"./{name}", cwd=tmp_path).stderr),
        *commands(run_nin(*start, cwd=tmp_path).stderr),
    ]
    assert len(printed) == 3
    assert printed[0] == printed[1] == printed[2]
    done = run_nin(*printed[0], cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    finished = commands(run_nin(*printed[0], cwd=elsewhere).stderr)
    assert finished == [["evaluate", str(tmp_path / name)]]


def test_a_storage_is_the_same_one_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sqlalchemy")
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path}/trials.db"
    assert tuning.shown_url("sqlite:///trials.db") == url
    assert tuning.shown_url(url) == url
    for kept in ("sqlite://", "postgresql://a:***@b/c"):
        assert tuning.shown_url(kept) == kept


def test_data_is_looked_for_where_it_was_read(tmp_path: Path) -> None:
    training.make(tmp_path)
    made = datasets.load(str(tmp_path / "dots"))
    assert made.record.read_from == str(tmp_path / "dots")
    again = datasets.load("./elsewhere", expected=made.record)
    assert again.record == made.record
    (tmp_path / "dots").rename(tmp_path / "moved")
    moved = datasets.load("./dots", tmp_path / "moved", expected=made.record)
    assert moved.record.read_from == str(tmp_path / "moved")


# Names and terminals


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"[red].png", "[red].png"),
        (b"{a}.png", "{a}.png"),
        (b"-x.png", "-x.png"),
        (b"a\x1b[31mb.png", "a\\x1b[31mb.png"),
        (b"a\xffb.png", "a\N{REPLACEMENT CHARACTER}b.png"),
    ],
)
def test_pictures_of_odd_names(
    name: bytes, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (28, 28)).save(os.fsdecode(name))
    done = run_nin("predict", os.fsdecode(name))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{shown}: ")


def test_printable() -> None:
    assert printable("a  b\n  c") == "a  b c"
    assert printable("\x1b[2J\x07\udcff\u202e") == "\\x1b[2J\\x07\\xff\\u202e"


def in_a_shell(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = script.replace("nin", f"{sys.executable} -m netinnet")
    return subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_an_encoding_that_has_no_signs() -> None:
    done = in_a_shell("nin zoo && nin zoo --json", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "1\\xd728\\xd728" in done.stdout
    assert json.loads(done.stdout[done.stdout.index("\n[") :])[0]["network"]


def test_closed_streams() -> None:
    done = in_a_shell("nin zoo >&-; echo $?; nin zoo --json 2>&- >&-; echo $?")
    assert done.stdout.split() == ["0", "0"], done.stderr
    assert "Traceback" not in done.stderr
    full = in_a_shell("nin zoo > /dev/full")
    assert (full.returncode, full.stderr.count("\n")) == (2, 1), full.stderr


# What a process or a library has set


@needs("pytorch")
def test_pytorchs_other_defaults(made: tuple[Path, list[str]], tmp_path: Path) -> None:
    """Refused, or of no effect (benchmarks/settings.py tries more)."""
    import torch

    run = [*made[1], "--quiet", "--output"]
    assert run_nin(*run, tmp_path / "whole").returncode == 0
    try:
        torch.set_default_dtype(torch.float64)
        done = run_nin(*run, tmp_path / "run")
    finally:
        torch.set_default_dtype(torch.float32)
    assert done.returncode == 2
    assert "PyTorch's default dtype is torch.float64 here, netinnet needs torch.float32" in (
        done.stderr
    )
    assert not (tmp_path / "run").exists()
    with torch.no_grad():
        assert run_nin(*run, tmp_path / "run").returncode == 0
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "whole")]
    assert models[0] == models[1]


@needs("tensorflow")
def test_keras_other_defaults() -> None:
    import keras

    import netinnet

    try:
        keras.config.set_floatx("float16")
        with pytest.raises(NetinnetError, match="Keras's floatx is float16 here"):
            netinnet.build("lenet", framework="tensorflow")
    finally:
        keras.config.set_floatx("float32")


@needs("jax")
def test_jaxs_other_defaults(made: tuple[Path, list[str]], tmp_path: Path) -> None:
    """Each of them gave another model."""
    import jax

    from netinnet.frameworks.jax import USUAL

    flags = [*made[1][:-1], "jax"]
    del flags[(at := flags.index("--threads")) : at + 2]
    others = {**dict.fromkeys(USUAL, True), "jax_default_prng_impl": "rbg"}
    others["jax_threefry_partitionable"] = False
    for name, other in others.items():
        usual = getattr(jax.config, name)
        assert usual == USUAL[name]
        try:
            jax.config.update(name, other)
            done = run_nin(*flags, "--output", tmp_path / "run")
        finally:
            jax.config.update(name, usual)
        assert done.returncode == 2
        assert f"{name} is {other} here, netinnet needs {usual}" in done.stderr
