"""Processes that an application starts hear signals as usual, and end with their worker."""

import json
import os
import re
import signal

import pytest

from tests.processes.running import Service, alive, eventually, parent_of

FORKED_ON = [
    ({}, "fork"),
    ({"WITHOUT_UVLOOP": "1"}, "fork"),
    ({}, "spawn"),
]
SENT_TO_A_GROUP = [signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1]
OURS = [*SENT_TO_A_GROUP, signal.SIGCHLD]
TELLING = ["worker", "zygote", "offload"]


def bits(numbers) -> int:
    return sum(1 << number - 1 for number in numbers)


def parents(start_method="fork", **environment):
    return Service("parents", environment=environment, start_method=start_method, idle_seconds=0.1)


@pytest.mark.parametrize(("environment", "start_method"), FORKED_ON)
async def test_a_process_that_a_route_ends_ends_and_its_worker_goes_on(environment, start_method):
    async with parents(start_method, **environment) as service:
        await service.started()
        async with service.connection() as connection:
            worker = await connection.get("/")
            assert json.loads(await connection.get("/terminated")) == -signal.SIGTERM
            assert json.loads(await connection.get("/pooled")) == [1, 2]
            assert json.loads(await connection.get("/broken")) == [True, True]
            assert await connection.get("/") == worker
            assert not connection.closing
        assert [row["state"] for row in await service.workers()] == ["ready"] * 2


async def test_a_program_that_a_route_starts_ends_by_a_signal():
    async with parents() as service:
        await service.started()
        for number in SENT_TO_A_GROUP:
            assert json.loads(await service.get(f"/sent/{number.name}")) == -number


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
async def test_no_process_but_those_of_the_service_keeps_a_signal_from_its_default(start_method):
    async with parents(start_method, EARLY="1") as service:
        await service.started()
        masks = json.loads(await service.get("/masks"))
    if start_method == "spawn":
        masks.pop("zygote")  # it is the supervisor
    for name, mask in masks.items():
        kept = mask["Ign"] | mask["Cgt"]
        wanted = bits(SENT_TO_A_GROUP) if name in TELLING else 0
        assert kept & bits(SENT_TO_A_GROUP) == wanted, name
        if name not in TELLING:
            assert not kept & bits(OURS), name
        assert not mask["Blk"], name


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
async def test_a_program_that_any_of_them_executes_has_nothing_of_the_service_open(start_method):
    async with parents(start_method, EARLY="1") as service:
        await service.started()
        held = json.loads(await service.get("/held_by_all"))
    assert held.keys() == {"import", "worker", "offload"}
    for who, listing in held.items():
        [*_, seen] = opened = re.findall(r" (\d+) -> (.*)", listing)
        assert seen[1].startswith("/proc/"), who  # the folder that it lists
        assert [number for number, _ in opened[:-1]] == ["0", "1", "2"], (who, opened)


async def test_what_was_started_with_the_code_ends_by_a_signal():
    async with parents(EARLY="1") as service:
        await service.started()
        early = json.loads(await service.get("/pids")).values()
        for pid in early:
            os.kill(pid, signal.SIGTERM)
        await eventually(lambda: not any(map(alive, early)))


async def test_a_zygote_is_missed_though_a_process_of_its_code_lives_on():
    async with parents(EARLY="1") as service:
        await service.started()
        early = json.loads(await service.get("/pids"))["early forked"]
        first = await service.workers()
        os.kill(parent_of(first[0]["pid"]), signal.SIGKILL)
        await eventually(lambda: service.events("zygote_died"), 20, explain=service.everything)
        await eventually(lambda: service.events("reload_done"), 20, explain=service.everything)
        assert alive(early)
        os.kill(early, signal.SIGKILL)


@pytest.mark.parametrize("children", ["fork", "spawn"])
async def test_pools_and_processes_end_with_their_worker_at_a_reload_and_a_stop(children):
    async with parents(CHILDREN=children, EARLY="1") as service:
        await service.started()
        old = await everything_started(service)
        service.process.send_signal(signal.SIGHUP)
        await eventually(lambda: service.events("reload_done"), 20)
        await eventually(lambda: not any(map(alive, old)))
        new = await everything_started(service)
        service.process.send_signal(signal.SIGTERM)
        assert await service.exit_code() == 0
        await eventually(lambda: not any(map(alive, new)))
        assert not service.events("worker_did_not_stop")


async def everything_started(service) -> set[int]:
    """Have a worker start its processes, and return them with those of its generation of code."""
    early = json.loads(await service.get("/pids"))
    kept = json.loads(await service.get("/kept"))
    assert len(kept) >= 6
    return {early["early forked"], *kept}


async def test_the_end_of_a_worker_leaves_what_its_siblings_and_detached_programs_do():
    async with parents(EARLY="1") as service:
        await service.started()
        early = json.loads(await service.get("/pids"))["early forked"]
        detached = json.loads(await service.get("/detached"))
        service.process.send_signal(signal.SIGTTOU)
        await eventually(lambda: len(service.pids_alive()) == 1)
        assert alive(early)
        service.process.send_signal(signal.SIGTERM)
        assert await service.exit_code() == 0
        assert alive(detached)
