"""A pipeline that is tried again does what it was asked, or says that it cannot."""

import pytest
from redis.exceptions import ReadOnlyError, WatchError

from tests.redis.patient import patient_clients


@pytest.mark.parametrize("is_watching", [False, True])
async def test_a_second_try_runs_all_commands_and_none_without_its_watch(
    redis_url, is_watching, monkeypatch
):
    async with patient_clients(redis_url) as clients:
        client = clients.sessions
        await client.set("n", 1)
        pipeline = client.pipeline(transaction=True)
        if is_watching:
            await pipeline.watch("n")
            pipeline.multi()
        pipeline.incr("n")
        pipeline.incr("n")
        send, failures = type(pipeline)._execute_transaction, [ReadOnlyError("demoted")]

        async def failing(self, *arguments):
            if failures:
                await client.set("n", 100)  # somebody else's, meanwhile
                raise failures.pop()
            return await send(self, *arguments)

        monkeypatch.setattr(type(pipeline), "_execute_transaction", failing)
        if is_watching:
            with pytest.raises(WatchError):
                await pipeline.execute()
            assert await client.get("n") == b"100"
        else:
            assert await pipeline.execute() == [101, 102]
