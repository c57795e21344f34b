import asyncio

import uvloop


async def test_tests_run_on_the_loop_of_workers():
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
