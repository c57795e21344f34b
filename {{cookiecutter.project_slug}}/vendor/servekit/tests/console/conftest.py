import pytest

APPLICATION = """
import asyncio, time
import structlog
from fastapi import FastAPI
from servekit import Service, Settings, main

log = structlog.get_logger()

def create_app(settings: Settings) -> FastAPI:
    service = Service(settings)
    app = FastAPI()
    service.install(app)

    @app.get("/wait/{what}")
    async def wait(what: str) -> None:
        await asyncio.sleep(60)

    @app.get("/block/{seconds}")
    async def block(seconds: float) -> None:
        time.sleep(seconds)

    @app.get("/chat")
    async def chat() -> None:
        log.debug("chatted")

    return app

if __name__ == "__main__":
    raise SystemExit(main("looked_at:create_app", settings="servekit:Settings"))
"""


@pytest.fixture
def start_looked_at(start_service, tmp_path):
    """Return what starts a service with two workers, to be looked at in its console."""
    (tmp_path / "looked_at.py").write_text(APPLICATION)

    def start(**environment):
        return start_service("looked_at", folder=tmp_path, **environment)

    return start
