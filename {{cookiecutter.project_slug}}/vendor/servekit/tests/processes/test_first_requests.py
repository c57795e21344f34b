"""A worker imports nothing in the middle of a first request, while all others would wait."""

import shutil
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets

from servekit.testing import patience

FOLDER = Path(__file__).parents[1] / "first"
READS = [
    "/plain", "/plain?number=x", "/in-a-thread", "/large", "/broken", "/stream", "/events", "/file",
    "/static/app.py", "/static/nowhere", "/inner/plain", "/inner/nowhere", "/nowhere", "/cached",
    "/cached-function", "/threads", "/processes", "/database", "/upstream", "/docs",
    "/openapi.json", "/livez",
]  # fmt: skip
WRITES: dict[str, dict[str, Any]] = {
    "/json": {"json": [1]},
    "/form": {"data": {"name": "x"}},
    "/upload": {"files": {"file": b"x" * 2_000}},
    "/session": {},
}
CODINGS = ["gzip", "br", "zstd"]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WORKER_START_METHOD": "spawn"},
        {"RATE_LIMIT_PER_MINUTE": 9999, "TRUSTED_PROXY_HOPS": 1, "CORS_ORIGINS": "https://a.b"},
    ],
)
async def test_no_first_request_imports_anything(start_service, tmp_path, environment):
    shutil.copytree(FOLDER, tmp_path / "first")
    service = start_service("first", folder=tmp_path, WORKERS=1, **environment)
    async with httpx2.AsyncClient(base_url=service.url, timeout=patience(10)) as client:
        imported: dict[str, list[str]] = {}
        before = set((await client.get("/modules")).json())

        async def look(kind: str) -> None:
            nonlocal before
            after = set((await client.get("/modules")).json())
            imported[kind] = sorted(after - before)
            before = after

        for path in READS:
            await client.get(path)
            await look(path)
        for coding in CODINGS:
            await client.get("/large", headers={"accept-encoding": coding})
            await look(coding)
        for path, given in WRITES.items():
            assert (await client.post(path, **given)).status_code == 200, path
            await look(path)
        async with websockets.connect(service.url.replace("http", "ws") + "/socket") as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"
        await look("a socket")
    assert {kind: modules for kind, modules in imported.items() if modules} == {}
