import asyncio
import contextlib
import contextvars
import gc
import inspect
import weakref
from collections.abc import Coroutine
from typing import Any, TypeVar, assert_type

import pytest
from fastapi import BackgroundTasks, FastAPI
from pydantic import SecretStr

from servekit import Service, Settings
from servekit.cache import cached
from servekit.cache.decorator import ServiceCached
from servekit.scope import current_service
from tests.asgi import call
from tests.stores.workers import until, worker

T = TypeVar("T")

HOST = [("host", "localhost")]
OUTSIDE = "No service runs this"


def counting() -> tuple[ServiceCached[[int], int], list[int]]:
    """Return a cached function and the arguments of its loads."""
    loads: list[int] = []

    @cached("square:{number}", ttl_seconds=60)
    async def square(number: int) -> int:
        loads.append(number)
        return number * number

    return square, loads


def application(redis_url: str, **options: Any) -> FastAPI:
    """Return a plain application with a service around it."""
    app = FastAPI(**options)
    url = SecretStr(redis_url)
    Service(Settings(environment="test", redis_url=url, redis_namespace="service")).install(app)
    return app


def connected(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run it as a server does for a connection: in a context that inherits nothing."""
    return asyncio.get_running_loop().create_task(work, context=contextvars.Context())


def running(app: FastAPI) -> Any:
    """Enter the application's lifespan, as a server does when its routes are complete."""
    app.middleware_stack = app.build_middleware_stack()
    return app.router.lifespan_context(app)


async def test_a_request_uses_the_cache_of_its_service(redis_url):
    square, loads = counting()
    app = application(redis_url)

    @app.get("/{number}")
    async def read(number: int) -> list[object]:
        value = await square(number)
        return [value, (await square.lookup(number)).state]

    async def ask() -> None:
        for _ in range(2):
            assert (await call(app, "/7", headers=HOST)).body == b'[49,"hit"]'
        assert current_service.get() is None, "it ends with the request"

    async with running(app):
        await connected(ask())
    assert loads == [7]


async def test_a_background_task_of_a_request_and_the_lifespan_use_it_too(redis_url):
    square, loads = counting()

    @contextlib.asynccontextmanager
    async def lifespan(_):
        assert await square(2) == 4
        yield
        assert await square(3) == 9

    app = application(redis_url, lifespan=lifespan)

    @app.get("/")
    async def read(tasks: BackgroundTasks) -> None:
        tasks.add_task(square, 5)
        app.state.task = asyncio.create_task(square(6))

    async with running(app):
        await connected(call(app, headers=HOST))
        assert await app.state.task == 36
    assert sorted(loads) == [2, 3, 5, 6]
    with pytest.raises(RuntimeError, match=OUTSIDE):
        await square(2)


async def test_two_services_of_a_process_share_nothing(redis_url):
    square, loads = counting()
    apps = [application(redis_url), application(f"{redis_url}?db=1")]
    services = [app.state.servekit for app in apps]

    async def read() -> object:
        return (await square.lookup(7)).state

    for app in apps:
        app.get("/")(read)

    async with running(apps[0]), running(apps[1]):
        for app in apps:
            assert (await connected(call(app, headers=HOST))).body == b'"miss"'
        for app in apps:
            assert (await connected(call(app, headers=HOST))).body == b'"hit"'
    assert loads == [7, 7]
    first, second = (square.bound_to(service.cache) for service in services)
    assert first is not second
    assert first is square.bound_to(services[0].cache)


async def test_a_mounted_application_has_its_own_and_gives_the_outer_one_back(redis_url):
    outer, inner = application(redis_url), application(f"{redis_url}?db=1")
    current = []

    @inner.get("/")
    async def read() -> None:
        current.append(current_service.get())

    @outer.middleware("http")
    async def around(request, call_next):
        answer = await call_next(request)
        current.append(current_service.get())
        return answer

    outer.mount("/inner", inner)
    async with running(inner), running(outer):
        await connected(call(outer, "/inner/", headers=HOST))

    assert current == [inner.state.servekit, outer.state.servekit]


async def test_outside_of_a_service_the_error_says_what_to_do(redis_url):
    square, _ = counting()
    calls = [
        square(7),
        square.lookup(7),
        square.get_cached(7),
        square.set(49, 7),
        square.delete(7),
        square.refresh(7),
    ]
    for each in calls:
        with pytest.raises(RuntimeError, match=OUTSIDE):
            await each
    async with worker(redis_url) as cache:
        assert await square.bound_to(cache)(7) == 49


async def test_it_offers_what_the_method_of_a_cache_offers(redis_url):
    square, loads = counting()
    assert inspect.unwrap(square) is square.function
    async with worker(redis_url) as cache, running(application(redis_url)):
        bound = square.bound_to(cache)

        assert await square.get_cached(7) is None
        assert await square(7) == 49
        await square.set(50, 7)
        await until(lambda: _is(bound, 50))
        assert await square.refresh(7) == 49
        await square.delete(7)
        assert await square.get_cached(7) is None
        assert (await square.lookup(7)).state == "miss"
        assert_type(await square(7), int)
    assert loads == [7, 7, 7]
    names = {name for name in dir(bound) if not name.startswith("_")}
    own = {
        "key",
        "policy",
        "use_policy",
        "local_hit",
        "local_entry",
        "count_local_hit",
        "bypassed",
        "replaced",
    }
    assert names - own <= set(dir(square))


async def _is(function, value):
    return (await function.lookup(7)).value == value


async def test_a_binding_ends_with_its_cache(redis_url):
    square, _ = counting()
    async with worker(redis_url) as cache:
        await square.bound_to(cache)(7)
    ended = weakref.ref(cache)
    del cache
    gc.collect()

    assert ended() is None
    assert not square._bound


def test_what_cannot_be_cached_is_refused_when_it_is_declared():
    async def number(key: int) -> int:
        return key

    async def absent(key: int) -> "Absent":  # type: ignore[name-defined] # noqa: F821
        return key

    with pytest.raises(ValueError, match="no parameter 'other'"):
        cached("number:{other}", ttl_seconds=60)(number)
    with pytest.raises(ValueError, match="no parameter 'other'"):
        cached("number:{key}", ttl_seconds=60, tags=("tag:{other}",))(number)
    with pytest.raises(TypeError, match="absent must be importable"):
        cached("number:{key}", ttl_seconds=60)(absent)
