import asyncio
import os
import signal

from tests.processes.running import Connection, Service, eventually


async def test_hup_loads_new_code_and_loses_no_request_of_keep_alive_clients(tmp_path):
    version = tmp_path / "version"
    version.write_text("one")
    environment = {"VERSION_FILE": str(version)}
    async with Service("versioned", environment=environment, idle_seconds=0.3) as starting:
        service = await starting.started()
        seen: set[str] = set()
        clients = [asyncio.create_task(keep_asking(service, seen)) for _ in range(8)]
        version.write_text("two")
        service.process.send_signal(signal.SIGHUP)
        await eventually(lambda: service.events("reload_done"))
        seen.clear()
        await eventually(lambda: seen)
        for client in clients:
            client.cancel()
        results = await asyncio.gather(*clients, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results
        assert seen == {"two"}
        assert {row["generation"] for row in await service.workers()} == {2}


async def keep_asking(service: Service, seen: set[str]) -> None:
    while True:
        async with service.connection() as connection:
            await use_up(connection, seen)


async def use_up(connection: Connection, seen: set[str]) -> None:
    while not connection.closing:
        seen.add(await connection.get())
        await asyncio.sleep(0.02)


async def test_code_that_cannot_start_leaves_the_old_serving_and_is_retried(tmp_path):
    version = tmp_path / "version"
    version.write_text("one")
    environment = {"VERSION_FILE": str(version)}
    async with Service("versioned", environment=environment, idle_seconds=0.1) as starting:
        service = await starting.started()
        version.write_text("broken")
        service.process.send_signal(signal.SIGHUP)
        await eventually(lambda: len(service.events("reload_failed")) >= 1)
        version.write_text("unloadable")
        failures = await eventually(lambda: service.events("reload_failed")[1:])
        reason = service.events("reload_failed")[0]["reason"]
        assert reason.startswith("RuntimeError: this version cannot start (tests/")
        assert failures[0]["reason"].startswith("RuntimeError: this version cannot be loaded (")
        assert failures[0]["retry_seconds"] > service.events("reload_failed")[0]["retry_seconds"]
        assert await service.get() == "one"
        service.process.send_signal(signal.SIGTTIN)  # signals stay live meanwhile
        await eventually(lambda: len(service.events("worker_started")) >= 3)
        version.write_text("two")
        await eventually(lambda: service.events("reload_done"))
        assert await service.get() == "two"
        assert not service.events("worker_ended")


async def test_whatever_starts_during_a_reload_ends_up_with_the_new_code(tmp_path):
    version = tmp_path / "version"
    version.write_text("one")
    environment = {"VERSION_FILE": str(version)}
    async with Service("versioned", environment=environment, idle_seconds=0.5) as starting:
        service = await starting.started()
        service.process.send_signal(signal.SIGHUP)
        replaced = await eventually(lambda: service.events("worker_replaced"))
        os.kill(replaced[0]["new"], signal.SIGKILL)
        service.process.send_signal(signal.SIGTTIN)
        await eventually(lambda: service.events("reload_done"))
        rows = await eventually(lambda: three_ready(service))
        assert [row["generation"] for row in rows] == [2, 2, 2]


async def three_ready(service: Service):
    rows = [row for row in await service.workers() if row["state"] == "ready"]
    return rows if len(rows) == 3 else None
