import contextlib

import pytest

from service.lifespan import lifespan


def resource(name, seen):
    @contextlib.asynccontextmanager
    async def open_and_close():
        seen.append(f"open {name}")
        try:
            yield
        finally:
            seen.append(f"close {name}")

    return open_and_close()


async def no_warm_up():
    pass


async def test_what_is_opened_first_is_closed_last_and_readiness_waits_for_warm_up():
    seen = []

    async def warm():
        seen.append("warm")

    run = lifespan(
        [resource("redis", seen), resource("cache", seen)],
        warm=warm,
        ready=lambda: seen.append("ready"),
    )
    async with run(None):
        seen.append("serve")

    assert seen == [
        "open redis",
        "open cache",
        "warm",
        "ready",
        "serve",
        "close cache",
        "close redis",
    ]


async def test_a_failed_warm_up_does_not_keep_the_worker_from_serving():
    seen = []

    async def warm():
        raise ConnectionError

    async with lifespan([], warm=warm, ready=lambda: seen.append("ready"))(None):
        assert seen == ["ready"]


async def test_what_was_opened_is_closed_when_a_later_resource_fails():
    seen = []

    class Broken(contextlib.AbstractAsyncContextManager[None]):
        async def __aenter__(self):
            raise OSError("refused")

        async def __aexit__(self, *_):
            seen.append("close broken")

    run = lifespan([resource("redis", seen), Broken()], warm=no_warm_up, ready=lambda: None)
    with pytest.raises(OSError, match="refused"):
        async with run(None):
            pass

    assert seen == ["open redis", "close redis"]
