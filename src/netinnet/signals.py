"""The signals that ask a process to end, which some end at once and some save before."""

from __future__ import annotations

import signal

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""What asks a process to end: Ctrl-C, the system or a scheduler, a terminal that is closed."""
