"""Ways in which a cached route may learn who asks: generated, from places, reads and positions."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Security
from fastapi.responses import StreamingResponse
from starlette.datastructures import Headers, QueryParams
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from servekit.response_cache.layer import cache_response
from servekit.sessions.layer import load_session
from tests.response_cache.declarations import declarations
from tests.response_cache.left import LEFT, Leaving, Read

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def by_name(values: Callable[[Request], Any], name: str) -> dict[str, Read]:
    """Return every way to ask a mapping for a name, and those that look at all it has."""
    return {
        "[]": lambda request: values(request)[name],
        "get": lambda request: values(request).get(name),
        "in": lambda request: values(request)[name] if name in values(request) else None,  # noqa: SIM401 - a way
        "items": lambda request: dict(values(request).items()).get(name),
        "values": lambda request: list(values(request).values()),
        "dict": lambda request: dict(values(request)),
        "repr": lambda request: repr(values(request)),
        "each": lambda request: [values(request).get(key) for key in values(request)],
    }


def of_header(name: str) -> dict[str, Read]:
    """Return every way to read a header."""
    raw = name.lower().encode()
    return {
        **by_name(lambda request: request.headers, name),
        "getlist": lambda request: request.headers.getlist(name),
        "raw": lambda request: request.headers.raw,
        "mutable": lambda request: request.headers.mutablecopy().get(name),
        "Headers": lambda request: Headers(scope=request.scope).get(name),
        "scope": lambda request: dict(request.scope["headers"]).get(raw),
        "loop": lambda request: [value for key, value in request.scope["headers"] if key == raw],
        "connection": lambda request: HTTPConnection(request.scope).headers.get(name),
        "own request": lambda request: Request(request.scope).headers.get(name),
        "copy": lambda request: Request(dict(request.scope)).headers.get(name),
    }


def places() -> dict[str, dict[str, Read]]:
    """Return every place that tells who asks, with the ways to read it by hand."""
    found: dict[str, dict[str, Read]] = {}
    for name in ("authorization", "x-user", "cookie", "x-forwarded-for", "User-Agent"):
        found[f"header {name}"] = of_header(name)
    found["cookie"] = by_name(lambda request: request.cookies, "user")
    found["query"] = {
        **by_name(lambda request: request.query_params, "user"),
        "getlist": lambda request: request.query_params.getlist("user"),
        "multi": lambda request: request.query_params.multi_items(),
        "url": lambda request: str(request.url),
        "scope": lambda request: QueryParams(request.scope["query_string"]).get("user"),
        "text": lambda request: request.scope["query_string"].decode(),
    }
    found["client"] = {
        "host": lambda request: request.client and request.client.host,
        "scope": lambda request: request.scope["client"],
        "get": lambda request: request.get("client"),
    }
    found["scope"] = {
        "repr": lambda request: repr(dict(request)),
        "http_version": lambda request: request["http_version"],
        "extensions": lambda request: request["extensions"],
    }
    found["body"] = {
        "body": lambda request: request.body(),
        "stream": lambda request: anext(aiter(request.stream())),
    }
    found["session"] = {
        "ours": our_session,
        "starlette": lambda request: request.session.get("user"),
    }
    return found


async def our_session(request: Request) -> str | None:
    return (await load_session(request)).user_id


async def read_by(read: Read, request: Request) -> str:
    """Return what was read, as text; "" for nothing."""
    found = read(request)
    if isinstance(found, Awaitable):
        found = await found
    return "" if found is None else str(found)


@dataclass
class Way:
    """An application with one route; where it says what it reads, each user gets his own answer."""

    name: str
    app: FastAPI
    is_declared: bool = False


LEAVING = ("left by a middleware", "left for a thread")
DECLARED = (
    *("declared parameter", "declared on the route", "declared on the router"),
    *("declared on the application", "declared security", "declared deep inside"),
)


def ways(position: str) -> Iterator[Way]:
    """Yield an application for each way that fits a position: by hand, or declared there."""
    if position in LEAVING:
        yield from leaving(threaded="thread" in position)
        return
    if position in DECLARED:
        for name, (dependency, vary) in declarations().items():
            app = declaring(position, dependency, vary)
            yield Way(f"{name} of {position}", app, is_declared=True)
        return
    for place, reads in places().items():
        for how, read in reads.items():
            app = FastAPI()
            BY_HAND[position](app, read)
            yield Way(f"{place} by {how} in {position}", app)


def page(app: FastAPI | APIRouter, *vary: str, **options: Any) -> Decorator:
    """Return the decorator of the one route, whose answers are cached."""
    dependencies = [Depends(cache_response(ttl_seconds=60, vary=vary))]
    return app.get("/", dependencies=[*dependencies, *options.pop("dependencies", ())], **options)


def in_route(app: FastAPI, read: Read) -> None:
    @page(app)
    async def route(request: Request) -> str:
        return await read_by(read, request)


def in_untyped_route(app: FastAPI, read: Read) -> None:
    @page(app, response_model=None)
    async def route(request: Request) -> Any:
        try:
            return {"user": await read_by(read, request)}
        except KeyError:
            return None


def in_dependency(app: FastAPI, read: Read) -> None:
    async def who(request: Request) -> str:
        return await read_by(read, request)

    async def greeting(user: Annotated[str, Depends(who)]) -> AsyncIterator[str]:
        yield f"hello {user}"

    @page(app)
    async def route(text: Annotated[str, Depends(greeting)]) -> str:
        return text


def in_router(app: FastAPI, read: Read) -> None:
    async def note(request: Request) -> None:
        request.state.user = await read_by(read, request)

    router = APIRouter(dependencies=[Depends(note)])

    @page(router)
    async def route(request: Request) -> str:
        return str(request.state.user)

    app.include_router(router)


def in_stream(app: FastAPI, read: Read) -> None:
    @page(app)
    async def route(request: Request) -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            yield "hello "
            yield await read_by(read, request)

        return StreamingResponse(pieces())


def in_middleware(app: FastAPI, read: Read) -> None:
    async def note(request: Request, call_next: Any) -> Any:
        request.state.user = await read_by(read, request)
        return await call_next(request)

    app.add_middleware(BaseHTTPMiddleware, dispatch=note)

    @page(app)
    async def route(request: Request) -> str:
        return str(request.state.user)


class Noting:
    """A pure ASGI middleware that notes who asks in a header of the answer."""

    def __init__(self, app: ASGIApp, *, read: Read) -> None:
        self.app = app
        self.read = read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            user = await read_by(self.read, Request(scope, receive))

            async def noted(message: Any) -> None:
                if message["type"] == "http.response.start":
                    value = user.encode("latin-1", "replace").replace(b"\n", b" ")
                    message["headers"] = [*message["headers"], (b"x-noted", value)]
                await send(message)

            await self.app(scope, receive, noted)
        else:
            await self.app(scope, receive, send)


def in_asgi(app: FastAPI, read: Read) -> None:
    app.add_middleware(Noting, read=read)

    @page(app)
    async def route() -> str:
        return "hello"


def in_blocking_route(app: FastAPI, read: Read) -> None:
    @page(app)
    def route(request: Request) -> str:
        return str(read(request))


def leaving(threaded: bool) -> Iterator[Way]:
    """Yield an application for each of them."""
    for name, (leave, read) in LEFT.items():
        app = FastAPI()
        app.add_middleware(Leaving, leave=leave)
        if threaded:
            in_blocking_route(app, read)
        else:
            in_route(app, read)
        yield Way(f"{name} left by a middleware", app)


BY_HAND: dict[str, Callable[[FastAPI, Read], None]] = {
    "route": in_route,
    "untyped route": in_untyped_route,
    "dependency": in_dependency,
    "router": in_router,
    "stream": in_stream,
    "middleware": in_middleware,
    "asgi": in_asgi,
}


def declaring(position: str, dependency: Callable[..., Any], vary: tuple[str, ...]) -> FastAPI:
    """Return an application with one route that gets who asks from a dependency."""

    async def note(request: Request, user: Annotated[Any, Depends(dependency)]) -> Any:
        request.state.user = user
        return user

    async def noted(request: Request) -> str:
        return str(request.state.user)

    above = {"dependencies": [Depends(note)]}
    app = FastAPI(**above if position == "declared on the application" else {})  # type: ignore[arg-type]
    router = APIRouter(**above if position == "declared on the router" else {})  # type: ignore[arg-type]
    if "on the" not in position:
        needs = Security if position == "declared security" else Depends
        inner = note if position == "declared deep inside" else dependency

        async def given(user: Any = needs(inner)) -> str:  # noqa: B008 - FastAPI's way
            return str(user)

        page(router, *vary)(given)
    else:
        page(router, *vary, **above if position == "declared on the route" else {})(noted)
    app.include_router(router)
    return app
