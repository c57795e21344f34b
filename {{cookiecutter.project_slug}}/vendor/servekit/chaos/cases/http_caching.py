"""The response cache is a shared cache by the letter: RFC 9111, 9110, 5861 and 9211."""

from __future__ import annotations

import asyncio

import chaos.http_rules.answering
import chaos.http_rules.selecting
import chaos.http_rules.storing  # noqa: F401 - each registers its rules
from chaos.faults.redis_servers import toxic_redis
from chaos.http_rules.page import CHECKS, Page
from chaos.report import Figure, at_least, case, exactly
from chaos.targets import Running, Target
from chaos.traffic.client import Connection


async def outcome(name: str, connection: Connection) -> str:
    """Return the rule's name if it is broken, and the error if there was one."""

    def page(**fields: str | list[str]) -> Page:
        return Page(connection, fields)

    try:
        async with asyncio.timeout(10):
            return "" if await CHECKS[name](page) else name
    except Exception as error:  # noqa: BLE001 - whatever breaks a check breaks its rule
        return f"{name} ({error!r})"


async def broken_rules(running: Running) -> list[str]:
    """Run every check in turn, on a connection of its own."""
    broken = []
    for name in CHECKS:
        connection = await Connection.open(running.address)
        broken.append(await outcome(name, connection))
        connection.close()
    return list(filter(None, broken))


@case(43, "the response cache, rule by rule", compared=False)
async def rules(target: Target) -> list[Figure]:
    """Hold the running service to every rule in the table."""
    async with toxic_redis() as (proxy, _), target.start(REDIS_URL=proxy.url) as running:
        broken = await broken_rules(running)
    return [
        at_least("rules checked", len(CHECKS), 80),
        exactly("rules broken", "; ".join(broken), ""),
    ]
