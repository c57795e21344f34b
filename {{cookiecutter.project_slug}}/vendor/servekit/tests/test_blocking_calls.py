import time

import pytest
from blockbuster import BlockingError
from prometheus_client import CollectorRegistry

from servekit.monitors.loop_monitor import LoopMonitor


async def test_the_suite_fails_where_the_service_blocks_the_loop():
    monitor = LoopMonitor(registry=CollectorRegistry())
    monitor.listeners.append(lambda _: time.sleep(0.001))
    async with monitor:
        with pytest.raises(BlockingError):
            monitor._end_period(time.monotonic() + 1)
