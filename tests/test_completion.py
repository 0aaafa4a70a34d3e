"""Completion in the shell: the script is written where it is said, and knows every command."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from netinnet.cli.main import COMMANDS
from tests.conftest import nin


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("ZSH", "ZSH_CUSTOM"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_written_and_knows_every_command(shell: str, home: Path) -> None:
    done = nin("--install-completion", "--shell", shell)
    assert done.returncode == 0, done.stderr
    written = {path for path in home.rglob("*") if path.is_file()}
    (script,) = (path for path in written if not path.name.endswith("rc"))
    assert str(script) in done.stdout
    assert all(str(path) in done.stdout for path in written)
    names = {name for commands in COMMANDS.values() for name in commands}
    assert [name for name in names if name not in script.read_text("utf-8")] == []


def test_bash_completes_a_command_a_flag_and_a_topic(home: Path) -> None:
    assert nin("--install-completion", "--shell", "bash").returncode == 0
    source = f"source {home}/.local/share/bash-completion/completions/nin"
    for words, expected in (
        ("nin expo", "export"),
        ("nin train --framew", "--framework"),
        ("nin help reci", "recipes"),
    ):
        line = words.split()
        asked = f"COMP_WORDS=({words}); COMP_CWORD={len(line) - 1}; _nin; echo ${{COMPREPLY[@]}}"
        done = subprocess.run(
            ["bash", "-c", f"{source}; {asked}"],
            capture_output=True, text=True, check=False, env=dict(os.environ),
        )  # fmt: skip
        assert done.stdout.split() == [expected], done.stderr


def test_a_shell_that_is_none(home: Path) -> None:
    done = nin("--install-completion", "--shell", "tcsh")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert not list(home.iterdir())
