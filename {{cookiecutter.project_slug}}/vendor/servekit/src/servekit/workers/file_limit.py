"""File descriptors: as many as the system allows, and some kept back from clients."""

from __future__ import annotations

import contextlib
import resource

KEPT_BACK = 100
"""Descriptors for stores, files and pools, which must not fail because clients took all."""


def raise_file_limit() -> None:
    """Raise this process's soft limit to the hard one; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS reports no limit and then refuses it.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connection_limit(wanted: int) -> int:
    """Return how many connections fit under the limit of descriptors, at most as many as wanted."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(soft - KEPT_BACK, soft // 2))
