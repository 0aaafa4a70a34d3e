"""What the service measures of itself, for Prometheus to collect."""

from __future__ import annotations

from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256)
CONTENT_TYPE = CONTENT_TYPE_LATEST.encode()


class Meters:
    """Counters and histograms of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        own: Any = {"registry": self.registry, "namespace": "nin"}
        self._requests = Counter("requests", "Requests answered.", ("route", "status"), **own)
        self._seconds = Histogram(
            "request_seconds",
            "From a request's head to its answer, reading the body included.",
            ("route",),
            buckets=SECONDS,
            **own,
        )
        self.decode_seconds = Histogram(
            "decode_seconds", "Decoding the pictures of a request.", buckets=SECONDS, **own
        )
        self.batch_pictures = Histogram(
            "batch_pictures", "Pictures computed together.", buckets=SIZES, **own
        )
        self.batch_seconds = Histogram(
            "batch_seconds", "Computing a batch.", buckets=SECONDS, **own
        )
        self.under_way = Gauge("under_way", "Predictions asked for and not answered.", **own)
        self._models = Gauge("model", "Models that answer.", ("name", "version"), **own)
        self._loads = Counter("loads", "Models loaded again.", ("name", "outcome"), **own)
        self._of: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request by its route and its answer's status, and how long it took."""
        key = route, status
        if key not in self._of:
            found = self._requests.labels(route, str(status)), self._seconds.labels(route)
            self._of[key] = found
        count, histogram = self._of[key]
        count.inc()
        histogram.observe(seconds)

    def loaded(self, name: str, version: str, previous: str | None) -> None:
        """A model answers from now on; `previous` is the version that it replaces."""
        if previous is not None:
            self._models.remove(name, previous)
            self._loads.labels(name, "loaded").inc()
        self._models.labels(name, version).set(1)

    def not_loaded(self, name: str) -> None:
        """A changed file could not be loaded."""
        self._loads.labels(name, "failed").inc()

    def text(self) -> bytes:
        """Everything, in Prometheus's text format."""
        return generate_latest(self.registry)
