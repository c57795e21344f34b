import httpx2
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette

from servekit.routing.routes import read_routes
from servekit.routing.template import allowed_methods, route_template
from tests.asgi import http_scope


async def test_the_template_of_a_nested_router_is_whole_and_an_unmatched_path_has_none():
    seen = []
    inner, outer, app = APIRouter(), APIRouter(), FastAPI()

    @inner.get("/items/{item_id}")
    async def item(item_id: int) -> int:
        return item_id

    @app.get("/plain/{name}")
    async def plain(name: str) -> str:
        return name

    outer.include_router(inner, prefix="/v1")
    app.include_router(outer, prefix="/api")

    async def watched(scope, receive, send):
        await app(scope, receive, send)
        seen.append(route_template(scope))

    transport = httpx2.ASGITransport(app=watched)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        await client.get("/api/v1/items/7")
        await client.get("/plain/x")
        await client.get("/nowhere")
    assert seen == ["/api/v1/items/{item_id}", "/plain/{name}", ""]


def test_the_methods_of_a_path_are_those_of_all_routes_of_its_first_template():
    app = FastAPI()

    @app.get("/items/new", include_in_schema=False)
    @app.post("/items/new")
    @app.get("/items/{item_id}")
    @app.put("/items/{item_id}")
    async def item() -> None:
        """Decorators apply from the last to the first: so do the routes."""

    reversed_routes = read_routes(Starlette(routes=list(reversed(app.routes))))

    assert allowed_methods(read_routes(app), http_scope("/items/7")) == ["GET", "PUT"]
    assert allowed_methods(reversed_routes, http_scope("/items/new")) == ["POST"]
    assert allowed_methods(read_routes(app), http_scope("/nowhere")) == []
