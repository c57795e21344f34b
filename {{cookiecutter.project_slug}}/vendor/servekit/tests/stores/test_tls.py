import asyncio
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode

from servekit.errors import StoreUnavailable
from servekit.redis import tls
from servekit.redis.clients import RedisClients
from tests.redis.patient import patient_clients
from tests.stores.workers import until, worker

NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the certificate")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    key, file = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", "/CN=localhost", "-addext", NAMES, "-days", "2"]
    subprocess.run([*command, "-keyout", key, "-out", file], check=True, capture_output=True)
    return file, key


@pytest.fixture
async def port(redis_server, redis_url, certificate):
    """A port that speaks TLS in front of the server."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)

    async def pump(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader, writer):
        back, forth = await asyncio.open_unix_connection(str(redis_server.path))
        await asyncio.gather(pump(reader, forth), pump(back, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_a_coherent_cache_over_tls(port, certificate):
    url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate[0]}"
    async with worker(url) as a, worker(url) as b:
        await a.set("a", 1, ttl_seconds=60)
        assert await b.get("a", int) == 1
        await a.set("a", 2, ttl_seconds=60)
        await until(lambda: _is_two(b))


async def _is_two(cache):
    return await cache.get("a", int) == 2


async def test_a_certificate_that_nobody_vouches_for_is_refused(port):
    url = f"rediss://127.0.0.1:{port}"
    async with patient_clients(url) as clients:
        with structlog.testing.capture_logs() as logs:
            for _ in range(5):
                with pytest.raises(StoreUnavailable, match="certificate verify failed"):
                    await clients.sessions.ping()
    [opened] = [each for each in logs if each["event"] == "redis_breaker_opened"]
    assert "self-signed certificate" in opened["reason"]


async def test_connections_that_open_together_share_one_context(port, certificate, contexts):
    url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate[0]}"
    async with patient_clients(url) as clients:
        assert contexts() == 1, "it is there before the first request"
        pools = (clients.cache, clients.sessions, clients.rate_limit)
        await asyncio.gather(*(pool.ping() for pool in pools for _ in range(24)))
        for connection in await clients.invalidation_connections():
            await connection.disconnect()

        assert clients.cache.connection_pool.get_connection_count()[0][0] > 1
        assert contexts() == 1


@pytest.mark.parametrize("form", ["rediss", "rediss+cluster", "rediss+sentinel"])
async def test_every_kind_of_pool_makes_such_connections(form, certificate, contexts):
    service = "/primary" if form.endswith("sentinel") else ""
    url = f"{form}://127.0.0.1:1{service}?ssl_ca_certs={certificate[0]}"
    async with RedisClients(url) as clients:
        for client in (clients.cache, clients.sessions, clients.rate_limit):
            for connection in some_connections(client):
                connection.ssl_context.get()

        assert contexts() == 1


def some_connections(client: Any) -> Iterator[Any]:
    if isinstance(client, RedisCluster):
        nodes = [*client.startup_nodes, ClusterNode("127.0.0.1", 2, **client.connection_kwargs)]
        yield from (node.connection_class(**node.connection_kwargs) for node in nodes)
    else:
        yield from (client.connection_pool.make_connection() for _ in range(5))


async def test_a_renewed_certificate_is_read_anew(certificate, contexts):
    url = f"rediss://127.0.0.1:1?ssl_ca_certs={certificate[0]}"
    async with RedisClients(url) as clients:
        pool: Any = clients.cache.connection_pool
        first = pool.make_connection().ssl_context.get()
        os.utime(certificate[0], (time.time() + 7, time.time() + 7))

        assert pool.make_connection().ssl_context.get() is not first
        assert contexts() == 2


@pytest.fixture
def contexts(monkeypatch):
    """Count the contexts that are made: each reads the CA bundle, in 50 ms of the loop."""
    monkeypatch.setattr(tls, "shared", {})
    create, made = ssl.create_default_context, []

    def counted(*arguments, **options):
        made.append(create(*arguments, **options))
        return made[-1]

    monkeypatch.setattr("redis.asyncio.connection.ssl.create_default_context", counted)
    return lambda: len(made)
