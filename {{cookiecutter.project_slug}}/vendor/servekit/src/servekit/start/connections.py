"""Try what the settings name: Redis with the commands that are needed, and the databases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from servekit.configuration.identity import default_namespace
from servekit.configuration.problems import one_line
from servekit.configuration.safety import database_fields
from servekit.configuration.variables import names_of
from servekit.errors import reason_of
from servekit.redis.clients import RedisClients
from servekit.start.libraries import tell_libraries
from servekit.start.redis_rights import try_rights

if TYPE_CHECKING:
    from servekit.configuration.settings import Settings

TRACKING = ("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "check:")
SECONDS = 5.0
"""For each of them, connecting included: more than a service gives them while it serves."""


def try_connections(settings: Settings) -> list[str]:
    """Return a line for each server that does not answer, or refuses what the service needs."""
    tell_libraries(settings)
    return asyncio.run(_try_all(settings))


async def _try_all(settings: Settings) -> list[str]:
    attempts: list[tuple[str, Callable[[], Awaitable[None]]]] = []
    if url := settings.redis_url.get_secret_value():
        namespace = settings.redis_namespace or default_namespace(settings)
        variable = names_of(type(settings), "redis_url")[0]
        attempts.append((variable, lambda: try_redis(url, namespace)))
    for name in database_fields(type(settings)):
        address = getattr(settings, name).get_secret_value()
        variable = names_of(type(settings), name)[0]
        attempts.append((variable, lambda address=address: try_database(address)))  # type: ignore[misc] # mypy infers no lambda with a default
    found = await asyncio.gather(*(failure(name, attempt) for name, attempt in attempts))
    return [line for line in found if line is not None]


async def failure(name: str, attempt: Callable[[], Awaitable[None]]) -> str | None:
    """Return why an attempt failed, in one line; None if it did not."""
    try:
        async with asyncio.timeout(SECONDS * 2):
            await attempt()
    except TimeoutError:
        return f"{name}: no answer within {SECONDS * 2:g} s"
    except Exception as error:  # noqa: BLE001 - whatever a driver raises is the answer
        return one_line(f"{name}: {reason_of(error.__cause__ or error)}")
    return None


async def try_redis(url: str, namespace: str) -> None:
    """Run what the service needs of Redis; raises what redis-py raises."""
    clients = RedisClients(
        url,
        namespace=namespace,
        connections=1,
        connect_timeout_seconds=SECONDS,
        cache_timeout_seconds=SECONDS,
        session_timeout_seconds=SECONDS,
    )
    async with clients:
        await clients.cache.ping()
        await try_rights(clients)
        for connection in await clients.invalidation_connections():
            try:
                await connection.send_command(*TRACKING)
                await connection.read_response()
            finally:
                await connection.disconnect(nowait=True)


async def try_database(url: str) -> None:
    """Open a connection; raises what SQLAlchemy or the driver raises."""
    from sqlalchemy import text  # of those who have a database

    from servekit.sql import Database

    database = Database(url, connections=1, wait_seconds=SECONDS)
    try:
        async with database.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    finally:
        await database.engine.dispose()
