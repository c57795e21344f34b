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


async def test_what_is_opened_first_is_closed_last_and_readiness_comes_after_all():
    seen: list[str] = []

    resources = [resource("redis", seen), resource("cache", seen)]
    async with lifespan(resources, ready=lambda: seen.append("ready"))(None):
        seen.append("serve")

    assert seen == [
        "open redis",
        "open cache",
        "ready",
        "serve",
        "close cache",
        "close redis",
    ]


async def test_what_was_opened_is_closed_when_a_later_resource_fails():
    seen: list[str] = []

    class Broken(contextlib.AbstractAsyncContextManager[None]):
        async def __aenter__(self):
            raise OSError("refused")

        async def __aexit__(self, *_):
            seen.append("close broken")

    run = lifespan([resource("redis", seen), Broken()], ready=lambda: seen.append("ready"))
    with pytest.raises(OSError, match="refused"):
        async with run(None):
            pass

    assert seen == ["open redis", "close redis"]
