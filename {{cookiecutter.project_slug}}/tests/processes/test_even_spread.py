import asyncio
import contextlib
from collections import Counter

from tests.processes.running import Service

RUNS = 20
SHARE = 0.65


async def test_new_keep_alive_connections_are_spread_evenly():
    async with Service() as starting:
        service = await starting.started()
        even = {10: 0, 32: 0}
        for count in even:
            for _ in range(RUNS):
                share = await largest_share(service, count)
                even[count] += share <= SHARE
                await asyncio.sleep(0.03)  # both workers see the ends of the last run
        assert all(runs >= RUNS - 1 for runs in even.values()), even


async def largest_share(service: Service, count: int) -> float:
    async with contextlib.AsyncExitStack() as stack:
        connections = [service.connection() for _ in range(count)]
        opened = await asyncio.gather(*map(stack.enter_async_context, connections))
        pids = Counter(await asyncio.gather(*(connection.get() for connection in opened)))
        return max(pids.values()) / count
