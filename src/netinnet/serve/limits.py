"""What one request, and all of them together, may take."""

from __future__ import annotations

from dataclasses import dataclass, fields

from netinnet.errors import NetinnetError

MOST_SECONDS = 1_000_000
"""11 days. Sockets can't wait for more than 24."""
MOST = 10**12
"""Of what is counted: a terabyte, and far below what the system's own numbers hold."""

MAX_MAP_VALUES = 1_000_000
"""Of the class maps in one answer."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Every limit of the service. Raises NetinnetError for one not above zero, or endless.

    Attributes:
        max_body: Largest request body, in bytes.
        max_pixels: Most pixels of a picture; checked before it is decoded.
        max_side: Longest side of a picture, in pixels; resizing needs memory for each row and
            column.
        max_pictures: Most pictures in one request.
        max_waiting: Most requests that are answered or waiting at a time; further ones get 503.
        max_connections: Most connections open at a time.
        max_batch: Most pictures computed in one batch.
        head_seconds: Seconds within which a request's headers must arrive.
        body_seconds: Seconds within which its body must arrive.
        decode_seconds: Seconds that decoding a request's pictures may take.
        idle_seconds: Seconds after which a connection without a request is closed.
        stop_seconds: Seconds that the requests under way may take after a signal to stop.
    """

    max_body: int = 16_777_216
    max_pixels: int = 16_000_000
    max_side: int = 8_192
    max_pictures: int = 256
    max_waiting: int = 256
    max_connections: int = 1_024
    max_batch: int = 32
    head_seconds: float = 5.0
    body_seconds: float = 20.0
    decode_seconds: float = 20.0
    idle_seconds: float = 20.0
    stop_seconds: float = 30.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, most = getattr(self, field.name), MOST
            if field.name.endswith("_seconds"):
                most = MOST_SECONDS
            if not 0 < value <= most:  # nan is not, either
                name = field.name.replace("_", "-")
                raise NetinnetError(f"--{name} must be above 0 and at most {most:,}, got {value}")

    @property
    def bytes_at_once(self) -> int:
        """Most bytes of all bodies together that are held at a time."""
        return 16 * self.max_body

    @property
    def values_at_once(self) -> int:
        """Most values of decoded pictures that wait to be computed; decoding waits for room."""
        return 6 * self.max_pixels
