import asyncio

import pytest
import uvloop

from servekit import testing
from servekit.cpus import usable_cpus


async def test_tests_run_on_the_loop_of_workers():
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)


@pytest.mark.parametrize(("redis", "workers"), [(None, usable_cpus()), ("redis://one", 1)])
def test_a_services_suite_has_a_process_for_each_cpu_but_one_on_a_redis_it_shares(
    monkeypatch, redis, workers
):
    monkeypatch.delenv("TEST_REDIS_URL", raising=False)
    if redis:
        monkeypatch.setenv("TEST_REDIS_URL", redis)
    assert testing.pytest_xdist_auto_num_workers() == workers


def test_this_suite_has_more_as_its_tests_mostly_wait(monkeypatch, pytestconfig):
    if not pytestconfig.pluginmanager.hasplugin("xdist"):
        pytest.skip("run without xdist")
    monkeypatch.delenv("TEST_REDIS_URL", raising=False)
    chosen = pytestconfig.hook.pytest_xdist_auto_num_workers(config=pytestconfig)
    assert usable_cpus() < chosen <= 8
