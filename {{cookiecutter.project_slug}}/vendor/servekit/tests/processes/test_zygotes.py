"""The process that workers are forked from ends when it shall, and is replaced when it hangs."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from servekit.testing import patience
from tests.processes.running import Service, alive, children_of, eventually, parent_of

PATIENT = 20
BUFFERED = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}


async def zygote_of(service):
    [zygote] = {parent_of(row["pid"]) for row in await service.workers()}
    return zygote


def is_free(port):
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            again.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def test_a_thread_that_the_code_began_holds_no_zygote_after_a_reload():
    async with Service("threaded", idle_seconds=0.1) as starting:
        service = await starting.started()
        old = await zygote_of(service)
        service.process.send_signal(signal.SIGHUP)
        await eventually(lambda: service.events("reload_done"), PATIENT)
        await eventually(lambda: not alive(old), PATIENT, explain=service.everything)
        assert await service.get()


async def test_nor_does_it_hold_the_port_after_a_supervisor_that_was_killed():
    async with Service("threaded") as starting:
        service = await starting.started()
        pids = [await zygote_of(service), *service.pids_alive()]
        service.process.kill()
        await eventually(lambda: not any(map(alive, pids)), PATIENT)
        await eventually(lambda: is_free(service.port), PATIENT)


async def test_a_zygote_ends_with_a_supervisor_that_was_killed_though_its_import_hangs():
    async with Service("hanging") as service:
        await eventually(lambda: "hanging" in "".join(service.other_output), PATIENT)
        [zygote] = children_of(service.process.pid)
        service.process.kill()
        await eventually(lambda: not alive(zygote), PATIENT)


async def test_nor_does_one_that_is_stopped_outlive_it():
    async with Service("echo") as starting:
        service = await starting.started()
        pids = [await zygote_of(service), *service.pids_alive()]
        os.kill(pids[0], signal.SIGSTOP)
        service.process.kill()
        await eventually(lambda: not any(map(alive, pids)), PATIENT)
        await eventually(lambda: is_free(service.port), PATIENT)


async def test_a_zygote_that_stands_still_costs_no_worker_and_is_replaced():
    async with Service(start_seconds=4, idle_seconds=0.1) as starting:
        service = await starting.started()
        zygote = await zygote_of(service)
        os.kill(zygote, signal.SIGSTOP)
        victim, other = [row["pid"] for row in await service.workers()]
        os.kill(victim, signal.SIGKILL)
        await eventually(lambda: not alive(zygote), PATIENT, explain=service.everything)
        assert alive(other), service.everything()
        assert await service.get()

        async def both():
            rows = await service.workers()
            fresh = [row for row in rows if row["state"] == "ready" and row["generation"] > 1]
            return len(rows) == len(fresh) == 2

        await eventually(both, PATIENT, explain=service.everything)
        assert service.events("zygote_died")
        service.process.send_signal(signal.SIGTERM)
        assert await service.exit_code() == 0


@pytest.mark.parametrize("code", [0, 7])
def test_a_process_ends_with_its_code_though_nobody_reads_what_it_said(code):
    program = f"print('x'); from servekit.children import end_at_once; end_at_once({code})"
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as nobody:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=nobody, env=BUFFERED, check=False
        )
    assert done.returncode == code


def test_a_process_ends_though_the_pipe_it_writes_to_is_full_and_nobody_reads():
    program = (
        "import os, sys, threading, time; from servekit.children import end_within\n"
        "os.set_blocking(1, False)\n"
        "try:\n"
        "    while True: os.write(1, b'x' * 65536)\n"
        "except BlockingIOError: pass\n"
        "os.set_blocking(1, True)\n"
        "print('unwritten')\n"
        "threading.Thread(target=time.sleep, args=[60]).start()\n"
        "end_within(0.5)\n"
        "if len(sys.argv) > 1:\n"
        "    from servekit.children import end_at_once; end_at_once(7)\n"
    )
    for arguments, code in (([], 1), (["now"], 7)):
        with subprocess.Popen(
            [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, env=BUFFERED
        ) as process:
            assert process.wait(patience(20)) == code
