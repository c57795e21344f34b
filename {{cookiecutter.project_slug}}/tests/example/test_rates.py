import asyncio
import contextlib

import pytest

from service.settings import Settings


class Neighbour:
    """A small HTTP server that answers everything with one text."""

    body = b'{"EUR": 1.0, "USD": 1.1}'
    status = "200 OK"

    async def serve(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                head = f"HTTP/1.1 {self.status}\r\nContent-Length: {len(self.body)}\r\n\r\n"
                writer.write(head.encode() + self.body)
        writer.close()


@pytest.fixture
def neighbour():
    return Neighbour()


@pytest.fixture
async def rates_url(neighbour):
    server = await asyncio.start_server(neighbour.serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@pytest.fixture
def settings(make_settings, database_url, rates_url):
    return make_settings(Settings, database_url=database_url, rates_url=rates_url)


async def test_the_overview_tells_the_rates_of_the_upstream(client):
    assert (await client.get("/overview")).json()["rates"] == {"EUR": 1.0, "USD": 1.1}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        *((b"not json", "200 OK"), (b"{}", "503 Down"), (b'{"detail": "x"}', "404 No")),
        *((b'{"code": 404}', "404 No"), (b"{}", "500 Oh"), (b'{"retry_after": 30}', "429 Wait")),
    ],
)
async def test_the_overview_goes_without_what_the_upstream_does_not_tell(
    client, neighbour, body, status
):
    neighbour.body, neighbour.status = body, status
    assert (await client.get("/overview")).json()["rates"] is None


@pytest.mark.parametrize("rates_url", ["http://127.0.0.1:1", ""])
async def test_an_upstream_that_is_not_there_is_no_error(client, rates_url):
    assert (await client.get("/overview")).json()["rates"] is None
