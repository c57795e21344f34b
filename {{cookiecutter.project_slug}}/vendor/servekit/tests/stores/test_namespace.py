"""Every key and channel begins with the service's namespace, so that services can share a Redis."""

import asyncio
import re
from ast import literal_eval
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import redis.asyncio
from fastapi import Depends, FastAPI
from hypothesis import given, strategies as st
from pydantic import SecretStr
from redis.asyncio.cluster import RedisCluster
from redis.crc import key_slot

from servekit import Service, Settings
from servekit.cache import CacheDep, cache_response, cached
from servekit.cache.keys.space import KeySpace
from servekit.configuration.identity import GROUP, default_namespace, project_name
from servekit.redis.clients import RedisClients
from servekit.sessions import SessionDep
from servekit.throttle import Throttle, attempt
from tests.asgi import call
from tests.cache.test_functions import connected, running
from tests.stores.servers import cluster, form
from tests.stores.workers import session_worker, until

QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
SPACE = "shop"
PATIENT: dict[str, Any] = dict.fromkeys(
    ("timeout_redis_connect_ms", "timeout_cache_ms", "timeout_session_ms"), 10_000
)


def application(url: str, namespace: str = SPACE) -> FastAPI:
    """Return an application that uses every part of the service that has something in Redis."""
    app = FastAPI()
    Service(
        Settings(
            environment="test",
            redis_url=SecretStr(url),
            redis_namespace=namespace,
            rate_limit_per_minute=5,
            allowed_hosts=["localhost"],
            session_limit_per_user=2,
            **PATIENT,
        )
    ).install(app)

    @cached("{odd}:{number}", ttl_seconds=60, tags=("all", "{number}"))
    async def value(odd: str, number: int) -> int:
        return number

    logins = Throttle("login", attempts=10, seconds=60)

    @app.post("/login")
    async def login(session: SessionDep) -> None:
        async with attempt(logins.of("42"), logins.of("{a}*")) as current:
            await session.login("42")
            current.succeeded()
        await logins.remember("42", seconds=60)
        assert await logins.knows("42")
        session["a"] = 1

    @app.post("/logout")
    async def logout(session: SessionDep) -> int:
        return await session.logout_everywhere()

    @app.get("/page/{number}", dependencies=[Depends(cache_response(ttl_seconds=60))])
    async def page(number: int) -> int:
        return number

    @app.post("/cache")
    async def use(cache: CacheDep) -> None:
        for odd in ("cache", "shop:", "}{", "", "*", "e:{a}"):
            await asyncio.gather(*(value(odd, 1) for _ in range(3)))
            await value.refresh(odd, 1)
            await value.set(2, odd, 2)
            await value.delete(odd, 2)
        await cache.set_many({"a": 1, "{b}": 2}, ttl_seconds=60, tags=("all", "{t}"))
        await cache.get_many(["a", "{b}"], int)
        await cache.invalidate_tag("all", "{t}")
        await cache.set("{c}", 1, ttl_seconds=60)
        await cache.delete_pattern("a*")

    return app


async def use_everything(app: FastAPI) -> None:
    host = ("host", "localhost")
    service = app.state.servekit
    async with running(app):
        await until(lambda: service.cache.coherent and service.sessions.coherent)
        cookies = []
        for number in range(3):
            answer = await ask(app, "/login", "POST", number, host)
            cookie = answer.headers[b"set-cookie"].decode().partition(";")[0]
            cookies.append(("cookie", cookie))
        await ask(app, "/cache", "POST", 4, host, cookies[2])
        for _ in range(2):
            await ask(app, "/page/7", "GET", 5, host)
        await ask(app, "/page/7", "PUT", 5, host)
        await ask(app, "/logout", "POST", 6, host, cookies[2])
        await ask(app, "/login", "POST", 6, host)
        limited = [(await ask(app, "/page/8", "GET", 7, host)).status for _ in range(7)]
        assert 429 in limited


async def ask(app: FastAPI, path: str, method: str, number: int, *headers: tuple[str, str]) -> Any:
    client = (f"192.0.2.{number}", 5000)
    return await connected(call(app, path, method, headers=headers, client=client))


@asynccontextmanager
async def monitored(url: str) -> AsyncIterator[list[list[str]]]:
    """Give the commands that the server is sent, scripts' own among them."""
    seen: list[list[str]] = []
    client = redis.asyncio.Redis.from_url(url, socket_timeout=None, decode_responses=True)
    async with client, client.monitor() as monitor:

        async def listen() -> None:
            while True:
                line = await monitor.connection.read_response()
                seen.append([literal_eval(word) for word in QUOTED.findall(line)])

        task = asyncio.ensure_future(listen())
        yield seen
        await client.echo("the end")
        await until(lambda: ["ECHO", "the end"] in seen)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_no_part_of_a_service_touches_what_is_not_in_its_namespace(redis_url):
    async with monitored(redis_url) as commands:
        await use_everything(application(redis_url))

    async with redis.asyncio.Redis.from_url(redis_url, decode_responses=True) as client:
        keys = [str(key) for key in await client.keys()]
        touched: dict[str, set[str]] = {
            kind: set() for kind in ("keys", "patterns", "channels", "without")
        }
        for command in commands:
            await note(client, command, touched)
    for kind in ("keys", "patterns"):
        assert touched[kind]
        assert [name for name in touched[kind] if not name.startswith(f"{SPACE}:")] == []
    assert [name for name in touched["channels"] if not name.startswith(f"{SPACE}:")] == []
    assert touched["without"] <= {"CLIENT", "ECHO", "HELLO", "PING", "SCRIPT", "TIME"}
    parts = {key.split(":")[1] for key in (*keys, *touched["keys"])}
    assert parts == {"cache", "session", "session-user", "rate-limit", "throttle"}


async def note(client: Any, command: list[str], touched: dict[str, set[str]]) -> None:
    """Sort what a command names."""
    name = command[0].upper()
    if name == "SCAN" or (name == "CLIENT" and "TRACKING" in command):
        word = "MATCH" if name == "SCAN" else "PREFIX"
        touched["patterns"].add(command[command.index(word) + 1])
    elif "PUBLISH" in name or "SUBSCRIBE" in name:
        touched["channels"] |= set(command[1:2] if "PUBLISH" in name else command[1:])
    else:
        try:
            found = await client.execute_command("COMMAND GETKEYS", *command)
        except redis.ResponseError:
            touched["without"].add(name)
        else:
            touched["keys"] |= set(found)


async def test_on_a_cluster_too():
    with cluster() as nodes:
        await form(nodes)
        url = f"redis+cluster://127.0.0.1:{nodes[0].connection_pool.connection_kwargs['port']}"
        await use_everything(application(url))
        async with RedisCluster.from_url(url.replace("redis+cluster", "redis")) as client:
            keys = [key.decode() async for key in client.scan_iter()]
    assert len(keys) > 5
    assert [key for key in keys if not key.startswith(f"{SPACE}:")] == []
    assert {key.split(":")[1] for key in keys} >= {"cache", "session", "rate-limit"}


@given(st.text(max_size=8))
def test_an_entry_and_its_lease_share_a_slot_under_every_namespace(name):
    for prefix in ("cache:", f"{SPACE}:cache:", "a.b-c_d:cache:"):
        keys = KeySpace(prefix)
        slots = {key_slot(key(name).encode(errors="replace")) for key in (keys.entry, keys.lease)}
        assert len(slots) == 1


async def test_user_42_of_one_service_is_not_user_42_of_another(redis_url):
    async with session_worker(redis_url) as shop, other_service(redis_url) as other:
        await shop.login(None, "42", {})
        token = await other.login(None, "42", {})

        assert [info.ref for info in await other.list("42")] == [token.ref]
        assert await shop.read(token) is None
        assert not await shop.revoke("42", token.ref)
        assert await shop.delete_all("42") == 1
        assert await other.read(token)


@asynccontextmanager
async def other_service(url: str) -> AsyncIterator[Any]:
    service = Service(
        Settings(environment="test", redis_url=SecretStr(url), redis_namespace="other", **PATIENT)
    )
    async with service.redis, service.sessions:
        yield service.sessions


async def test_what_one_service_empties_stays_with_the_other(redis_url):
    apps = [application(redis_url), application(redis_url, "other")]
    caches = [app.state.servekit.cache for app in apps]
    async with running(apps[0]), running(apps[1]):
        for cache in caches:
            await cache.set("a", 1, ttl_seconds=60, tags=("all",))
        await caches[0].delete_pattern("*")
        await caches[0].invalidate_tag("all")

        assert await caches[0].get("a", int) is None
        assert await caches[1].get("a", int) == 1


@pytest.mark.parametrize("namespace", ["", "a:b", "a*", "a{b}", "a b", "a?", "[a]", "ä"])
def test_a_namespace_that_could_hold_another_or_means_a_pattern_is_refused(namespace):
    with pytest.raises(ValueError, match="namespace"):
        RedisClients("redis://localhost", namespace=namespace)
    if namespace:
        with pytest.raises(ValueError, match="redis_namespace"):
            Settings(redis_namespace=namespace)


@contextmanager
def installed(patch: pytest.MonkeyPatch, **projects: str) -> Iterator[None]:
    def entry_points(*, group: str) -> list[Any]:
        assert group == GROUP
        return [
            SimpleNamespace(name=package, dist=SimpleNamespace(metadata={"Name": name}))
            for package, name in projects.items()
        ]

    with patch.context() as here:
        here.setattr("servekit.configuration.identity.metadata.entry_points", entry_points)
        yield


def test_the_project_that_is_installed_names_the_namespace(monkeypatch):
    class Own(Settings):
        """Settings of `tests`, as far as their module says."""

    with installed(monkeypatch, service="my-shop"):
        assert project_name("service.settings") == "my-shop"
        assert default_namespace(Own()) == "my-shop", "it is the only one"
    with installed(monkeypatch, service="my-shop", tests="other"):
        assert default_namespace(Own()) == "other"
        assert default_namespace(Settings()) == "servekit", "nothing says which one it is"
    with installed(monkeypatch):
        assert project_name("service.settings") == ""
        assert default_namespace(Own()) == "tests"
