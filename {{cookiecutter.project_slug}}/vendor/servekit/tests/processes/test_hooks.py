import asyncio
import re
import signal
import urllib.request

import pytest

from tests.processes.running import Service, alive, eventually


class Hooked(Service):
    """A service whose workers write down each call of a hook."""

    def __init__(self, folder, *, start_method="fork", limits=(), **environment):
        self.file = folder / "hooks"
        self.file.touch()
        environment = {"HOOKS_FILE": str(self.file), **environment}
        super().__init__(
            "hooked",
            environment=environment,
            idle_seconds=0.1,
            start_method=start_method,
            limits=dict(limits),
        )

    def calls(self, pid: int) -> list[str]:
        """Return what a worker's hooks were called with, in order."""
        lines = [line.split(" ", 1) for line in self.file.read_text().splitlines()]
        return [text for owner, text in lines if int(owner) == pid]

    async def pids(self) -> list[int]:
        return [row["pid"] for row in await self.workers()]


async def test_a_stop_calls_the_hooks_of_every_worker(tmp_path):
    async with Hooked(tmp_path) as service:
        await service.started()
        pids = await service.pids()
        service.process.send_signal(signal.SIGTERM)
        assert await service.exit_code() == 0
        for slot, pid in enumerate(pids):
            assert service.calls(pid) == [f"enter {slot}", "drain stop", "leave"]


async def test_a_reload_calls_the_hooks_of_the_replaced_and_not_of_the_new(tmp_path):
    async with Hooked(tmp_path) as service:
        await service.started()
        old = await service.pids()
        service.process.send_signal(signal.SIGHUP)
        await eventually(lambda: service.events("reload_done"), 20)
        await eventually(lambda: not any(map(alive, old)))
        assert [service.calls(pid)[1:] for pid in old] == [["drain reload", "leave"]] * 2
        new = await service.pids()
        assert [service.calls(pid) for pid in new] == [["enter 0"], ["enter 1"]]


async def test_scaling_down_calls_the_hooks_of_the_worker_that_goes(tmp_path):
    async with Hooked(tmp_path) as service:
        await service.started()
        stays, goes = await service.pids()
        service.process.send_signal(signal.SIGTTOU)
        await eventually(lambda: not alive(goes))
        assert service.calls(goes) == ["enter 1", "drain scale", "leave"]
        assert service.calls(stays) == ["enter 0"]


async def test_a_hook_that_raises_is_logged_and_stops_nothing(tmp_path):
    async with Hooked(tmp_path, HOOKS_RAISE="drain leave") as service:
        await service.started()
        pids = await service.pids()
        async with service.connection() as connection:
            connection.ask("/sleep/0.5")
            await service.get()
            service.process.send_signal(signal.SIGTERM)
            assert (await connection.answer())[0] == 200
        assert await service.exit_code() == 0
        assert all(service.calls(pid)[1:] == ["drain stop", "leave"] for pid in pids)
        failures = [event["exception"] for event in service.events("hook_failed")]
        assert len(failures) == 4
        assert sum("drain stop failed" in failure for failure in failures) == 2
        assert sum("leave failed" in failure for failure in failures) == 2


async def test_the_last_hook_is_called_however_a_worker_ends(tmp_path):
    broken = tmp_path / "broken"
    broken.touch()
    async with Hooked(tmp_path, BROKEN_FILE=str(broken)) as service:
        assert await service.exit_code() == 1
        lines = [line.split(" ", 1)[1] for line in service.file.read_text().splitlines()]
        assert sorted(lines) == ["enter 0", "enter 1", "leave", "leave"]
    endless = Hooked(tmp_path, SHUTDOWN_SECONDS="60", limits={"close_seconds": 0.5})
    async with endless as service:
        await service.started()
        pids = await service.pids()
        service.process.send_signal(signal.SIGTERM)
        await service.exit_code()
        assert len(service.events("shutdown_timed_out")) == 2
        assert all(service.calls(pid)[1:] == ["drain stop", "leave"] for pid in pids)


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
async def test_a_hook_that_fails_a_start_is_its_reason(tmp_path, start_method):
    async with Hooked(tmp_path, start_method=start_method, HOOKS_RAISE="enter") as service:
        assert await service.exit_code() == 1
        [told] = service.events("start_failed")
        assert re.fullmatch(r"RuntimeError: enter \d failed \(.*hooked\.py:\d+\)", told["reason"])
        assert "in note" in told["trace"]
        assert not service.other_output


async def test_what_a_process_for_computation_logs_is_in_the_services_log(start_service, tmp_path):
    (tmp_path / "logging_jobs.py").write_text(
        "import logging, structlog\n"
        "def say(number):\n"
        "    logging.getLogger('jobs').info('record', extra={'number': number})\n"
        "    structlog.get_logger().warning('event', number=number)\n"
        "    print('printed')\n"
        "    return number\n"
    )
    (tmp_path / "saying.py").write_text(
        "import logging_jobs\n"
        "from fastapi import FastAPI\n"
        "from servekit import Service, Settings, main\n"
        "from servekit.offload import ProcessesDep\n"
        "def create_app(settings: Settings) -> FastAPI:\n"
        "    app = FastAPI()\n"
        "    Service(settings).install(app)\n"
        "    @app.get('/')\n"
        "    async def root(processes: ProcessesDep) -> int:\n"
        "        return await processes.run(logging_jobs.say, 7)\n"
        "    return app\n"
        "if __name__ == '__main__':\n"
        "    raise SystemExit(main('saying:create_app', settings='servekit:Settings'))\n"
    )
    service = start_service("saying", folder=tmp_path, WORKERS=1)
    answer = await asyncio.to_thread(urllib.request.urlopen, service.url)
    request_id = answer.headers["x-request-id"]
    answer.close()
    for event, level in (("record", "info"), ("event", "warning")):
        [line] = await eventually(lambda event=event: service.events(event))
        assert (line["number"], line["level"], line["worker"]) == (7, level, 0)
        assert line["request_id"] == request_id
