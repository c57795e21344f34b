"""Caddy and nginx in front, with the project's own files: runs where they are installed."""

import asyncio
import base64
import collections
import hashlib
import itertools
import os
import random
import re
import signal
import socket
import ssl
import time
from pathlib import Path

import httpx2
import pytest
from fronts import FRONTS, find
from running import RunningService, patience

PROGRAM = Path(__file__).parent / "fronted"
MIB = 2**20
UPLOAD_MIB = 100
RELOADS = 3

HANDSHAKE = [
    "GET /echo HTTP/1.1",
    "Host: localhost",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
]

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def service(installed_service, tmp_path_factory):
    running = RunningService(
        installed_service,
        tmp_path_factory.mktemp("fronted"),
        module="program",
        PYTHONPATH=PROGRAM,
        TRUSTED_PROXY_HOPS=1,
        LIMIT_BODY_BYTES=0,
        REDIS_NAMESPACE="fronted",
        PRESSURE_LOOP_LAG_MS=0,  # what is refused is for fronts to pass on, and not counted here
    )
    yield running
    running.stop()


@pytest.fixture(scope="module", params=FRONTS)
def front(request, service, installed_service, tmp_path_factory):
    if find(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    address = service.base_url.removeprefix("http://")
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "static").mkdir()
    (folder / "static" / "a.css").write_text("p{}" * 5000)
    with FRONTS[request.param](installed_service, folder, address) as front:
        yield front


@pytest.fixture
def client(front):
    with httpx2.Client(verify=front.context, base_url=front.url, timeout=patience(30)) as client:
        yield client


def test_the_service_knows_client_scheme_and_host_and_no_forged_ones(client, front):
    forged = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Prefix": "/evil", "X-Forwarded-Host": "e"}
    for headers in ({}, forged):
        seen = client.get("/seen", headers=headers).json()
        # By which of its addresses the front's name is found is the machine's to say.
        assert seen.pop("client") in {"127.0.0.1", "::1"}
        assert seen == {"url": f"{front.url}/seen", "base": f"{front.url}/"}


def test_http_2_is_spoken(front):
    with (
        socket.create_connection(("127.0.0.1", front.port)) as plain,
        front.context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        assert secure.selected_alpn_protocol() == "h2"


def test_http_3_is_offered(client, front):
    if front.name == "nginx":
        pytest.skip("from nginx 1.25 on")
    assert "h3=" in client.get("/seen").headers["alt-svc"]


def test_a_request_that_names_its_host_in_no_field_is_served(front):
    if front.name == "caddy":
        pytest.skip("asks for one in HTTP/1.1, and passes on that of HTTP/3")
    context = front.context
    context.set_alpn_protocols(["http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", front.port), timeout=patience(10)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(b"GET /seen HTTP/1.0\r\n\r\n")  # as HTTP/3's: without Host
        assert b" 200 " in secure.recv(200).partition(b"\r\n")[0]


def test_files_are_compressed_and_answers_of_the_service_as_it_decides(client):
    headers = {"Accept-Encoding": "gzip"}
    assert client.get("/static/a.css", headers=headers).headers["content-encoding"] == "gzip"
    assert "content-encoding" not in client.get("/secret", headers=headers).headers


def test_what_is_no_file_below_static_is_the_services_to_answer(client):
    answer = client.get("/static/of/the/service.js", params={"v": "1 2"})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert "cache-control" not in answer.headers or "max-age" not in answer.headers["cache-control"]


@pytest.mark.parametrize("path", ["/events", "/lines"])
def test_pieces_of_a_stream_arrive_one_by_one(client, path):
    times: list[float] = []
    with client.stream("GET", path, params={"seconds": 1, "count": 3}) as answer:
        times.extend(time.monotonic() for piece in answer.iter_raw() if piece)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert len([gap for gap in gaps if gap > 0.5]) >= 2


def test_large_bodies_pass_both_ways_without_a_disk(client, front):
    body = os.urandom(MIB)
    digest = hashlib.blake2b(body * UPLOAD_MIB).hexdigest()
    got = client.post("/upload", content=(body for _ in range(UPLOAD_MIB))).json()
    assert (got["size"], got["digest"]) == (UPLOAD_MIB * MIB, digest)
    size = 0
    with client.stream("GET", "/download", params={"pieces": UPLOAD_MIB * 16}) as answer:
        for piece in answer.iter_raw():
            size += len(piece)
            assert written(front.folder) < MIB
    assert size == UPLOAD_MIB * MIB


def written(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_an_upload_is_passed_on_while_it_comes(client):
    def slowly():
        yield b"x" * 1000
        time.sleep(1)
        yield b"x" * 1000

    assert client.post("/upload", content=slowly()).json()["seconds"] > 0.5


def test_a_websocket_echoes(front):
    key = base64.b64encode(os.urandom(16)).decode()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", front.port), timeout=patience(10)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall("\r\n".join([*HANDSHAKE, f"Sec-WebSocket-Key: {key}", "", ""]).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += secure.recv(1)
        assert head.startswith(b"HTTP/1.1 101")
        secure.sendall(b"\x81\x85\0\0\0\0hello")  # a text of five bytes, masked with nothing
        got = b""
        while len(got) < 7:
            got += secure.recv(7)
        assert got == b"\x81\x05hello"


async def visit(front, seconds, reload, reloaded):
    """Send requests, half of them with bodies, in gusts; count the answers by status.

    On a busy machine for longer, until `reloaded`: the last of the reloads is asked for in time.
    """
    got: collections.Counter[int | str] = collections.Counter()

    async def ask(client):
        try:
            if random.random() < 0.5:
                answer = await client.get("/seen")
            else:
                answer = await client.post("/seen", content=b"x" * 500)
            got[answer.status_code] += 1
        except httpx2.HTTPError as error:
            got[type(error).__name__] += 1

    limits = httpx2.Limits(max_connections=100)
    client = httpx2.AsyncClient(
        verify=front.context, base_url=front.url, timeout=patience(30), limits=limits
    )
    async with client, asyncio.TaskGroup() as group:
        end = time.monotonic() + seconds
        last = time.monotonic() + patience(seconds)
        reloads = [time.monotonic() + 1 + number * seconds / RELOADS for number in range(RELOADS)]
        while time.monotonic() < end or (time.monotonic() < last and not reloaded()):
            if reloads and time.monotonic() > reloads[0]:
                reload()
                del reloads[0]
            for _ in range(10 if random.random() < 0.02 else 1):
                group.create_task(ask(client))
            await asyncio.sleep(random.expovariate(80))
    return got


def test_reloads_under_traffic_lose_nothing(front, service):
    before = service.log.count('"reload_done"')

    def reload():
        service.process.send_signal(signal.SIGHUP)

    def reloaded():
        return service.log.count('"reload_done"') > before

    got = asyncio.run(visit(front, 12, reload, reloaded))
    assert reloaded()
    assert set(got) == {200}, got
    assert got[200] > 100


def test_connections_to_the_service_are_given_up_before_it_gives_them_up(installed_service):
    example = (installed_service / ".env.example").read_text()
    [kept] = re.findall(r"TIMEOUT_KEEP_ALIVE_SECONDS=(\d+)", example)
    caddy = (installed_service / "deploy/caddy/Caddyfile").read_text()
    nginx = (installed_service / "deploy/nginx/service.conf").read_text()
    [by_caddy] = re.findall(r"keepalive (\d+)s", caddy)
    [by_nginx] = re.findall(r"keepalive_timeout (\d+)s", nginx)
    assert int(by_caddy) < int(kept)
    assert int(by_nginx) < int(kept)
