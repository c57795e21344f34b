"""DEBUG is asyncio's debug mode in workers, and nothing of the library complains there."""

import json
import urllib.error
import urllib.request

import pytest

from servekit.testing import patience

APPLICATION = """
import asyncio

from fastapi import FastAPI
from servekit import Service, Settings, main
from servekit.cache import cached
from servekit.sessions import SessionDep

@cached("slowly:{number}", ttl_seconds=60)
async def slowly(number: int) -> int:
    return number

def create_app(settings: Settings) -> FastAPI:
    service = Service(settings)
    app = FastAPI()
    service.install(app)

    @app.get("/")
    async def index(session: SessionDep) -> bool:
        await slowly(1)
        return asyncio.get_running_loop().get_debug()

    @app.get("/def")
    def threaded() -> int:
        return 1

    return app

if __name__ == "__main__":
    raise SystemExit(main("debugged:create_app", settings="servekit:Settings"))
"""


@pytest.mark.parametrize("debug", [True, False])
def test_debug_is_asyncios_debug_mode_too(start_service, tmp_path, debug):
    (tmp_path / "debugged.py").write_text(APPLICATION)
    service = start_service("debugged", folder=tmp_path, WORKERS=1, DEBUG=debug)
    for path in ["", "def", "absent", ""]:
        try:
            with urllib.request.urlopen(f"{service.url}/{path}", timeout=patience(10)) as answer:
                said = json.load(answer)
        except urllib.error.HTTPError as error:
            error.close()
    assert said is debug
    service.stop()
    assert '"level":"error"' not in service.log
