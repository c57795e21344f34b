"""What Prometheus sees of sessions."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class SessionMetrics:
    """Counters of a worker's sessions; none carries an id or a user."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.created = Counter(
            "session_created_total",
            "Sessions created, for a logged-in user or an anonymous visitor.",
            ["kind"],
            registry=registry,
        )
        self.revoked = Counter(
            "session_revoked_total",
            "Sessions ended before their lifetime was over.",
            ["reason"],
            registry=registry,
        )
        self.loads = Counter(
            "session_loads_total",
            "Sessions looked up in Redis, by result.",
            ["result"],
            registry=registry,
        )
        self.rejected_cookies = Counter(
            "session_rejected_cookies_total",
            "Session cookies refused before any look-up: forged, damaged or ambiguous.",
            registry=registry,
        )
