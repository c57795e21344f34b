import asyncio
import contextlib

from prometheus_client import CollectorRegistry

from service.example.overview import read_overview
from service.example.rates import read_rates
from service.upstream.client import Upstream
from service.upstream.metrics import UpstreamMetrics


@contextlib.asynccontextmanager
async def neighbour(body, status="200 OK"):
    """A small HTTP server that answers everything with one text, and a client of it."""

    async def serve(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    metrics = UpstreamMetrics(CollectorRegistry())
    async with Upstream("rates", f"http://127.0.0.1:{port}", metrics=metrics) as upstream:
        yield upstream
    server.close()


async def test_the_overview_tells_the_rates_of_the_upstream(database):
    async with neighbour(b'{"EUR": 1.0, "USD": 1.1}') as upstream:
        overview = await read_overview(database, upstream)

    assert overview.rates == {"EUR": 1.0, "USD": 1.1}


async def test_the_overview_goes_without_what_the_upstream_does_not_tell(database):
    for body, status in (
        (b"not json", "200 OK"),
        (b"{}", "503 Down"),
        (b'{"detail": "x"}', "404 No"),
    ):
        async with neighbour(body, status) as upstream:
            assert (await read_overview(database, upstream)).rates is None, status


async def test_a_refusing_upstream_is_no_error():
    metrics = UpstreamMetrics(CollectorRegistry())
    async with Upstream("rates", "http://127.0.0.1:1", metrics=metrics) as upstream:
        assert await read_rates(upstream) is None
