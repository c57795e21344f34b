"""On one socket for both families a client is known by the address that it has."""

import json
import socket

import httpx2
import pytest
import websockets

from servekit.edge.addresses import plain
from servekit.testing import patience


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("::ffff:192.0.2.1", 5), ("192.0.2.1", 5)),
        (("::FFFF:192.0.2.1", 5), ("192.0.2.1", 5)),
        (("192.0.2.1", 5), ("192.0.2.1", 5)),
        (("2001:db8::1", 5), ("2001:db8::1", 5)),
        (("::ffff:0:1", None), ("::ffff:0:1", None)),
        (None, None),
    ],
)
def test_mapped_addresses_are_ipv4_and_others_stay(given, expected):
    assert plain(given) == expected


def has_both_families() -> bool:
    try:
        with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True):
            return True
    except (OSError, ValueError):
        return False


@pytest.mark.skipif(not has_both_families(), reason="no IPv6 here")
async def test_ipv4_clients_of_a_socket_for_both_are_logged_and_given_as_ipv4(start_service, demo):
    service = start_service("demo", folder=demo, HOST="::", WORKERS=1)
    async with httpx2.AsyncClient(timeout=patience(5)) as client:
        for address in ("127.0.0.1", "[::1]"):
            place = service.url.replace("127.0.0.1", address)
            bare = address.strip("[]")
            got = await client.get(f"{place}/peer")
            assert got.json() == [bare, bare]
            async with websockets.connect(f"ws{place[4:]}/peer") as websocket:
                assert json.loads(await websocket.recv()) == [bare, bare]
    assert service.stop() == 0
    logged = [one["client"] for one in service.events("http_request") if one["path"] == "/peer"]
    assert logged == ["127.0.0.1", "::1"]
