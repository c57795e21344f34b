"""Clients for tests that are not about how little time Redis gets."""

from typing import Any

from servekit.redis.clients import RedisClients

LIMITS = dict.fromkeys(
    ("connect_timeout_seconds", "cache_timeout_seconds", "session_timeout_seconds"), 10.0
)


def patient_clients(url: str, **knobs: Any) -> RedisClients:
    """Return clients whose limits a busy machine does not reach."""
    return RedisClients(url, **(LIMITS | knobs))
