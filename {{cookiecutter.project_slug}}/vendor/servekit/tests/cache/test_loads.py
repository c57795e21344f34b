import asyncio
import contextlib
import gc
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from servekit import Service, Settings
from servekit.cache import LoadTimeout, cached
from servekit.cache.single_flight import Loads
from servekit.errors import StoreUnavailable
from servekit.testing import patience
from tests.asgi import call
from tests.cache.test_functions import HOST, connected, running
from tests.stores.workers import until, worker


class Pool:
    """Connections of which too many at once are refused, as a database has them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.open: set[object] = set()
        self.opened = 0

    @contextlib.asynccontextmanager
    async def connect(self):
        assert len(self.open) < self.size, "the pool is empty"
        self.opened += 1
        connection = object()
        self.open.add(connection)
        try:
            yield connection
        finally:
            self.open.discard(connection)


async def test_a_load_uses_what_it_opens_and_not_what_its_caller_had(redis_url):
    pool, used, go = Pool(2), [], asyncio.Event()
    async with worker(redis_url) as cache:

        @cache.cached(
            "row:{number}",
            ttl_seconds=0.05,
            stale_seconds=60,
            jitter=0,
            opens={"connection": pool.connect},
        )
        async def row(connection: object, number: int) -> int:
            await go.wait()
            assert connection in pool.open, "it was closed"
            used.append(connection)
            return number

        go.set()
        async with pool.connect() as own:
            assert await row(own, 7) == 7
        await asyncio.sleep(0.06)
        go.clear()
        async with pool.connect() as own:
            assert (await row.lookup(own, 7)).state == "stale"
        await until(lambda: len(pool.open) == 1)  # the refresh, when the request has closed its own
        go.set()
        await until(lambda: len(used) == 2 and not pool.open)

        async with pool.connect() as own:
            assert await row.refresh(own, number=7) == 7
            assert own not in used
            with cache.bypass():
                await row(own, 7)
            assert used[-1] is own, "without a cache nothing outlives the request"
        assert not pool.open


async def test_a_load_that_its_caller_left_keeps_what_it_opened(redis_url):
    pool, go, seen = Pool(2), asyncio.Event(), []
    async with worker(redis_url) as cache:

        @cache.cached("row:{number}", ttl_seconds=60, opens={"connection": pool.connect})
        async def row(connection: object, number: int) -> int:
            await go.wait()
            seen.append(connection in pool.open)
            return number

        async with pool.connect() as own:
            caller = asyncio.ensure_future(row(own, 7))
            await until(lambda: pool.opened == 2)
            caller.cancel()
            await asyncio.gather(caller, return_exceptions=True)
        go.set()
        await until(lambda: seen)
        assert seen == [True]
        await until(lambda: not pool.open)


def test_an_argument_that_is_not_in_the_key_is_refused_unless_it_is_said_how():
    async def read(session: object, number: int, page: int = 1) -> int:
        return number

    def declare(**options: Any) -> Any:
        return cached("read:{number}", ttl_seconds=60, **options)(read)

    with pytest.raises(ValueError, match=r"'page' is not in the key 'read:\{number\}'.*ignores="):
        declare(ignores=("session",))
    with pytest.raises(ValueError, match=r"'session' is not in the key.*opens="):
        declare(ignores=("page",))
    with pytest.raises(ValueError, match="no parameter 'connection'"):
        declare(opens={"connection": Pool(1).connect}, ignores=("page", "session"))
    with pytest.raises(ValueError, match=r"'number' is in the key"):
        declare(ignores=("number", "page", "session"))
    declare(opens={"session": Pool(1).connect}, ignores=("page",))


@pytest.mark.parametrize("own", ["self", "cls"])
def test_a_method_is_refused_as_no_cache_is_bound_to_an_object(own):
    namespace: dict[str, Any] = {}
    exec(f"async def read({own}, number: int) -> int: ...", namespace)
    with pytest.raises(ValueError, match=rf"'{own}' and so is a method, which cannot be cached"):
        cached("read:{number}", ttl_seconds=60, ignores=(own,))(namespace["read"])


@pytest.mark.parametrize("form", ["*words", "**more", "word=None", "/, word", "*, word"])
def test_no_kind_of_parameter_is_left_out_of_the_key_unseen(form):
    namespace: dict[str, Any] = {}
    exec(f"async def read(number, {form}): pass".replace(", /", " , /"), namespace)
    with pytest.raises(ValueError, match="is not in the key"):
        cached("read:{number}", ttl_seconds=60)(namespace["read"])


def stubborn(times: int) -> Any:
    """A load that never ends, and does not even end when it is cancelled, `times` times."""

    async def load(number: int) -> int:
        for _ in range(times):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)
        await asyncio.sleep(3600)
        return number

    return load


@pytest.mark.parametrize("times", [0, 1])
async def test_a_load_that_never_ends_holds_its_key_for_its_time_only(redis_url, times):
    async with worker(redis_url, lease_seconds=0.3) as a, worker(redis_url) as b:
        options: dict[str, Any] = {"ttl_seconds": 60, "timeout_seconds": 0.5}
        endless = a.cached("slow:{number}", **options)(stubborn(times))
        calls = [asyncio.ensure_future(endless(7)) for _ in range(3)]
        await asyncio.sleep(0.1)

        async def load(number: int) -> int:
            return number

        other = b.cached("slow:{number}", **options)(load)
        async with asyncio.timeout(patience(5)):
            for error in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(error, LoadTimeout)
                assert "slow was not loaded within 0.5 s" in str(error)
            assert await other(7) == 7
            await until(lambda: _reads(endless, 7))


async def _reads(function, value):
    with contextlib.suppress(LoadTimeout):
        return await function(7) == value


async def test_a_refresh_that_never_ends_leaves_the_stale_value_and_is_tried_again(redis_url):
    loads = 0
    async with worker(redis_url, timeout_seconds=0.05) as cache:

        @cache.cached("slow:{number}", ttl_seconds=0.05, stale_seconds=60, jitter=0)
        async def slow(number: int) -> int:
            nonlocal loads
            loads += 1
            if loads > 1:
                await asyncio.sleep(3600)
            return number

        await slow(7)
        with capture_logs() as logs:
            await until(lambda: _stale_twice(slow, lambda: loads))
        assert any(
            line["event"] == "cache_refresh_failed" and "LoadTimeout" in line["error"]
            for line in logs
        )


async def _stale_twice(slow, loads):
    assert (await slow.lookup(7)).value == 7
    return loads() > 2


async def test_what_a_load_that_was_given_up_raises_is_a_record():
    async def load() -> int:
        try:
            await asyncio.sleep(3600)
        finally:
            raise OSError("the disk is full")

    with capture_logs() as logs:
        loads = Loads()
        with pytest.raises(LoadTimeout):
            await loads.run(load, timeout_seconds=0.01, name="rows")
        await loads.close()
        gc.collect()

    assert [(line["event"], line["cache"]) for line in logs] == [("cache_load_failed_late", "rows")]
    assert "the disk is full" in logs[0]["error"]


async def test_zero_is_no_time_limit_and_errors_pass_as_they_are(redis_url):
    async def load() -> int:
        await asyncio.sleep(0.02)
        raise KeyError("none")

    for seconds in (0, 60):
        with pytest.raises(KeyError):
            await Loads().run(load, timeout_seconds=seconds, name="rows")


async def test_a_load_out_of_time_is_504_to_a_client(redis_url):
    from fastapi import FastAPI

    @cached("slow:{number}", ttl_seconds=60)
    async def slow(number: int) -> int:
        await asyncio.sleep(3600)
        return number

    app = FastAPI()
    Service(Settings(environment="test", redis_url=redis_url, timeout_load_seconds=0.05)).install(
        app
    )

    @app.get("/{number}")
    async def read(number: int) -> int:
        return await slow(number)

    async with running(app):
        answer = await connected(call(app, "/7", headers=HOST))
    assert answer.status == 504


async def test_a_refresh_that_leaves_the_load_to_others_is_no_answer(redis_url):
    async with worker(redis_url, local_bytes=0) as cache:
        engine = cache._engine
        left = asyncio.Event()

        @cache.cached("thing", ttl_seconds=60)
        async def thing() -> str:
            return "loaded"

        async def leave(*_):
            await left.wait()  # another process has the lease

        async def refuse(*_, **__):
            raise StoreUnavailable("full")

        lookups = []
        whole = engine.get_or_load

        async def note(lookup):
            lookups.append(lookup)
            return await whole(lookup)

        engine.get_or_load = note  # type: ignore[method-assign] # to have the key's lookup
        assert await thing() == "loaded"
        await thing.delete()
        engine._reader.fetch = refuse  # type: ignore[method-assign] # a pool that is full
        engine._refresh = leave  # type: ignore[method-assign] # as above
        engine._refresh_in_background(lookups[0])
        asked = asyncio.create_task(thing())
        await asyncio.sleep(0.05)
        left.set()
        assert await asked == "loaded"


async def test_a_run_that_is_over_in_this_very_moment_is_not_asked_for_ever(redis_url):
    async with worker(redis_url) as cache:

        async def nothing() -> None:
            """As a refresh ends that leaves the load to another process."""

        async def load() -> str:
            return "loaded"

        lookup: Any = SimpleNamespace(key="k", policy=SimpleNamespace(codec="codec"), tags=())
        cache._engine._flights.begin("k", "codec", nothing)
        # Its first step comes right behind the run's only one.
        asked: Any = asyncio.create_task(cache._engine._joined(lookup, cast("Any", load)))
        assert await asyncio.wait_for(asked, patience(5)) == "loaded"
