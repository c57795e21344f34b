import asyncio

from servekit.workers.worker import task_stacks


async def test_stacks_name_every_thread_and_every_task():
    waiting = asyncio.create_task(asyncio.sleep(60), name="waits-for-long")
    await asyncio.sleep(0)
    text = task_stacks()
    assert "MainThread" in text
    assert "waits-for-long" in text or "sleep" in text
    waiting.cancel()
