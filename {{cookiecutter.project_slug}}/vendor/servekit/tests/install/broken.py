"""An application that fails, and a client of it."""

import httpx2
from fastapi import FastAPI
from starlette.exceptions import HTTPException


def client(app) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://localhost")


def broken_application(**options) -> FastAPI:
    app = FastAPI(**options)

    @app.get("/broken")
    async def broken() -> None:
        raise ValueError("hunter2")

    @app.get("/refused")
    async def refused() -> None:
        raise HTTPException(403, "no")

    return app
