"""What an operator asks of a running worker, on the admin port."""

import asyncio
import json
import urllib.error

import pytest

from servekit.monitors.profiling import PROFILE_SECONDS_MAX
from servekit.supervisor.view import COMMAND_SECONDS
from tests.processes.programs.watched import COUNT
from tests.processes.running import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG = {"program": "watched", "workers": 1}


async def refusal(service, path):
    with pytest.raises(urllib.error.HTTPError) as caught:
        await service.ask(path)
    return caught.value.__notes__[0]


async def bytes_held(service):
    heap = json.loads(await service.ask("/debug/heap"))
    return next(row["count"] for row in heap["types"] if row["type"] == "builtins.bytes")


async def test_the_heap_holds_what_leaks_into_a_list_from_before_the_fork(service):
    before = await bytes_held(service)
    assert await service.ask("/debug/leak") == b"False"
    assert await bytes_held(service) == pytest.approx(before + COUNT, abs=2000)


async def test_requests_are_served_while_the_heap_is_counted_and_nobody_is_left(service):
    [row] = await service.workers()
    counting = asyncio.create_task(bytes_held(service))
    while not counting.done():
        assert await service.get() == str(row["pid"])
    with open(f"/proc/{row['pid']}/task/{row['pid']}/children") as children:  # noqa: ASYNC230, PTH123
        assert children.read() == ""


async def test_a_request_that_waits_shows_where_down_to_the_last_frame(service):
    async with service.connection() as connection:
        connection.ask("/deep")

        async def shown():
            text = (await service.ask("/debug/stacks")).decode()
            return text if "in two" in text else ""

        text = await eventually(shown)
    http, one, two = (text.index(f", in {name}") for name in ("http", "one", "two"))
    assert http < one < two
    assert "await asyncio.sleep(seconds)" in text[two:]
    assert "waits for <" in text[two:]


async def test_a_loop_that_waits_is_idle_in_its_profile(service):
    lines = (await service.ask("/debug/profile?seconds=1&format=collapsed")).decode().splitlines()
    counts = [int(line.rpartition(" ")[2]) for line in lines]
    assert counts[-1] > sum(counts[:-1])


async def test_an_answer_too_long_is_refused_and_the_worker_lives(service):
    [before] = await service.workers()
    assert "300 MiB are more than the 255 allowed" in await refusal(service, "/debug/large")
    [after] = await service.workers()
    assert before["pid"] == after["pid"]
    assert await service.get() == str(before["pid"])


async def test_more_time_than_allowed_is_refused_with_what_is(service):
    detail = await refusal(service, "/debug/profile?seconds=121")
    assert "seconds must be above 0 and at most 120" in detail


async def test_the_longest_profile_is_over_before_the_supervisor_gives_up():
    assert PROFILE_SECONDS_MAX + 20 <= COMMAND_SECONDS


async def test_a_record_of_allocations_is_small_whatever_was_allocated(service):
    pytest.importorskip("memray")
    recording = asyncio.create_task(service.ask("/debug/memray?seconds=1"))
    while not recording.done():
        await service.get()
    assert len(await recording) < 2**20
