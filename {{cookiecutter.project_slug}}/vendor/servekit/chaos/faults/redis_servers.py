"""Real servers for a case: one behind the toxic proxy, or a Sentinel group."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from chaos.faults.proxy import ToxicProxy
from servekit.redis.embedded import GUARD, EmbeddedServer, find_binary
from servekit.testing.running_service import reserved_port

SENTINEL_CONFIG = """
sentinel monitor main 127.0.0.1 {} 1
sentinel down-after-milliseconds main 500
sentinel failover-timeout main 3000
"""


@contextlib.asynccontextmanager
async def toxic_redis() -> AsyncIterator[tuple[ToxicProxy, Redis]]:
    """Start a server; give the proxy before it, and a client that goes past the proxy."""
    with EmbeddedServer() as server:
        async with ToxicProxy(str(server.path)) as proxy, Redis.from_url(server.url) as direct:
            yield proxy, direct


@contextlib.contextmanager
def started(*options: str, config: str = "") -> Iterator[int]:
    """Run a server on a free port, which goes with the block however that ends."""
    with reserved_port() as port, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "server.conf"
        path.write_text(f'port {port}\ndir {folder}\nsave ""\n{config}')
        command = ["/bin/sh", "-c", GUARD, "guard", find_binary(), str(path), *options]
        guard = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        try:
            yield port
        finally:
            guard.communicate()


@dataclass(frozen=True)
class SentinelGroup:
    """A primary, its replica, and the sentinel that watches them, as ports."""

    primary: int
    replica: int
    sentinel: int

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel}/main"

    async def primary_now(self, watcher: Redis) -> int:
        """Return the port of the primary that the sentinel names."""
        found = await watcher.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")
        return int(found[1])


@contextlib.asynccontextmanager
async def sentinel_group() -> AsyncIterator[tuple[SentinelGroup, Redis]]:
    """Start a group that is ready for a failover; give it and a client of its sentinel."""
    with (
        started("--repl-diskless-sync-delay", "0") as primary,
        started("--replicaof", f"127.0.0.1 {primary}") as replica,
    ):
        async with Redis(port=replica) as client:
            await _until(client, "'master_link_status': 'up'", "INFO", "replication")
        with _sentinel(primary) as sentinel:
            async with Redis(port=sentinel) as watcher:
                await _until(watcher, str(replica), "SENTINEL", "REPLICAS", "main")
                yield SentinelGroup(primary, replica, sentinel), watcher


@contextlib.contextmanager
def _sentinel(primary: int) -> Iterator[int]:
    with started("--sentinel", config=SENTINEL_CONFIG.format(primary)) as port:
        yield port


async def _until(client: Redis, text: str, *command: str, seconds: float = 20) -> None:
    """Ask until the answer holds the text."""
    async with asyncio.timeout(seconds):
        while True:
            with contextlib.suppress(RedisError, OSError):
                answer = await client.execute_command(*command)
                if text in str(answer):
                    return
            await asyncio.sleep(0.05)
