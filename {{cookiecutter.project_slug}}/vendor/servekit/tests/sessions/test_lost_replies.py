"""A request to Redis is lost, or its reply is: the second try ends as the first would have."""

import asyncio
import contextlib

import pytest

import redis
from servekit.redis.embedded import EmbeddedServer
from servekit.sessions.cookie import SessionToken
from servekit.sessions.store import SessionStore
from tests.redis.patient import patient_clients

RECORDS = {"name": b'"ada"', "basket": b"[1,2]"}


class Lossy:
    """A way to a server that loses one request, or the reply to it, and resets the connection."""

    def __init__(self, path):
        self._path = path
        self.lose = 0
        """Which of the next requests it is; 0 for none."""
        self.lost = 0

    async def __aenter__(self):
        self._tasks = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        theirs, to_them = await asyncio.open_unix_connection(self._path)
        with contextlib.suppress(OSError):
            while data := await reader.read(2**16):
                self.lose -= self.lose > 0
                losing = self.lose == 0 and self._armed
                if not losing or self._what == "reply":
                    to_them.write(data)
                    reply = await theirs.read(2**16)
                if losing:
                    self._armed = False
                    self.lost += 1
                    writer.transport.abort()
                    break
                writer.write(reply)
        to_them.close()
        writer.close()

    _armed, _what = False, ""

    def lose_one(self, number, what):
        self.lose, self._armed, self.lost, self._what = number, number > 0, 0, what


@pytest.fixture(scope="module")
def server():
    with EmbeddedServer() as server:
        yield server


@contextlib.asynccontextmanager
async def stored(server):
    """A store with an anonymous session and three of a user, and the way to it."""
    with redis.Redis(unix_socket_path=str(server.path)) as admin:
        admin.flushall()
    async with (
        Lossy(str(server.path)) as way,
        patient_clients(f"redis://127.0.0.1:{way.port}") as clients,
    ):
        store = SessionStore(clients, secret_keys=["key-of-the-tests"], limit_per_user=3)
        anonymous = await store.create(dict(RECORDS))
        users = [await store.login(None, "7", dict(RECORDS)) for _ in range(3)]
        yield store, way, anonymous, users


async def data(store, token):
    record = await store.read(token) if token is not None else None
    return record and (record.user_id, record.data)


async def rotate(store, _, users):
    return await data(store, await store.rotate(users[0], {"role": b'"admin"'}))


async def log_in(store, anonymous, _):
    token = await store.login(anonymous, "8", {"role": b"1"})
    return await data(store, token), len(await store.list("8")), token.ref == anonymous.ref


async def log_in_over_the_limit(store, _, users):
    await store.login(None, "7", {})
    return len(await store.list("7")), await data(store, users[0])


async def log_out_everywhere(store, _, users):
    await store.delete_all("7")
    return [await data(store, token) for token in users], await store.list("7")


async def log_out_elsewhere(store, _, users):
    await store.delete_all("7", keep=users[1].ref)
    return [await data(store, token) for token in users], len(await store.list("7"))


async def list_them(store, _, users):
    return {info.ref for info in await store.list("7")} == {token.ref for token in users}


async def update(store, anonymous, _):
    return await store.update(anonymous, {"basket": b"[3]", "name": None}), await data(
        store, anonymous
    )


async def end(store, _, users):
    ended = await store.end(users[0].ref, user_id="7", reason="logout")
    return ended, await data(store, users[0]), len(await store.list("7"))


async def revoke(store, _, users):
    revoked = await store.revoke("7", users[0].ref)
    return revoked, await data(store, users[0]), len(await store.list("7"))


async def create(store, _anonymous, _users):
    token: SessionToken = await store.create({"a": b"1"})
    return await data(store, token)


@pytest.mark.parametrize(
    "operation",
    [
        *(rotate, log_in, log_in_over_the_limit, log_out_everywhere, log_out_elsewhere),
        *(list_them, update, end, revoke, create),
    ],
)
@pytest.mark.parametrize("what", ["request", "reply"])
async def test_what_is_asked_again_ends_as_what_was_asked_once(server, operation, what):
    async with stored(server) as (store, _, *tokens):
        expected = await operation(store, *tokens)
    number = lost = 1
    while lost:
        async with stored(server) as (store, way, *tokens):
            way.lose_one(number, what)
            assert await operation(store, *tokens) == expected, f"{what} {number} was lost"
            lost = way.lost
        number += 1
    assert number > 2
