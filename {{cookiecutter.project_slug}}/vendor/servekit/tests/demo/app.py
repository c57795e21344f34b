from typing import Annotated

from fastapi import Depends, FastAPI, WebSocket
from starlette.requests import HTTPConnection

from servekit import Service, settings_for_other_server
from servekit.cache import CacheDep
from servekit.dependencies import get_settings
from servekit.sessions import SessionDep, UserDep

from .settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    settings = settings or settings_for_other_server(Settings)
    service = Service(settings)
    app = FastAPI(telemetry=service.telemetry)
    service.install(app)

    @app.get("/")
    async def greet(settings: Annotated[Settings, Depends(get_settings)]) -> str:
        return settings.greeting[: settings.greeting_length]

    @app.get("/peer")
    async def peer(request: HTTPConnection) -> list[str | None]:
        return [request.client and request.client.host, (request["server"] or [None])[0]]

    @app.websocket("/peer")
    async def peer_of_websocket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json(await peer(websocket))
        await websocket.close()

    @app.put("/kept/{name}")
    async def keep(name: str, value: int, cache: CacheDep) -> None:
        await cache.set(name, value, ttl_seconds=60)

    @app.get("/kept/{name}")
    async def kept(name: str, cache: CacheDep) -> int | None:
        found: int | None = await cache.get(name, int)
        return found

    @app.post("/session/{user}")
    async def log_in(user: str, session: SessionDep) -> None:
        await session.login(user)

    @app.get("/session")
    async def who(user: UserDep) -> str:
        return user

    return app
