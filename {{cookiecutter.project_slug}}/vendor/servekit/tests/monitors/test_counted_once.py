"""How often one block of the loop is counted."""

import asyncio
import time

import pytest

from servekit.monitors import watchdog
from tests.monitors.test_watchdog import Watched


@pytest.mark.parametrize("first", [0.3, 0.0])
async def test_a_long_block_is_counted_once_though_its_place_was_logged_lately(monkeypatch, first):
    monkeypatch.setattr(watchdog, "FOLLOW_SECONDS", 0.2)

    def block(seconds):
        time.sleep(seconds)

    async with Watched() as watched:
        for seconds in (first, 1.5):
            before = watched.count() or 0
            if seconds:
                block(seconds)
                await asyncio.sleep(0.3)
                assert watched.count() - before == 1, seconds
