"""No test connects to anything, unless it says so: `@pytest.mark.connects("here")`, or "anywhere".

tests/conftest.py imports this; it is also on the PYTHONPATH of the processes that tests start, and
Python imports a module of this name when it starts.
"""

from __future__ import annotations

import os
import sys
from typing import Any

ALLOWED = "NETINNET_TESTS_CONNECT"
"""The environment variable that says how far: "nowhere", "here" (this machine) or "anywhere"."""
HERE = ("", "localhost", "127.0.0.1", "::1")
BY_ADDRESS = ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg")
BY_NAME = ("socket.getaddrinfo", "socket.gethostbyname")


class Connected(BaseException):
    """A test connects that must not; no `except Exception` hides it."""


def forbid(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook. Raises Connected for an address, or a look-up of a name, beyond the limit."""
    if not event.startswith("socket."):
        return
    if event in BY_ADDRESS:
        address = arguments[1]
        if not isinstance(address, tuple):
            return  # a path: between processes of this machine; or none: connected before
        host = address[0]
        if event == "socket.bind" and host in HERE[1:]:
            return  # nobody may connect to it; urllib3 finds out in this way whether there is IPv6
    elif event in BY_NAME:
        host = arguments[0] or ""
    else:
        return
    limit = os.environ.get(ALLOWED, "nowhere")
    if limit == "anywhere" or (limit == "here" and host in HERE):
        return
    raise Connected(f"{event} of {host!r}: tests may connect {limit}; see tests/offline")


sys.addaudithook(forbid)
