import asyncio
import contextlib
import os
import signal
import socket
import time

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from servekit.supervisor.decisions import SAME_STOP_SECONDS
from servekit.testing import patience
from tests.processes.running import Service, alive, children, eventually


async def test_term_answers_what_is_in_flight_and_what_comes_in_the_delay_then_exits_0(tmp_path):
    ends = tmp_path / "ends"
    limits = {"drain_delay_seconds": 0.6}
    async with Service(limits=limits, environment={"SHUTDOWN_FILE": str(ends)}) as starting:
        service = await starting.started()
        async with service.connection() as busy, service.connection() as idle:
            await idle.get()
            busy.ask("/sleep/1.2")
            await asyncio.sleep(0.1)
            service.process.send_signal(signal.SIGTERM)
            await eventually(lambda: service.events("stop_begins"))
            with pytest.raises(Exception, match="503"):
                await service.ask("/readyz")
            assert await service.ask("/livez") == b"ok"
            late = await eventually(lambda: late_answer(service))
            assert late["connection"] == "close"
            await idle.get()
            assert idle.closing
            status, _, _ = await busy.answer()
            assert status == 200
        assert await service.exit_code() == 0
        assert len(ends.read_text().split()) == 2
        assert not service.pids_alive()


async def late_answer(service):
    async with service.connection() as late:
        late.ask("/")
        return (await late.answer())[1]


async def test_term_ends_idle_connections_half_bodies_event_streams_and_websockets():
    async with Service(limits={"drain_seconds": 1.5}) as starting:
        service = await starting.started()
        async with (
            service.connection() as idle,
            service.connection() as half,
            service.connection() as stream,
            connect(f"ws://127.0.0.1:{service.port}/") as websocket,
        ):
            await idle.get()
            half.send(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
            stream.ask("/events", "Accept: text/event-stream\r\n")
            await stream.reader.readuntil(b"tick")
            await websocket.send("hello")
            assert await websocket.recv() == "hello"
            began = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                await websocket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
            assert await idle.closed() == b""
            assert time.monotonic() - began < patience(1)
            assert not (await stream.closed()).endswith(b"0\r\n\r\n")  # it has no end
            assert await service.exit_code() == 0
            assert time.monotonic() - began < patience(1.5 + 2)
        cancelled = [
            one for event in service.events("requests_cancelled") for one in event["requests"]
        ]
        assert sorted(cancelled) == ["GET /events", "POST /body"]


async def test_term_waits_for_workers_that_were_to_go_anyway():
    async with Service() as starting:
        service = await starting.started()
        last = max(await service.workers(), key=lambda row: row["slot"])
        async with contextlib.AsyncExitStack() as stack:
            open_one = lambda: stack.enter_async_context(service.connection())  # noqa: E731
            connection = await open_one()
            while int(await connection.get()) != last["pid"]:
                connection = await open_one()
            connection.ask("/sleep/1.5")
            await asyncio.sleep(0.1)
            service.process.send_signal(signal.SIGTTOU)
            await eventually(lambda: is_draining(service, last["pid"]))
            service.process.send_signal(signal.SIGTERM)
            assert (await connection.answer())[0] == 200
        assert await service.exit_code() == 0
        assert not alive(last["pid"])


async def is_draining(service, pid):
    rows = await service.workers()
    return [row["state"] for row in rows if row["pid"] == pid] == ["draining"]


async def test_a_stopped_zygote_does_not_outlive_the_service():
    async with Service() as starting:
        service = await starting.started()
        [zygote] = children(service.process.pid)
        os.kill(zygote, signal.SIGSTOP)
        service.process.send_signal(signal.SIGTERM)
        await service.exit_code()
        assert not alive(zygote)


async def test_a_second_term_ends_at_once_and_tells_what_still_ran():
    async with Service() as starting:
        service = await starting.started()
        async with service.connection() as connection:
            connection.ask("/sleep/20")
            await asyncio.sleep(0.2)
            service.process.send_signal(signal.SIGTERM)
            await eventually(lambda: service.events("stop_begins"))
            service.process.send_signal(signal.SIGTERM)  # as process groups and runners do
            await asyncio.sleep(SAME_STOP_SECONDS + 0.1)
            service.process.send_signal(signal.SIGTERM)
            assert await service.exit_code(3) == 1
        forced = service.events("worker_forced")
        assert [request for event in forced for request in event["requests"]] == ["GET /sleep/20"]
        assert not service.pids_alive()


async def test_a_second_term_tells_where_a_blocked_worker_hangs():
    async with Service() as starting:
        service = await starting.started()
        async with service.connection() as connection:
            connection.ask("/block")
            await asyncio.sleep(0.2)
            service.process.send_signal(signal.SIGTERM)
            await eventually(lambda: service.events("stop_begins"))
            service.process.send_signal(signal.SIGTERM)  # as process groups and runners do
            await asyncio.sleep(SAME_STOP_SECONDS + 0.1)
            service.process.send_signal(signal.SIGTERM)
            assert await service.exit_code(3) == 1
        stacks = [event.get("stacks", "") for event in service.events("worker_forced")]
        assert any("in http" in stack for stack in stacks)


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
async def test_workers_of_a_killed_supervisor_end_and_free_the_port(start_method):
    async with Service(start_method=start_method) as starting:
        service = await starting.started()
        async with service.connection() as connection:
            connection.ask("/block")  # even a worker that cannot notice
            pids = service.pids_alive()
            service.process.kill()
            await eventually(lambda: sum(map(alive, pids)) < 2, 1.5)
            await eventually(lambda: not any(map(alive, pids)), 5)
        await eventually(lambda: can_bind(service.port), 3)


def can_bind(port: int) -> bool:
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            again.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


async def test_who_comes_while_it_stops_is_answered_or_refused_at_once():
    """A refusal can be asked again, also of a write; what was taken and then reset cannot."""
    lost = [await lost_in_a_stop() for _ in range(3)]
    assert min(lost) <= 1, lost


async def lost_in_a_stop() -> int:
    """Stop a service while eight clients connect again and again; return who got nothing."""
    lost = 0

    async def client(service):
        nonlocal lost
        while True:
            async with contextlib.AsyncExitStack() as stack:
                try:
                    connection = await stack.enter_async_context(service.connection())
                except ConnectionResetError:
                    continue
                except ConnectionRefusedError:
                    return
                try:
                    await connection.get()
                except (OSError, EOFError):
                    lost += 1

    async with Service() as starting:
        service = await starting.started()
        clients = [asyncio.create_task(client(service)) for _ in range(8)]
        await asyncio.sleep(0.3)
        service.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(patience(10)):
            await asyncio.gather(*clients)
        assert await service.exit_code() == 0
    return lost
