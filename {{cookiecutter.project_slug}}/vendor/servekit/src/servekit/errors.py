"""What a store says when it cannot answer."""

from __future__ import annotations

import redis.exceptions as raw

from servekit.error_chain import chain


class StoreUnavailable(Exception):  # noqa: N818 - a state of the store, read aloud in `except`
    """Redis did not answer within its budget: down, silent, overloaded, or its breaker is open."""


class LoadTimeout(TimeoutError):  # noqa: N818 - named as the other time limits are
    """What a cache was to keep was not loaded within its time."""


class WorkerBusy(raw.ConnectionError):
    """The call waited too long in this worker, while Redis answered others: no fault of Redis."""


OF_A_CLUSTER = (raw.AskError, raw.MovedError, raw.ClusterCrossSlotError)
"""What a Redis Cluster says to a client that takes it for one server."""

UNAVAILABLE: tuple[type[BaseException], ...] = (
    raw.ConnectionError,
    raw.NoPermissionError,
    raw.TimeoutError,
    raw.ReadOnlyError,
    raw.ClusterError,
    raw.RedisClusterException,
    raw.TryAgainError,
    raw.OutOfMemoryError,
    *OF_A_CLUSTER,
    OSError,
    TimeoutError,
)
"""Errors of redis-py that mean "not now"; any other is a mistake in the command, raised as is."""

REFUSALS = (
    "ACL failure",  # of a command within a script
    "BUSY ",
    "DB index",
    "DENIED",
    "MISCONF",
    "NOREPLICAS",
    "Only 0th database",
    "SELECT is not allowed",
    "unknown command",
    "unknown subcommand",
    "unsupported command",
    *("max daily request limit", "max requests limit"),  # of those who sell requests
)
"""How the answers of a server begin that does not let this service do its work, for now or ever."""


def is_refusal(error: raw.ResponseError) -> bool:
    """Return whether a server refuses to serve us; else the command is at fault."""
    return str(error).startswith(REFUSALS)


def reason_of(error: BaseException) -> str:
    """Return why a store failed, in the words of whoever said it; a timeout has none."""
    for each in chain(error):
        if isinstance(each, OF_A_CLUSTER):
            return "the server is one of a Redis Cluster: write REDIS_URL as redis[s]+cluster://"
        if text := str(each).strip():
            return text
    if isinstance(error, TimeoutError | raw.TimeoutError):
        return "no answer within its time limit"
    return type(error).__name__
