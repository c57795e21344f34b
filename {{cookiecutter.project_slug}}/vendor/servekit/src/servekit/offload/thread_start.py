"""Threads that the system does not allow: the log has the reason, but not of every one."""

from __future__ import annotations

import time

from servekit.event_log import get_logger

QUIET_SECONDS = 10.0

log = get_logger()

_told: dict[str, float] = {}


def tell_no_thread(pool: str, error: Exception) -> None:
    """Log that a pool could not start a thread, once in ten seconds."""
    now = time.monotonic()
    if now - _told.get(pool, -QUIET_SECONDS) >= QUIET_SECONDS:
        _told[pool] = now
        log.warning("offload_thread_start_failed", pool=pool, error=str(error))
