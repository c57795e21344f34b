"""Whatever the table of routes, a compiled application chooses and answers as FastAPI does."""

from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, WebSocket
from fastapi.exceptions import FastAPIError
from fastapi.responses import JSONResponse
from hypothesis import Phase, given, reject, settings, strategies as st
from starlette.routing import Host, Mount, Route, Router
from starlette.types import Message, Scope

from servekit.routing.compiled import compile_router
from tests.asgi import http_scope

SEGMENTS = ["a", "b", "{x}", "{n:int}", "a{x}", "{x}.json", "{n:float}", "{u:uuid}", "{p:path}"]
METHODS = ["GET", "POST", "HEAD", "OPTIONS", "PUT"]
ASKED = [
    "a",
    "b",
    "7",
    "1.5",
    "ab",
    "a.json",
    "",
    "a\n",
    "é",
    "%",
    "12345678123456781234567812345678",
]


# Without the phase that explains a failure: it traces FastAPI line by line, for minutes.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)


@dataclass(frozen=True)
class Leaf:
    """A route of one of the kinds, with its path and methods."""

    kind: str
    path: str
    methods: tuple[str, ...]


@dataclass(frozen=True)
class Branch:
    """A router that is included, mounted or a sub-application, and what it holds."""

    kind: str
    prefix: str
    children: tuple[Any, ...] = field(default=())


def unique_names(path: str) -> str:
    """Give each parameter of a path a name of its own, as FastAPI demands."""
    parts = []
    for place, segment in enumerate(path.split("/")):
        for name in "xnup":
            segment = segment.replace(f"{{{name}", f"{{{name}{place}")  # noqa: PLW2901 - four letters
        parts.append(segment)
    return "/".join(parts)


paths = st.lists(st.sampled_from(SEGMENTS), max_size=3).map(lambda parts: "/" + "/".join(parts))
slashed = st.tuples(paths, st.booleans()).map(lambda one: one[0] + ("/" if one[1] else ""))
leaves = st.builds(
    Leaf,
    st.sampled_from(["api", "api", "api", "starlette", "websocket", "class"]),
    slashed.map(lambda path: path.replace("//", "/")),
    st.lists(st.sampled_from(METHODS), min_size=1, max_size=2, unique=True).map(tuple),
)
prefixes = st.sampled_from(["", "/a", "/b", "/a/b", "/{t}"])
tables = st.recursive(
    leaves,
    lambda children: st.builds(
        Branch,
        st.sampled_from(
            ["include", "include", "include", "mount", "application", "host", "router"]
        ),
        prefixes,
        st.lists(children, min_size=1, max_size=4).map(tuple),
    ),
    max_leaves=12,
)
requests = st.tuples(
    st.sampled_from([*METHODS, "DELETE", "websocket"]),
    st.lists(st.sampled_from(ASKED), max_size=5).map(lambda parts: "/" + "/".join(parts)),
    st.sampled_from(["", "", "", "/a", "/root"]),
    st.sampled_from(["test", "other.example"]),
)


class Builder:
    """Builds an application from a table; routes are numbered, and say what they were given."""

    def __init__(self, table: list[Any], *, redirect_slashes: bool) -> None:
        self.count = 0
        self.app = FastAPI(openapi_url=None, redirect_slashes=redirect_slashes)
        for one in table:
            self.add(self.app.router, one)

    def add(self, router: APIRouter, one: Any) -> None:
        if isinstance(one, Branch):
            self.add_branch(router, one)
        else:
            self.add_leaf(router, one)

    def add_branch(self, router: APIRouter, branch: Branch) -> None:
        self.count += 1
        prefix = branch.prefix.replace("t", f"t{self.count}")
        if branch.kind == "application":
            application = FastAPI(openapi_url=None)
            for child in branch.children:
                self.add(application.router, child)
            router.mount(prefix, application)
            return
        inner = APIRouter(dependencies=[Depends(self.mark())] if self.count % 2 else None)
        for child in branch.children:
            self.add(inner, child)
        if branch.kind == "mount":
            router.mount(prefix, inner)
        elif branch.kind == "host":
            router.routes.append(Host("other.example", app=inner))
        elif branch.kind == "router":
            router.routes.append(Mount(prefix, app=Router(routes=list(inner.routes))))
        else:
            router.include_router(inner, prefix=prefix)

    def mark(self) -> Any:
        self.count += 1
        number = self.count

        async def note(request: Request = None, socket: WebSocket = None) -> None:  # type: ignore[assignment]
            (request or socket).state.marks = [
                *getattr((request or socket).state, "marks", []),
                number,
            ]

        return note

    def add_leaf(self, router: APIRouter, leaf: Leaf) -> None:
        self.count += 1
        number, path = self.count, unique_names(leaf.path)

        async def endpoint(request: Request) -> dict[str, Any]:
            return told(number, request.scope)

        async def plain(request: Request) -> JSONResponse:
            return JSONResponse(told(number, request.scope))

        async def socket(websocket: WebSocket) -> None:
            await websocket.accept()
            await websocket.send_json(told(number, websocket.scope))
            await websocket.close()

        if leaf.kind == "websocket":
            router.add_api_websocket_route(path, socket)
        elif leaf.kind == "starlette":
            router.routes.append(Route(path, plain, methods=list(leaf.methods)))
        elif leaf.kind == "class":
            router.routes.append(Route(path, Ended(number)))
        else:
            router.add_api_route(path, endpoint, methods=list(leaf.methods))


class Ended:
    """An ASGI application as an endpoint."""

    def __init__(self, number: int) -> None:
        self.number = number

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        await JSONResponse(told(self.number, scope))(scope, receive, send)


def told(number: int, scope: Scope) -> dict[str, Any]:
    """Return what a route can see of how it was found."""
    marks = scope.get("fastapi", {})
    context = marks.get("effective_route_context")
    return {
        "number": number,
        "params": {name: str(value) for name, value in scope["path_params"].items()},
        "root": [scope.get("root_path"), scope.get("app_root_path")],
        "route": getattr(scope.get("route"), "path", None),
        "template": getattr(context, "path", None),
        "router": type(marks.get("included_router")).__name__,
        "marks": scope.get("state", {}).get("marks"),
        "endpoint": getattr(
            scope.get("endpoint"), "__name__", type(scope.get("endpoint")).__name__
        ),
    }


async def ask(app: FastAPI, method: str, path: str, root_path: str, host: str) -> list[Any]:
    messages: list[Any] = []
    scope = http_scope(path, method, headers=[("host", host)], root_path=root_path)
    scope["raw_path"] = path.encode()
    if method == "websocket":
        scope.update({"type": "websocket", "subprotocols": []})

    async def receive() -> Message:
        kind = "websocket.connect" if method == "websocket" else "http.request"
        return {"type": kind, "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        messages.append({**message, "headers": sorted(message.get("headers", ()))})

    try:
        await app(scope, receive, send)
    except Exception as error:  # noqa: BLE001 - the same error is the same answer
        messages.append(repr(error))
    return messages


@settings(max_examples=100, phases=PHASES)
@given(
    st.lists(tables, min_size=1, max_size=5),
    st.lists(requests, min_size=1, max_size=12),
    st.booleans(),
)
async def test_a_compiled_application_chooses_and_answers_as_fastapi(table, asked, redirect):
    try:
        usual, ours = (Builder(table, redirect_slashes=redirect).app for _ in range(2))
    except FastAPIError:  # an empty path below an empty prefix
        reject()
    assert compile_router(ours.router) is not None

    for request in asked:
        assert await ask(ours, *request) == await ask(usual, *request), request


@settings(max_examples=30, phases=PHASES)
@given(
    st.lists(tables, min_size=1, max_size=3),
    st.lists(tables, min_size=1, max_size=3),
    st.lists(requests, min_size=1, max_size=6),
)
async def test_routes_that_are_added_while_it_runs_are_found(first, more, asked):
    try:
        for _ in range(2):  # an empty path below an empty prefix is refused
            Builder([*first, *more], redirect_slashes=True)
    except FastAPIError:
        reject()
    builders = [Builder(first, redirect_slashes=True) for _ in range(2)]
    compile_router(builders[1].app.router)

    for when in ("before", "after"):
        for request in asked:
            usual, ours = [await ask(builder.app, *request) for builder in builders]
            assert ours == usual, (when, request)
        for builder in builders:
            for one in more:
                builder.add(builder.app.router, one)
