"""Process memory: keep freed pages for the next step, and read the peak."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -3, -4, -8
_KEPT_BYTES = 64 * 2**20
_NEVER = 2**31 - 1


def keep_freed_memory(largest: int = _KEPT_BYTES) -> None:
    """Ask glibc to keep freed memory instead of giving it back to the system.

    A training step frees and allocates the same arrays again and again; given back, each page must
    be mapped and cleared anew, a sixth of the time of a small network's step. Arrays above
    `largest` bytes still go back: kept, they would fragment and raise the peak of a large network
    by a quarter. Elsewhere than on glibc this does nothing.
    """
    # Older versions allow at most 32 MB.
    for kept in (largest, largest // 2):
        if _mallopt(_M_MMAP_THRESHOLD, kept):
            _mallopt(_M_TRIM_THRESHOLD, _NEVER)
            return


def keep_all_freed_memory() -> None:
    """Keep freed arrays of any size, for a framework that asks for the same few large ones again.

    Large arrays stay only in the first arena, so threads must share it: call this before the
    framework starts its threads. Elsewhere than on glibc this does nothing.
    """
    for option, value in ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER)):
        _mallopt(option, value)


def _mallopt(option: int, value: int) -> bool:
    """Whether glibc's allocator took the option."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    return hasattr(libc, "gnu_get_libc_version") and bool(libc.mallopt(option, value))


def peak_bytes() -> int | None:
    """Highest resident memory of this process so far, in bytes; None where it can't be read."""
    # Linux's getrusage begins with the peak of the process that started this one.
    with contextlib.suppress(OSError, IndexError, ValueError):
        status = Path("/proc/self/status").read_text("ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
