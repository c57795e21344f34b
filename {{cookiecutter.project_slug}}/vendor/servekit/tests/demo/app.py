from typing import Annotated

from fastapi import Depends, FastAPI

from servekit import Service
from servekit.cache import CacheDep
from servekit.dependencies import get_settings
from servekit.sessions import SessionDep, UserDep

from .settings import Settings


def create_app(settings: Settings) -> FastAPI:
    service = Service(settings)
    app = FastAPI(telemetry=service.telemetry)
    service.install(app)

    @app.get("/")
    async def greet(settings: Annotated[Settings, Depends(get_settings)]) -> str:
        return settings.greeting[: settings.greeting_length]

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
