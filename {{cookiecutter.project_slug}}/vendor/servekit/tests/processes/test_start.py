import asyncio
import os
import re
import signal

import pytest

from tests.processes.running import Service, alive, children, eventually


async def test_a_service_that_cannot_start_ends_with_the_reason(tmp_path):
    async def start(version: str):
        file = tmp_path / version
        file.write_text(version)
        async with Service("versioned", environment={"VERSION_FILE": str(file)}) as service:
            assert await service.exit_code() == 1
            [told] = service.events("start_failed")
            reasons = [entry for entry in service.log if told["reason"] in str(entry)]
            assert reasons == [told]
            assert not service.other_output
            return told["reason"]

    for reason, told in zip(
        await asyncio.gather(start("broken"), start("unloadable")),
        ["this version cannot start", "this version cannot be loaded"],
        strict=True,
    ):
        assert re.fullmatch(rf"RuntimeError: {told} \(.*versioned\.py:\d+\)", reason)


async def test_spawned_workers_keep_the_same_promises():
    async with Service(start_method="spawn", hang_seconds=3) as starting:
        service = await starting.started()
        victim = (await service.workers())[0]
        os.kill(victim["pid"], signal.SIGKILL)
        await eventually(lambda: len(service.events("worker_started")) >= 3)
        service.process.send_signal(signal.SIGHUP)
        await eventually(lambda: service.events("reload_done"))
        async with service.connection() as connection:
            connection.ask("/block")
            hung = await eventually(lambda: service.events("worker_hung"))
            assert "in http" in hung[0]["stacks"]
        await eventually(lambda: len(service.events("worker_started")) >= 6)
        service.process.send_signal(signal.SIGTERM)
        assert await service.exit_code() == 0


async def test_code_whose_import_never_ends_is_given_up_and_nothing_of_it_stays(tmp_path):
    file = tmp_path / "version"
    file.write_text("endless")
    environment = {"VERSION_FILE": str(file)}
    async with Service("versioned", environment=environment, start_seconds=1.5) as service:
        [zygote] = await eventually(lambda: children(service.process.pid))
        assert await service.exit_code() == 1
        reason = service.events("start_failed")[0]["reason"]
        assert reason == "the code was not loaded within 1.5 s"
        assert not alive(zygote)


async def test_a_stop_while_the_code_is_loaded_leaves_nothing_behind(tmp_path):
    file = tmp_path / "version"
    file.write_text("endless")
    async with Service("versioned", environment={"VERSION_FILE": str(file)}) as service:
        [zygote] = await eventually(lambda: children(service.process.pid))
        service.process.send_signal(signal.SIGTERM)
        assert await service.exit_code() == 0
        assert not alive(zygote)


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
async def test_workers_run_under_the_flags_of_python_that_the_service_was_started_with(
    start_method,
):
    flags = ["-O", "-X", "faulthandler", "-W", "ignore::UserWarning"]
    async with Service(flags=flags, start_method=start_method) as starting:
        service = await starting.started()
        async with service.connection() as connection:
            assert await connection.get("/flags") == "1 True ['ignore::UserWarning']"


async def test_a_reason_of_megabytes_is_told_up_to_a_bound(tmp_path):
    file = tmp_path / "version"
    for version in ("verbose", "unloadable verbose"):
        file.write_text(version)
        async with Service("versioned", environment={"VERSION_FILE": str(file)}) as service:
            assert await service.exit_code() == 1
            [told] = service.events("start_failed")
            assert "RuntimeError: this version" in told["reason"][:200]
            assert 2**15 < len(told["reason"]) < 2**17
