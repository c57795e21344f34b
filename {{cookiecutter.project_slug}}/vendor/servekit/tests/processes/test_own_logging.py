"""What a module logs, draws and tunes as its authors always did, in a real service."""

import json
import time
from typing import Any

import httpx2
import pytest
import websockets

from servekit.testing import patience

MAIN = """
import sys
from servekit import main
sys.exit(main("logging_app.app:create_app", settings="servekit:Settings"))
"""
APP = """
import contextlib, gc, logging, sys, types
import structlog
from fastapi import FastAPI, WebSocket
from servekit import Service

gc.set_threshold(5_000, 3, 4)
numpy_random = types.ModuleType("numpy.random")
numpy_random.seeds = 0
def seed(): numpy_random.seeds += 1
numpy_random.seed = seed
sys.modules["numpy.random"] = numpy_random
class Heard(logging.Handler):
    def emit(self, record):
        print("heard", record.getMessage().strip(), record.exc_info[0].__name__)
handler = Heard(level="ERROR")
logging.getLogger().addHandler(handler)
log = structlog.get_logger(__name__)
log.info("at import")
{at_import}

def create_app(settings):
    log.info("in create_app")

    @contextlib.asynccontextmanager
    async def lifespan(app):
        log.info("in the lifespan")
        {in_lifespan}
        yield

    app = FastAPI(lifespan=lifespan)
    Service(settings).install(app)

    @app.get("/said")
    async def said() -> list[int]:
        log.info("in a route")
        for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
            logging.getLogger(name).info("of mine")
            logging.getLogger(name).debug("of mine, hidden")
        return [numpy_random.seeds, *gc.get_threshold()]

    @app.websocket("/echo")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())
        await socket.close()

    @app.get("/fails")
    async def fails() -> None:
        raise KeyError

    @app.websocket("/broken")
    async def broken(socket: WebSocket) -> None:
        await socket.accept()
        raise ValueError

    return app
"""
CONFIGURE = (
    "structlog.configure(processors=(lambda _, name, fields: f'mine {fields[\"event\"]}',),"
    " logger_factory=structlog.PrintLoggerFactory(), cache_logger_on_first_use=True);"
    " logging.getLogger().setLevel('DEBUG')"
)


@pytest.fixture
def start(start_service, tmp_path):
    def start(*, at_import: str = "", in_lifespan: str = "", **settings: Any) -> Any:
        package = tmp_path / "logging_app"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(MAIN)
        text = APP.replace("{at_import}", at_import).replace("{in_lifespan}", in_lifespan)
        (package / "app.py").write_text(text)
        return start_service("logging_app", folder=tmp_path, PYTHONUNBUFFERED=1, **settings)

    return start


def records(service: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in service.log.splitlines() if line.startswith("{")]


async def exchange(service: Any, path: str) -> None:
    async with websockets.connect(f"ws{service.url[4:]}{path}") as socket:
        await socket.send("hello")
        async for _ in socket:
            pass


async def test_named_loggers_and_uvicorns_work_in_workers_as_under_uvicorn(start):
    service = start(WORKERS=2)
    assert httpx2.get(f"{service.url}/said", timeout=patience(5)).json() == [1, 5_000, 3, 4]
    await exchange(service, "/echo")
    assert service.stop() == 0

    lines = records(service)
    named = [(line["event"], "worker" in line) for line in lines if "logger" in line]
    for expected in ("at import", "in create_app"):
        assert (expected, False) in named
    for expected in ("in the lifespan", "in a route"):
        assert (expected, True) in named
    uvicorns = [line for line in lines if str(line.get("logger", "")).startswith("uvicorn")]
    assert [(line["logger"], line["event"], line["level"]) for line in uvicorns] == [
        (name, "of mine", "info")
        for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
    ]


async def test_uvicorns_and_its_websockets_own_words_stay_away_at_every_level(start):
    service = start(WORKERS=1, LOG_LEVEL="debug")
    await exchange(service, "/echo")
    assert service.stop() == 0

    said = {line["event"] for line in records(service) if line.get("logger") == "uvicorn.error"}
    assert said == set()


@pytest.mark.parametrize("place", ["at_import", "in_lifespan"])
async def test_what_a_user_tells_structlog_and_logging_stands_in_workers(start, place):
    service = start(WORKERS=1, **{place: CONFIGURE})
    httpx2.get(f"{service.url}/said", timeout=patience(5))
    assert httpx2.get(f"{service.url}/fails", timeout=patience(5)).status_code == 500
    with pytest.raises(websockets.ConnectionClosedError):
        await exchange(service, "/broken")
    deadline = time.monotonic() + patience(5)
    while len(service.events("unhandled_exception")) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)  # noqa: ASYNC251 - nothing else runs here
    assert service.stop() == 0

    assert "mine in a route" in service.log.splitlines()
    assert len(service.events("of mine, hidden")) == 4
    for line in service.events("unhandled_exception"):
        assert line["worker"] == 0
        assert line["timestamp"]
    for name in ("KeyError", "ValueError"):
        assert service.log.splitlines().count(f"heard Exception in ASGI application {name}") == 1
