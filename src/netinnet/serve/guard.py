"""Who may ask: the Host header, the token, other sites' pages; and what every answer says of that.

A page of another site can make a browser send requests here, and with a name that it resolves to
127.0.0.1 (DNS rebinding) it could read the answers: so a Host header must have a name of ours.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass

from netinnet.errors import NetinnetError
from netinnet.serve.problems import Headers, Problem

HERE = ("localhost", "127.0.0.1", "[::1]")
EVERYWHERE = ("0.0.0.0", "::", "[::]")  # noqa: S104 - addresses that no Host header should have
OPEN = ("/healthz", "/readyz")
"""What needs neither token nor name: probes ask by address, and learn one word."""

NO_SNIFFING: Headers = [(b"x-content-type-options", b"nosniff")]
"""For every answer: it is what its content type says."""
NO_STORE: Headers = [(b"cache-control", b"no-store")]
"""For answers that are no page."""
_HOST = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(:[0-9]*)?", re.ASCII)
_ORIGIN = re.compile(r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.ASCII)
_PORTS = {"http": 80, "https": 443}
"""Those that an Origin header leaves out."""
_OWN_PAGES: Headers = [(b"cross-origin-resource-policy", b"same-origin")]
_CHALLENGE: Headers = [(b"www-authenticate", b'Basic realm="nin serve", charset="UTF-8"')]


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        token: What a request must show, if anything.
        hosts: Names that a Host header may have, without a port, in small letters.
        origins: Other sites whose pages may read answers, as in https://example.org.
    """

    token: str | None = None
    hosts: frozenset[str] = frozenset(HERE)
    origins: frozenset[str] = frozenset()

    def check(self, path: str, method: str, headers: Headers) -> None:
        """Raise Problem where a request is refused: 400 or 421 for its Host, 401 for its token."""
        if path in OPEN:
            return
        host = host_of(headers)
        if _without_port(host) not in self.hosts:
            shown = host if host.isascii() and host.isprintable() else "that"
            raise Problem(421, f"this is not {shown[:100]}; --allow-host adds a name")
        if method == "OPTIONS" and self.allows(headers):
            return  # browsers ask without the token whether they may send it
        if self.token is not None and not self._shows_token(headers):
            raise Problem(401, "needs the token, as in Authorization: Bearer TOKEN", _CHALLENGE)

    def _shows_token(self, headers: Headers) -> bool:
        """As a bearer token, or as Basic's password, which browsers ask for."""
        assert self.token is not None
        given = next((value for name, value in headers if name == b"authorization"), b"")
        scheme, _, shown = given.partition(b" ")
        if scheme.lower() == b"basic":
            try:
                shown = base64.b64decode(shown.strip(), validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif scheme.lower() != b"bearer":
            return False
        return hmac.compare_digest(shown.strip(), self.token.encode())

    def allows(self, headers: Headers) -> bytes | None:
        """The origin of a request, where pages of that site may read the answer."""
        if not self.origins:
            return None
        origin = next((value for name, value in headers if name == b"origin"), b"")
        return origin if origin.decode("latin-1") in self.origins else None

    def for_origin(self, headers: Headers) -> Headers:
        """What tells a browser which sites' pages may read the answer."""
        if not self.origins:
            return _OWN_PAGES
        if (origin := self.allows(headers)) is None:
            return [*_OWN_PAGES, (b"vary", b"origin")]
        return [
            (b"access-control-allow-origin", origin),
            (b"cross-origin-resource-policy", b"cross-origin"),
            (b"vary", b"origin"),
        ]


def host_of(headers: Headers) -> str:
    """Where a request was sent to, by its Host header. Raises Problem where there is not one."""
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1:
        raise Problem(400, "a request has one Host header")
    return hosts[0].decode("latin-1").strip(" \t").lower()


def access(
    host: str,
    token: str | None = None,
    allow_host: Iterable[str] = (),
    allow_origin: Iterable[str] = (),
) -> Access:
    """Who may ask a service that is bound to `host`.

    Raises NetinnetError for an empty token, a name with a port, or an origin that is none.
    """
    if token is not None and not token.strip():
        raise NetinnetError("--token is empty; leave it out, or give a long random one")
    names = {*HERE, *([] if host in EVERYWHERE else [_bracketed(host)])}
    for name in allow_host:
        if not name or "/" in name or _without_port(_bracketed(name)) != _bracketed(name):
            raise NetinnetError(f"--allow-host is a name without port or slash, got {name!r}")
        names.add(_bracketed(name))
    origins = frozenset(map(_origin, allow_origin))
    own = None if token is None else token.strip()
    return Access(own, frozenset(name.lower() for name in names), origins)


def _origin(site: str) -> str:
    """A site as browsers write it: small letters, and no port that goes without saying."""
    if (found := _ORIGIN.fullmatch(site.lower())) is None:
        form = "a site as in https://example.org, in ASCII, without a path"
        raise NetinnetError(f"--allow-origin is {form}, got {site!r}")
    scheme, host, port = found.groups()
    is_usual = port is None or int(port) == _PORTS[scheme]
    return f"{scheme}://{host}" if is_usual else f"{scheme}://{host}:{int(port)}"


def _bracketed(host: str) -> str:
    """An IPv6 address as a Host header has it."""
    return f"[{host}]" if host.count(":") > 1 and host[0] != "[" else host


def _without_port(host: str) -> str:
    """A Host header's name; the whole where it is none, which then is no name of ours."""
    found = _HOST.fullmatch(host)
    return found[1] if found else host
