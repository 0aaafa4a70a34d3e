"""Files that appear whole: their permissions."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import pytest

from netinnet.files import write_text

needs_permissions = pytest.mark.skipif(os.name == "nt", reason="no such permissions")


@needs_permissions
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
@pytest.mark.parametrize("is_told", [True, False], ids=["by /proc", "by setting it"])
def test_a_file_has_the_permissions_of_the_process(
    mask: int, is_told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And other threads, where the system tells the mask, never write without one."""
    set_to: list[int] = []
    set_mask = os.umask
    before = os.umask(mask)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(os, "umask", lambda new: set_to.append(new) or set_mask(new))
            if not is_told:

                def read_text(self: Path, *_: object) -> str:
                    raise FileNotFoundError(self)

                patched.setattr(Path, "read_text", read_text)
            write_text(tmp_path / "file", "text")
            told = Path("/proc/self/status").exists()
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask
        assert set_to == ([] if is_told and told else [0o077, mask])
        assert os.umask(mask) == mask
    finally:
        os.umask(before)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells it")
def test_a_process_may_have_any_name(tmp_path: Path) -> None:
    """Linux cuts it off at 15 bytes, perhaps within a letter."""
    library, size = ctypes.CDLL(None), 16
    before = ctypes.create_string_buffer(size)
    library.prctl(16, before)  # PR_GET_NAME
    try:
        library.prctl(15, "Bildklassierenü.py".encode()[:15])  # PR_SET_NAME
        write_text(tmp_path / "file", "text")
    finally:
        library.prctl(15, before)
    assert (tmp_path / "file").read_text() == "text"
