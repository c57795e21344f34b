import asyncio
import shutil
import ssl
import subprocess

import pytest
import structlog

from servekit.errors import StoreUnavailable
from servekit.redis.clients import RedisClients
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
    async with RedisClients(url, connect_timeout_seconds=10, session_timeout_seconds=10) as clients:
        with structlog.testing.capture_logs() as logs:
            for _ in range(5):
                with pytest.raises(StoreUnavailable, match="certificate verify failed"):
                    await clients.sessions.ping()
    [opened] = [each for each in logs if each["event"] == "redis_breaker_opened"]
    assert "self-signed certificate" in opened["reason"]
