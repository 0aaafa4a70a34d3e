"""What is answered instead of a prediction: a status, and JSON that says why."""

from __future__ import annotations

import json
from typing import Any

CODES = {
    400: "bad_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    413: "too_large",
    415: "unsupported_media_type",
    421: "misdirected",
    422: "unusable_picture",
    431: "head_too_large",
    500: "internal",
    503: "busy",
}
"""Every status that is an error, and its code in JSON."""

Headers = list[tuple[bytes, bytes]]


class Problem(Exception):
    """A request that gets an error for an answer.

    Args:
        status: One of `CODES`.
        message: One line: what was wrong, and what would be right.
        headers: More headers of the answer.
        code: Another code than the status's own.
    """

    def __init__(
        self, status: int, message: str, headers: Headers | None = None, code: str = ""
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or []
        self.code = code or CODES[status]

    @property
    def body(self) -> bytes:
        """The answer's body."""
        return to_json({"error": {"code": self.code, "message": str(self)}})


def busy(message: str, seconds: int = 1, code: str = "") -> Problem:
    """503, with the seconds after which another try may succeed."""
    return Problem(503, message, [(b"retry-after", str(seconds).encode())], code)


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def to_json(value: Any) -> bytes:
    """JSON in UTF-8, on one line. Raises ValueError for numbers that JSON does not have."""
    # What a file's name held that is no text must not stop the answer.
    return _ENCODER.encode(value).encode("utf-8", errors="replace")
