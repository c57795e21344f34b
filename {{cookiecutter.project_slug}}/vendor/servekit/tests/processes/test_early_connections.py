"""A connection that is open before the fork gives users each other's answers: it is refused."""

import contextlib
import signal
import socket

import pytest

from tests.processes.running import Service, eventually


@pytest.fixture
def peers(tmp_path):
    """Servers that take connections and never say anything: their addresses by kind."""
    with contextlib.ExitStack() as stack:
        addresses = {"unix": str(tmp_path / "server"), "abstract": f"\0{tmp_path}"}
        for path in addresses.values():
            server = stack.enter_context(socket.socket(socket.AF_UNIX))
            server.bind(path)
            server.listen()
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        yield addresses | {"tcp": "127.0.0.1:{1}".format(*server.getsockname())}


@pytest.fixture
def early(tmp_path):
    """A service whose code opens the lines of a file; and a function that writes it."""
    file = tmp_path / "open"
    file.touch()

    def early(*lines: str, **config):
        file.write_text("\n".join(lines))
        return Service("early", environment={"OPEN_FILE": str(file)}, **config)

    return early


async def test_code_that_connects_is_refused_with_each_peer_and_both_remedies(early, peers):
    opened = [f"tcp {peers['tcp']}", f"tcp {peers['tcp']}", f"unix {peers['unix']}"]
    async with early(*opened) as service:
        assert await service.exit_code() == 1
        [failed] = service.events("start_failed")
        assert f"connected to {peers['unix']}, {peers['tcp']} while" in failed["reason"]
        assert "lifespan" in failed["reason"]
        assert "WORKER_START_METHOD=spawn" in failed["reason"]
        assert "\n" not in failed["reason"]
        assert not service.events("worker_started")
        assert not service.other_output


async def test_a_name_without_a_path_is_written_as_tools_do(early, peers):
    async with early(f"unix {peers['abstract']}") as service:
        assert await service.exit_code() == 1
        assert f"@{peers['abstract'][1:]} while" in service.events("start_failed")[0]["reason"]


async def test_what_workers_may_share_or_nobody_holds_is_not_refused(early, peers):
    kinds = ["udp", "listener", "pair", "loop", "closed", "dropped"]
    async with early(*(f"{kind} {peers['tcp']}" for kind in kinds)) as service:
        await service.started()
        assert await service.get()


async def test_spawned_workers_connect_for_themselves(early, peers):
    async with early(f"tcp {peers['tcp']}", start_method="spawn") as service:
        await service.started()
        assert await service.get()


async def test_under_a_debugger_which_has_a_connection_of_its_own_nothing_is_refused(early, peers):
    async with early("debugger", f"tcp {peers['tcp']}") as service:
        await service.started()
        assert await service.get()


async def test_newer_code_that_connects_leaves_the_old_serving(early, peers):
    async with early() as service:
        await service.started()
        old = await service.workers()
        early(f"tcp {peers['tcp']}")
        service.process.send_signal(signal.SIGHUP)
        [failed, *_] = await eventually(lambda: service.events("reload_failed"), 20)
        assert f"connected to {peers['tcp']} while" in failed["reason"]
        assert [row["pid"] for row in await service.workers()] == [row["pid"] for row in old]
        assert await service.get()
