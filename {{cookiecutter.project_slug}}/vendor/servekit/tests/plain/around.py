"""What users put around routes: layers, handlers, dependencies, lifespans."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import (
    APIRouter,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Request,
    Response,
)
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from starlette.middleware.cors import CORSMiddleware


class Marks:
    """A pure ASGI layer: it notes itself in a header, and answers `/closed` itself."""

    def __init__(self, app: Any, name: str) -> None:
        self.app, self.name = app, name

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_marked(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-marks", self.name.encode())]
            await send(message)

        if scope["type"] == "http" and scope["path"] == f"/closed-by-{self.name}":
            await PlainTextResponse("closed", 418)(scope, receive, send_marked)
        else:
            await self.app(scope, receive, send_marked)


def layers() -> FastAPI:
    app = FastAPI()
    app.add_middleware(Marks, name="inner")
    app.add_middleware(CORSMiddleware, allow_origins=["https://a.example"])

    @app.middleware("http")
    async def count(request: Request, call_next: Callable[[Request], Any]) -> Response:
        if request.url.path == "/teapot":
            return PlainTextResponse("no coffee", 418)
        response: Response = await call_next(request)
        response.headers["x-asked"] = request.url.path
        return response

    app.add_middleware(Marks, name="outer")

    @app.get("/")
    async def index() -> dict[str, int]:
        return {"a": 1}

    @app.post("/")
    async def write() -> str:
        return "written"

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("broken")

    return app


class OwnError(Exception):
    pass


def handlers() -> FastAPI:
    app = FastAPI()

    @app.exception_handler(Exception)
    async def on_any(request: Request, error: Exception) -> Response:
        return PlainTextResponse(f"any: {error!r} at {request.url.path}", 500)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        return PlainTextResponse(f"http: {error.detail}", error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        return PlainTextResponse(f"invalid: {error.errors()[0]['loc']}", 400)

    @app.exception_handler(OwnError)
    async def on_own(request: Request, error: OwnError) -> Response:
        return PlainTextResponse("own", 409)

    @app.exception_handler(404)
    async def on_nowhere(request: Request, error: Exception) -> Response:
        return PlainTextResponse("nowhere", 404)

    @app.get("/raise/{what}")
    async def fail(what: str) -> None:
        errors = {"own": OwnError(), "http": HTTPException(403, "no", {"x-why": "so"})}
        raise errors.get(what, ValueError(what))

    @app.get("/numbers/{number}")
    async def number(number: int) -> int:
        return number

    return app


async def demand_key(x_key: Annotated[str, Header()] = "") -> None:
    if x_key != "good":
        raise HTTPException(401, "Who are you?", {"www-authenticate": "Key"})


def give_word() -> str:
    return "real"


def other_word() -> str:
    return "override"


async def lend(response: Response) -> AsyncIterator[list[str]]:
    response.headers["x-lent"] = "yes"
    yield ["taken"]


def dependencies() -> FastAPI:
    app = FastAPI(dependencies=[Depends(demand_key)])
    app.dependency_overrides[give_word] = other_word
    router = APIRouter(prefix="/inner", dependencies=[Depends(demand_key)])

    @app.get("/")
    async def index() -> str:
        return "in"

    @app.get("/word")
    async def word(word: Annotated[str, Depends(give_word)]) -> str:
        return word

    @app.get("/lent")
    async def lent(things: Annotated[list[str], Depends(lend)]) -> list[str]:
        return things

    @router.get("/")
    def blocking() -> str:
        return "a plain function"

    app.include_router(router)
    return app


@contextlib.asynccontextmanager
async def own_lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
    app.state.opened = ["application"]
    yield {"of_application": "a"}


@contextlib.asynccontextmanager
async def router_lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
    app.state.opened.append("router")
    yield {"of_router": "r"}


def lifespans() -> FastAPI:
    app = FastAPI(lifespan=own_lifespan)
    router = APIRouter(lifespan=router_lifespan)

    @router.get("/")
    async def index(request: Request) -> list[str]:
        state = request.state
        return [*request.app.state.opened, state.of_application, state.of_router]

    app.include_router(router)
    return app
