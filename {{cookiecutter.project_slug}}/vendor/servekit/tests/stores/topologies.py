"""One Redis of each kind that a URL can name, ready for the services under test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from servekit.redis.embedded import EmbeddedServer
from tests.stores.servers import cluster, form, server
from tests.stores.workers import until

SENTINEL = "sentinel monitor main 127.0.0.1 {} 1\n"


@contextmanager
def standalone() -> Iterator[str]:
    with EmbeddedServer() as one:
        yield one.url


@contextmanager
def sentinel() -> Iterator[str]:
    with (
        server("--save", "") as primary,
        server("--sentinel", config=SENTINEL.format(primary)) as port,
        redis.Redis(port=port) as watcher,
    ):
        asyncio.run(until(lambda: _answers(watcher)))
        yield f"redis+sentinel://127.0.0.1:{port}/main"


@contextmanager
def restricted() -> Iterator[str]:
    """One server that allows what the guide says that it must, and nothing else."""
    guide = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    rule = guide.split("## What Redis must allow")[1].split("```")[1]
    user = " ".join(rule.split()).removeprefix("user service")
    acl = f"user default {user}\nuser admin on nopass ~* +@all\n"
    with server("--save", "", config=acl) as port, redis.Redis(port=port) as watcher:
        asyncio.run(until(lambda: _pings(watcher)))
        yield f"redis://127.0.0.1:{port}"


def _pings(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", "main"))
    except redis.RedisError:
        return False


@contextmanager
def three_nodes() -> Iterator[str]:
    with cluster() as nodes:
        asyncio.run(form(nodes))
        port = nodes[0].connection_pool.connection_kwargs["port"]
        yield f"redis+cluster://127.0.0.1:{port}"


TOPOLOGIES = {
    "standalone": standalone,
    "restricted": restricted,
    "sentinel": sentinel,
    "cluster": three_nodes,
}
