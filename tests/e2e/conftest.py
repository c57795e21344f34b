import asyncio
import re
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx2
import pytest
from running import patience

PASSWORD = "correct horse battery staple"

Sample = tuple[dict[str, str], float]


@pytest.fixture
def client() -> Callable[..., httpx2.Client]:
    """A client of a service; `fresh` opens a connection for each request."""

    def client(service, *, fresh: bool = False) -> httpx2.Client:
        limits = httpx2.Limits(max_keepalive_connections=0 if fresh else 20)
        return httpx2.Client(base_url=service.base_url, limits=limits, timeout=patience(30))

    return client


@pytest.fixture
def login() -> Callable[..., None]:
    """Make an account and log a client in."""

    def login(http: httpx2.Client, username: str = "alice") -> None:
        http.post("/users", json={"username": username, "password": PASSWORD})
        answer = http.post("/session", json={"username": username, "password": PASSWORD})
        assert answer.status_code in {200, 201, 204}, answer.text

    return login


@pytest.fixture
def metric() -> Callable[..., dict[str, float]]:
    """Read one metric: its value by worker, summed over the samples whose labels match."""

    def metric(service, name: str, **labels: str) -> dict[str, float]:
        text = httpx2.get(f"{service.admin_url}/metrics").raise_for_status().text
        values: dict[str, float] = {}
        for found in re.finditer(rf"^{name}\{{(.*)\}} (\S+)$", text, re.MULTILINE):
            sample = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[1]))
            if labels.items() <= sample.items():
                worker = sample.get("worker", "")
                values[worker] = values.get(worker, 0.0) + float(found[2])
        return values

    return metric


class Upload:
    """A CSV import whose last row is sent when told: a request that stays in progress."""

    def __init__(self, service, cookie: str) -> None:
        address = urlsplit(service.base_url)
        self._cookie = cookie.encode()
        self._address = (address.hostname, address.port)

    async def begin(self) -> "Upload":
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        head = b"POST /products/import HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\n"
        head += b"Cookie: " + self._cookie + b"\r\n"
        self._writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n")
        self._send(b"id,name,price,tags,description\r\n")
        await self._writer.drain()
        return self

    async def finish(self) -> int:
        """Send a row and the end; return the status."""
        self._send(b"900001,Late,1.5,a;b,\r\n")
        self._send(b"")
        return await self.status()

    async def status(self) -> int:
        line = await asyncio.wait_for(self._reader.readline(), patience(30))
        self._writer.close()
        return int(line.split()[1])

    def _send(self, piece: bytes) -> None:
        self._writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))


@pytest.fixture
def begin_upload(client, login) -> Callable[..., object]:
    """Begin an import that waits for its end."""

    async def begin(service) -> Upload:
        with client(service) as http:
            login(http)
            cookie = "; ".join(f"{name}={value}" for name, value in http.cookies.items())
        return await Upload(service, cookie).begin()

    return begin
