"""What a whole session of pytest is told: the event loop of its tests, and how many run at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from servekit.cpus import usable_cpus


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> dict[str, Callable[[], Any]]:
    """Run tests on the event loop that workers have."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Let `-n auto` mean one for each usable CPU, but one alone on the Redis of TEST_REDIS_URL."""
    return 1 if "TEST_REDIS_URL" in os.environ else usable_cpus()
