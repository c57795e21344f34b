import asyncio
import time

from servekit.testing import patience
from tests.processes.running import Service


async def test_a_blocked_worker_never_fails_the_scrape_of_the_others():
    async with Service(hang_seconds=60) as starting:
        service = await starting.started()
        async with service.connection() as connection:
            connection.ask("/block")
            await asyncio.sleep(0.1)
            began = time.monotonic()
            text = (await service.ask("/metrics")).decode()
            assert time.monotonic() - began < patience(2)
        assert text.count('requests_total{worker="') == 1
        assert text.count("worker_heartbeat_age_seconds{") == 2
        assert {row["state"] for row in await service.workers()} == {"ready"}
