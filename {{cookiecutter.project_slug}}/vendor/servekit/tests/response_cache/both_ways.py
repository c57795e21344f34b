"""One service behind two connections: one answers what it can, one leaves all to the layers."""

import asyncio
import contextlib
import itertools
import re
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, FastAPI, Header, Response
from fastapi.telemetry import TelemetryConfig

from servekit import Service, Settings
from servekit.cache import cache_response
from servekit.edge.instant import NeverInstant
from servekit.install import entrance
from servekit.service import TELEMETRY_OFF
from servekit.testing.lifespan import Lifespan
from tests.edge.wire import Client

DATE = (b"date", b"Thu, 26 Nov 2026 10:00:00 GMT")
MADE = r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])"
VARYING = re.compile(MADE.encode() + rb"|(?<=ttl=)[0-9]+|(?<=\r\nage: )[0-9]+")
RUN = re.compile(rb'(?<="run":)[0-9]+|(?<=etag: W/")[0-9a-f]+')
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def make_app(telemetry: TelemetryConfig = TELEMETRY_OFF) -> FastAPI:
    app, numbers = FastAPI(telemetry=telemetry), itertools.count(10_000)  # of one length
    kept = [Depends(cache_response(ttl_seconds=60))]

    @app.get("/pages/{n}", dependencies=kept)
    async def page(n: int, response: Response, q: str = "") -> dict[str, Any]:
        response.headers["x-100%"] = "%b %% %s"
        return {"n": n, "q": q, "run": next(numbers), "text": "word " * 200}

    @app.get("/html", dependencies=kept)
    async def html() -> Response:
        return Response("<p>100 %</p>", media_type="text/html")

    @app.get("/gone", status_code=404, dependencies=kept)
    async def gone() -> str:
        return "no"

    @app.get("/dated", dependencies=kept)
    async def dated(response: Response) -> str:
        response.headers["date"] = "Thu, 26 Nov 2026 09:00:00 GMT"
        return "own date"

    @app.get("/named", dependencies=kept)
    async def named(response: Response) -> str:
        response.headers["x-request-id"] = "own"
        return "own name"

    @app.get("/long", dependencies=kept)
    async def long() -> Response:
        return Response(b"x" * 100_000)

    @app.get("/tongues", dependencies=kept)
    async def tongues(accept_language: Annotated[str, Header()] = "") -> str:
        return accept_language

    @app.get("/plain")
    async def plain() -> int:
        return 1

    @app.put("/pages/{n}")
    async def write(n: int) -> int:
        return n

    return app


class Seen(NamedTuple):
    answer: bytes
    lines: list[dict[str, Any]]
    requests: int
    hits: int


class Both:
    """The service and what is seen of it."""

    def __init__(self, service: Service, app: Any) -> None:
        self.service, self._app = service, app
        self.instants = 0
        self.lines: list[dict[str, Any]] = []
        answer = service.instant.answer

        def counted(*request: Any) -> Any:
            given = answer(*request)
            self.instants += given is not None
            return given

        service.instant.answer = counted  # type: ignore[method-assign, assignment]
        service.ended.write = lambda events: self.lines.extend(fields for _, fields in events)

    def connect(self, *, instant: bool = True) -> Client:
        answers = self.service.instant if instant else NeverInstant()
        client = Client(self._app, instant=answers)
        client.state.default_headers = [DATE]
        client.protocol.client = ("192.0.2.7", 5)
        return client

    async def ask(self, request: bytes, *, instant: bool = True) -> bytes:
        answer = await self.connect(instant=instant).ask(request)
        await asyncio.sleep(0)
        return answer

    async def seen(self, request: bytes, *, instant: bool) -> "Seen":
        """Return an answer and what was counted for it, without what differs between any two."""
        self.lines.clear()
        before = self.counts()
        answer = VARYING.sub(b"", await self.ask(request, instant=instant))
        if b"; fwd=" in answer:
            answer = RUN.sub(b"", answer)
        requests, hits = (now - then for now, then in zip(self.counts(), before, strict=True))
        return Seen(answer, told(self.lines), requests, hits)

    def counts(self) -> tuple[int, int]:
        caches = self.service.cache.metrics.counts().values()
        return self.service.requests.total, sum(one["local"]["hits"] for one in caches)

    async def asked_often(self, target: bytes, *fields: bytes) -> bytes:
        """Return the answer of the fourth time, which is the first that can be instant."""
        for _ in range(3):  # made, taken into the local tier, learned
            await self.ask(get(target, *fields))
        return await self.ask(get(target, *fields))


def get(target: bytes = b"/pages/1", *fields: bytes) -> bytes:
    return b"\r\n".join([b"GET %b HTTP/1.1" % target, b"host: localhost", *fields, b"", b""])


@contextlib.asynccontextmanager
async def both(make_settings, app=None, **options):
    service = Service(make_settings(Settings, **options))
    app = make_app() if app is None else app
    service.install(app)
    # Whatever else this machine has to do: a worker under pressure answers nothing at once.
    service.pressure.calm = lambda: True  # type: ignore[method-assign]
    serve = entrance(app)
    async with Lifespan(serve):
        await asyncio.sleep(0.05)
        yield Both(service, serve)


def told(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return lines of the log without what differs between any two requests."""
    return [
        {name: value for name, value in line.items() if name != "duration_ms"}
        | {"request_id": re.sub(MADE, "", line["request_id"])}
        for line in lines
    ]
