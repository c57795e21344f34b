import os
import signal
import time

import httpx2
from running import patience

LATE = """
import asyncio
import os
import sys
from contextlib import asynccontextmanager

from fastapi import FastAPI
from servekit import Service, Settings, main


@asynccontextmanager
async def lifespan(_):
    try:
        os.mkdir("first")
    except FileExistsError:
        await asyncio.sleep(2)
    yield


def create_app(settings: Settings) -> FastAPI:
    app = FastAPI(lifespan=lifespan)
    Service(settings).install(app)
    return app


if __name__ == "__main__":
    sys.exit(main("late:create_app", settings="servekit:Settings"))
"""


def test_a_service_has_started_for_these_tests_when_its_last_worker_is_ready(
    start_service, tmp_path
):
    (tmp_path / "late.py").write_text(LATE)
    service = start_service(module="late", PYTHONPATH=tmp_path, WORKERS=2)
    assert [worker["state"] for worker in service.workers()] == ["ready"] * 2


def ready(service) -> dict[int, int]:
    """Return the pid of each slot that is ready."""
    return {each["slot"]: each["pid"] for each in service.workers() if each["state"] == "ready"}


def test_a_killed_worker_is_replaced_and_the_other_serves_on(start_service):
    service = start_service(WORKERS=2)
    before = ready(service)
    os.kill(before[0], signal.SIGKILL)

    deadline = time.monotonic() + patience(20)
    while (now := ready(service)).keys() != {0, 1} or now[0] == before[0]:
        assert time.monotonic() < deadline
        assert httpx2.get(f"{service.base_url}/livez", timeout=patience(5)).status_code == 200
        time.sleep(0.01)
    assert now[1] == before[1]
