import asyncio
import sys

import httpx2
import pytest
from fastapi import APIRouter, FastAPI
from structlog.contextvars import bound_contextvars

from servekit.layers.running_request import running_request
from servekit.scope import REQUEST_ID_KEY


def here():
    return running_request(sys._getframe(1), asyncio.current_task())


async def test_a_handler_is_named_by_its_route_template_and_request_id():
    api, router, found = FastAPI(), APIRouter(), []

    @router.get("/items/{item_id}")
    async def read(item_id: int) -> int:
        found.append(here())
        return item_id

    api.include_router(router, prefix="/api")

    async def with_id(scope, receive, send):
        scope[REQUEST_ID_KEY] = "r-1"
        await api(scope, receive, send)

    transport = httpx2.ASGITransport(with_id)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        await client.get("/api/items/7")
    assert found == [{"route": "/api/items/{item_id}", "request_id": "r-1"}]


async def test_code_outside_a_request_is_nobodys():
    assert here() == {}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks show their context from 3.12 on")
async def test_a_task_that_a_handler_started_carries_the_request_id():
    async def child():
        return here()

    with bound_contextvars(request_id="r-2"):
        assert await asyncio.create_task(child()) == {"request_id": "r-2"}
