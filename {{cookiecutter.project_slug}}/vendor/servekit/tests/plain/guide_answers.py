"""Features of FastAPI's user guide: what a route gives back, and what runs around it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import (
    BackgroundTasks,
    Depends,
    FastAPI,
    HTTPException,
    Request,
    Response,
    status,
)
from fastapi.encoders import jsonable_encoder
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from starlette.endpoints import HTTPEndpoint
from starlette.routing import Route

FOLDER = Path(__file__).parent


class Plane(BaseModel):
    kind: Literal["plane"] = "plane"
    seats: int = Field(default=2, alias="places")


class Car(BaseModel):
    kind: Literal["car"] = "car"
    wheels: int = 4


def models() -> FastAPI:
    app = FastAPI(title="Models", summary="Of answers.", openapi_tags=[{"name": "t"}])

    @app.get("/plane", response_model=Plane, response_model_exclude_none=True, tags=["t"])
    async def plane() -> Any:
        return {"places": "3", "secret": 1}

    @app.get("/either/{kind}")
    async def either(kind: str) -> Plane | Car:
        return Car() if kind == "car" else Plane(places=9)

    @app.get("/set", response_model_exclude_unset=True)
    async def only_set() -> Plane:
        return Plane(places=1)

    @app.get("/broken", response_model=Plane)
    async def broken() -> Any:
        return {"places": "many"}

    @app.get("/untyped")
    async def untyped():
        return {"set": {1}, "plane": Plane(), "none": None}

    @app.get("/encoded")
    async def encoded() -> JSONResponse:
        return JSONResponse(jsonable_encoder(Plane(), by_alias=False))

    @app.get("/documented", responses={404: {"model": Car}}, deprecated=True, operation_id="own")
    def documented() -> list[Car]:
        return [Car()]

    return app


def kinds() -> FastAPI:
    app = FastAPI()
    app.mount("/static", StaticFiles(directory=FOLDER), name="static")
    app.routes.append(Route("/endpoint", Endpoint))

    @app.delete("/nothing", status_code=status.HTTP_204_NO_CONTENT)
    async def nothing() -> None:
        return None

    @app.get("/page", response_class=HTMLResponse)
    async def page(request: Request) -> str:
        return f"<a href='{request.url_for('static', path='asks.py').path}'>é</a>"

    @app.get("/moved", response_class=RedirectResponse, status_code=302)
    async def moved() -> str:
        return "/page"

    @app.get("/file")
    async def file() -> FileResponse:
        return FileResponse(FOLDER / "__init__.py", filename="a b.py", headers={"x-own": "1"})

    @app.get("/lines")
    async def lines() -> AsyncIterator[Car]:
        for wheels in range(3):
            yield Car(wheels=wheels)

    @app.get("/cookies")
    async def cookies(response: Response) -> str:
        response.set_cookie("a", "1", httponly=True, max_age=5)
        response.set_cookie("b", "2", secure=True, samesite="none")
        response.headers["x-own"] = "1"
        response.status_code = 201
        return "set"

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, {"why": ["short", "stout"]}, headers={"x-why": "1"})

    return app


class Endpoint(HTTPEndpoint):
    async def get(self, _: Request) -> Response:
        return Response("endpoint", media_type="text/plain")


def around_a_route() -> FastAPI:
    app = FastAPI()
    app.state.said = []

    def lent() -> Iterator[str]:
        app.state.said = ["opened"]
        try:
            yield "lent"
        except HTTPException:
            app.state.said.append("failed")
            raise
        finally:
            app.state.said.append("closed")

    @app.get("/lent")
    def borrowed(what: Annotated[str, Depends(lent)], tasks: BackgroundTasks) -> str:
        tasks.add_task(app.state.said.append, "later")
        return what

    @app.get("/failing")
    async def failing(what: Annotated[str, Depends(lent)]) -> str:
        raise HTTPException(409, what)

    @app.get("/early")
    async def early(what: Annotated[str, Depends(lent, scope="function")]) -> str:
        return what

    @app.get("/said")
    async def said() -> list[str]:
        return list(app.state.said)

    return app
