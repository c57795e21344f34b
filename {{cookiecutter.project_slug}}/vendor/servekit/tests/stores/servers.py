"""Servers on TCP ports: what a Cluster and a Sentinel group are made of."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import redis
from servekit.redis.embedded import GUARD, find_binary
from servekit.testing.running_service import reserved_port
from tests.stores.workers import until


@contextmanager
def server(*options: str, config: str = "") -> Iterator[int]:
    """Run a server on a free port, gone after the context however the test dies."""
    with reserved_port() as port, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "server.conf"
        path.write_text(f"port {port}\ndir {folder}\n{config}")
        command = ["/bin/sh", "-c", GUARD, "guard", find_binary(), str(path), *options]
        guard = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        try:
            yield port
        finally:
            guard.communicate()


@contextmanager
def cluster(size: int = 3) -> Iterator[list[redis.Redis]]:
    """Run primaries that share the slots; they still have to find each other."""
    with ExitStack() as stack:
        config = 'save ""\ncluster-enabled yes\ncluster-node-timeout 2000\ncluster-port {}\n'
        buses = [stack.enter_context(reserved_port()) for _ in range(size)]
        ports = [stack.enter_context(server(config=config.format(bus))) for bus in buses]
        yield [stack.enter_context(redis.Redis(port=port)) for port in ports]


async def form(nodes: list[redis.Redis]) -> None:
    """Give each node its slots and wait until all know of each other."""
    for node in nodes:
        await until(partial(_answers, node))
    share = 16384 // len(nodes)
    for place, node in enumerate(nodes):
        end = 16383 if place == len(nodes) - 1 else (place + 1) * share - 1
        node.execute_command("CLUSTER", "ADDSLOTSRANGE", place * share, end)
    first = _info(nodes[0])
    for node in nodes[1:]:
        bus = node.config_get("cluster-port")["cluster-port"]
        port = node.connection_pool.connection_kwargs["port"]
        nodes[0].execute_command("CLUSTER", "MEET", "127.0.0.1", port, bus)
    assert first["cluster_known_nodes"] == "1"

    def formed() -> bool:
        infos = [_info(node) for node in nodes]
        return all(
            info["cluster_state"] == "ok" and info["cluster_known_nodes"] == str(len(nodes))
            for info in infos
        )

    await until(formed, seconds=10)


def _info(node: redis.Redis) -> dict[str, str]:
    info: dict[str, str] = node.execute_command("CLUSTER INFO")
    return info


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
