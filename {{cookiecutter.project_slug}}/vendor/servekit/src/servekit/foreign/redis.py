"""What redis-py keeps private, and our pools and the invalidation channel are built on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import ConnectionPool, RedisCluster
from redis.asyncio.connection import AbstractConnection


def give_back(pool: ConnectionPool, connection: AbstractConnection) -> None:
    """Make a connection in use one that the pool can hand out again."""
    pool._available_connections.append(connection)  # noqa: SLF001 - the one place for private names


def take_back(pool: ConnectionPool, connection: AbstractConnection) -> None:
    """Count a connection no longer as one in use."""
    pool._in_use_connections.remove(connection)  # noqa: SLF001


def in_use(pool: ConnectionPool) -> list[AbstractConnection]:
    """Return the connections that a pool has handed out."""
    return list(pool._in_use_connections)  # noqa: SLF001


def is_new(cluster: RedisCluster) -> bool:
    """Return whether a client has not learned the layout of its Cluster yet."""
    return bool(cluster._initialize)  # noqa: SLF001


def on_invalidation(
    connection: AbstractConnection, handler: Callable[[list[Any]], Awaitable[list[Any]]]
) -> None:
    """Have a connection's invalidation messages handled: without a handler redis-py drops them."""
    parser: Any = connection._parser  # noqa: SLF001
    parser.set_invalidation_push_handler(handler)
