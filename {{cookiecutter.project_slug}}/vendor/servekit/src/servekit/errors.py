"""What a store says when it cannot answer."""

from __future__ import annotations

import redis.exceptions as raw


class StoreUnavailable(Exception):  # noqa: N818 - a state of the store, read aloud in `except`
    """Redis did not answer within its budget: down, silent, overloaded, or its breaker is open."""


class LoadTimeout(TimeoutError):  # noqa: N818 - named as the other time limits are
    """What a cache was to keep was not loaded within its time."""


class WorkerBusy(raw.ConnectionError):
    """The call waited too long in this worker, while Redis answered others: no fault of Redis."""


UNAVAILABLE: tuple[type[BaseException], ...] = (
    raw.ConnectionError,
    raw.TimeoutError,
    raw.ReadOnlyError,
    raw.ClusterError,
    raw.RedisClusterException,
    raw.TryAgainError,
    raw.OutOfMemoryError,
    OSError,
    TimeoutError,
)
"""Errors of redis-py that mean "not now"; any other is a mistake in the command, raised as is."""
