import os
import signal
import time
from pathlib import Path

from tests.processes.running import Service, eventually


async def test_a_killed_worker_is_replaced_at_once_and_its_slot_keeps_its_number():
    async with Service() as starting:
        service = await starting.started()
        victim = (await service.workers())[0]
        began = time.monotonic()
        os.kill(victim["pid"], signal.SIGKILL)
        await eventually(lambda: len(service.events("worker_started")) == 3)
        assert time.monotonic() - began < 1  # 200 ms on a quiet machine: see the chaos suite
        new = service.events("worker_started")[2]
        assert (new["worker"], new["pid"]) != (victim["slot"], victim["pid"])
        assert new["worker"] == victim["slot"]
        assert service.events("worker_ended")[0]["status"] == -signal.SIGKILL
        metrics = (await service.ask("/metrics")).decode()
        assert f'worker_restarts_total{{reason="crash",worker="{victim["slot"]}"}} 1.0' in metrics


async def test_blocked_and_stopped_workers_are_replaced_within_the_limit_stack_first():
    async with Service(hang_seconds=3) as starting:
        service = await starting.started()
        began = time.monotonic()
        async with service.connection() as connection:
            connection.ask("/block")
            blocked = await eventually(lambda: silent_worker(service))
            stopped = next(w for w in await service.workers() if w["pid"] != blocked["pid"])
            os.kill(stopped["pid"], signal.SIGSTOP)
            await eventually(lambda: len(service.events("worker_hung")) == 2)
            await eventually(lambda: len(service.events("worker_started")) == 4)
        assert time.monotonic() - began < 7
        stacks = {event["pid"]: event["stacks"] for event in service.events("worker_hung")}
        assert "in http" in stacks[blocked["pid"]]
        assert "echo.py" in stacks[blocked["pid"]]
        assert "stopped" in stacks[stopped["pid"]]
        assert {w["restarts"].get("hang") for w in await service.workers()} == {1}
        assert int(await service.get()) in [w["pid"] for w in await service.workers()]


async def silent_worker(service):
    rows = await service.workers()
    return next((row for row in rows if row["heartbeat_age_seconds"] > 1.3), None)


async def test_usr1_logs_where_every_thread_of_every_worker_stands():
    async with Service() as starting:
        service = await starting.started()
        service.process.send_signal(signal.SIGUSR1)
        await eventually(lambda: len(service.events("worker_stacks")) == 2)
        assert all("run_worker" in event["stacks"] for event in service.events("worker_stacks"))


async def test_a_worker_is_recycled_by_requests_and_the_replacement_is_ready_first():
    async with Service(workers=1, recycle_requests=50) as starting:
        service = await starting.started()
        pids = set()
        for _ in range(200):
            pids.add(await service.get())
        replaced = await eventually(lambda: service.events("worker_replaced"))
        assert replaced[0]["reason"] == "requests"
        assert not service.events("worker_ended")
        await eventually(lambda: len(service.pids_alive()) == 1)


async def test_a_large_worker_is_recycled_after_three_samples():
    async with Service(workers=1, recycle_rss_bytes=1, sample_seconds=0.2) as starting:
        service = await starting.started()
        replaced = await eventually(lambda: service.events("worker_replaced"))
        assert replaced[0]["reason"] == "rss"


async def test_a_dead_zygote_is_replaced_when_a_worker_has_to_be():
    async with Service() as starting:
        service = await starting.started()
        worker = (await service.workers())[0]
        stat = Path(f"/proc/{worker['pid']}/stat").read_text()
        zygote = int(stat.rsplit(")", 1)[1].split()[1])
        os.kill(zygote, signal.SIGKILL)
        await eventually(lambda: service.events("zygote_died"))
        assert len(service.pids_alive()) == 2
        os.kill(worker["pid"], signal.SIGKILL)
        await eventually(lambda: len(service.events("worker_started")) == 3)
        assert service.events("worker_ended")[0]["status"] == -signal.SIGKILL
