import asyncio

from structlog.testing import capture_logs

from servekit import background
from servekit.background import Background
from servekit.testing import patience


async def test_a_task_that_is_never_to_end_is_started_again_and_its_failure_logged(monkeypatch):
    monkeypatch.setattr(background, "AGAIN_SECONDS", 0)
    runs = 0
    again = asyncio.Event()

    async def sweep():
        nonlocal runs
        runs += 1
        if runs < 3:
            raise RuntimeError("once more")
        again.set()
        await asyncio.sleep(60)

    tasks = Background()
    with capture_logs() as logs:
        tasks.keep(sweep)
        async with asyncio.timeout(patience(2)):
            await again.wait()
    await tasks.cancel()
    assert [log["event"] for log in logs] == ["background_task_failed"] * 2
    assert "sweep" in logs[0]["task"]


async def test_what_a_task_raises_is_logged_with_its_name():
    async def fail():
        raise RuntimeError("gone")

    tasks = Background()
    with capture_logs() as logs:
        await asyncio.wait([tasks.spawn(fail())])
        await asyncio.sleep(0)
    assert (logs[0]["event"], "fail" in logs[0]["task"]) == ("background_task_failed", True)
