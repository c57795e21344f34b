import asyncio
import contextlib

import pytest

from servekit.testing import patience

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG = {"workers": 1, "limits": {"connections": 20}}


async def test_clients_that_hold_every_place_without_a_request_make_room_for_others(service):
    async with contextlib.AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(service.connection()) for _ in range(30)]
        for connection in silent:
            connection.send(b"GET / HT")
        async with asyncio.timeout(patience(5)):
            assert await service.get()
