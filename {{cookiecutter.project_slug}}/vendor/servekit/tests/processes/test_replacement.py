import os
import signal
import time

import pytest

from servekit.testing import patience
from tests.processes.running import Service, eventually, parent_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG = {"hang_seconds": 3}


async def test_a_killed_worker_is_replaced_at_once_and_its_slot_keeps_its_number(service):
    victim = (await service.workers())[0]
    began = time.monotonic()
    os.kill(victim["pid"], signal.SIGKILL)
    new = await eventually(lambda: service.events("worker_started")[2:], explain=service.everything)
    assert time.monotonic() - began < patience(1)  # 200 ms on a quiet machine: see the chaos suite
    assert new[0]["worker"] == victim["slot"]
    assert service.events("worker_ended")[0]["status"] == -signal.SIGKILL
    metrics = (await service.ask("/metrics")).decode()
    assert f'worker_restarts_total{{reason="crash",worker="{victim["slot"]}"}} 1.0' in metrics


async def test_blocked_and_stopped_workers_are_replaced_within_the_limit_stack_first(service):
    began = time.monotonic()
    async with service.connection() as connection:
        connection.ask("/block")
        blocked = await eventually(lambda: silent_worker(service), explain=service.everything)
        stopped = next(w for w in await service.workers() if w["pid"] != blocked["pid"])
        os.kill(stopped["pid"], signal.SIGSTOP)
        await eventually(
            lambda: len(service.events("worker_hung")) >= 2, explain=service.everything
        )
        await eventually(
            lambda: len(service.events("worker_started")) >= 5, explain=service.everything
        )
    assert time.monotonic() - began < patience(7)
    stacks = {event["pid"]: event["stacks"] for event in service.events("worker_hung")}
    assert "in http" in stacks[blocked["pid"]]
    assert "echo.py" in stacks[blocked["pid"]]
    assert "stopped" in stacks[stopped["pid"]]
    assert {w["restarts"].get("hang") for w in await service.workers()} == {1}
    assert int(await service.get()) in [w["pid"] for w in await service.workers()]


async def silent_worker(service):
    rows = await service.workers()
    return next((row for row in rows if row["heartbeat_age_seconds"] > 1.3), None)


async def test_a_dead_zygote_is_replaced_when_a_worker_has_to_be(service):
    started = len(service.events("worker_started"))
    worker = (await service.workers())[0]
    os.kill(parent_of(worker["pid"]), signal.SIGKILL)
    await eventually(lambda: service.events("zygote_died"), explain=service.everything)
    assert len(service.pids_alive()) == 2
    os.kill(worker["pid"], signal.SIGKILL)
    await eventually(
        lambda: len(service.events("worker_started")) >= started + 1, explain=service.everything
    )
    assert service.events("worker_ended")[-1]["status"] == -signal.SIGKILL


async def test_a_worker_whose_lifespan_fails_while_it_serves_says_why_and_is_replaced():
    async with Service("failing", workers=1) as starting:
        service = await starting.started()
        [old] = [row["pid"] for row in await service.workers()]
        await service.get("/fail")
        [failed] = await eventually(lambda: service.events("lifespan_failed"))
        assert "the consumer has ended" in failed["trace"]
        await eventually(lambda: len(service.events("worker_started")) == 2)
        assert await service.get() != old
        [ended] = service.events("worker_ended")
        assert (ended["reason"], ended["status"]) == ("crash", 1)
