"""A login that was done stays done, whoever answers the request in the end."""

import asyncio

import httpx2
import pytest
from fastapi import FastAPI

from servekit import Service, Settings
from servekit.sessions import SessionDep
from servekit.testing.lifespan import Lifespan


@pytest.mark.parametrize("end", ["an exception", "its time"])
@pytest.mark.parametrize("way", ["login", "rotate"])
async def test_the_cookie_of_a_new_id_leaves_with_the_answer_to_a_failed_route(
    make_settings, end, way
):
    app = FastAPI()
    chosen = {"timeout_request_seconds": 0.3, "session_rotation_grace_seconds": 0}
    Service(make_settings(Settings, **chosen)).install(app)

    @app.post("/cart")
    async def cart(session: SessionDep) -> None:
        session["cart"] = [1]

    @app.post("/renew")
    async def renew(session: SessionDep) -> None:
        await (session.login("7") if way == "login" else session.rotate())
        if end == "an exception":
            raise ZeroDivisionError
        await asyncio.sleep(9)

    @app.get("/seen")
    async def seen(session: SessionDep) -> list[object]:
        return [session.user_id, session.get("cart")]

    async with Lifespan(app) as running:
        transport = httpx2.ASGITransport(running, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="https://localhost") as client:
            await client.post("/cart")
            answer = await client.post("/renew")
            assert answer.status_code == (500 if end == "an exception" else 504)
            assert "set-cookie" in answer.headers
            await asyncio.sleep(0.05)
            found = (await client.get("/seen")).json()
            assert found == ["7" if way == "login" else None, [1]]
