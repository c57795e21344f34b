import asyncio

import pytest
from prometheus_client import CollectorRegistry

from servekit.errors import StoreUnavailable
from servekit.redis.clients import RedisClients
from servekit.sessions import index
from servekit.sessions.cookie import SessionToken
from servekit.sessions.index import UNCOUNTED
from servekit.sessions.store import SessionStore
from servekit.testing import patience
from tests.redis.patient import patient_clients
from tests.stores.workers import until

KEYS = ["first-key-of-the-tests-0123456789"]


@pytest.fixture
async def clients(redis_url):
    async with patient_clients(redis_url) as clients:
        yield clients


def make_store(clients, **options):
    return SessionStore(clients, **({"secret_keys": KEYS} | options))


@pytest.fixture(params=[0, 2**20], ids=["Redis only", "own copies"])
async def store(clients, request):
    async with make_store(clients, local_bytes=request.param) as store:
        await until(lambda: store.coherent == bool(request.param))
        yield store


async def ended(store, token, seconds):
    """Wait until a session is gone; the time limit is the promise."""
    async with asyncio.timeout(patience(seconds)):
        while await store.read(token):  # noqa: ASYNC110 - Redis ends it, no event of ours
            await asyncio.sleep(0.01)


async def test_a_session_is_read_back_with_its_user_and_its_data(store):
    token = await store.create({"basket": b"[7]"}, user_id="ada", device="Firefox")

    record = await store.read(token)

    assert (record.user_id, dict(record.data), record.current) == ("ada", {"basket": b"[7]"}, True)


async def test_redis_holds_neither_the_id_nor_a_part_of_it(store, clients):
    token = await store.create({}, user_id="ada")
    await store.rotate(token, {})

    stored = b""
    for key in await clients.sessions.keys("*"):
        kind = await clients.sessions.type(key)
        fields = await clients.sessions.hgetall(key) if kind == b"hash" else {}
        stored += key + b"".join(part for field in fields.items() for part in field)

    for part in (token.selector, token.secret):
        assert part not in stored
        assert part.hex().encode() not in stored


async def test_an_unknown_id_is_no_session(store, clients):
    assert await store.read(SessionToken.new()) is None
    assert await store.update(SessionToken.new(), {"a": b"1"}) == (False, False)
    assert await store.rotate(SessionToken.new(), {}) is None
    assert await clients.sessions.dbsize() == 0


async def test_the_right_record_with_a_wrong_secret_is_no_session(store):
    token = await store.create({}, user_id="ada")

    assert await store.read(token.rotated()) is None


async def test_an_idle_session_ends_and_use_keeps_it(clients):
    store = make_store(clients, idle_seconds=0.5)
    idle, used = await store.create({}), await store.create({})

    for _ in range(6):
        await asyncio.sleep(0.1)
        assert await store.update(used, {}) == (True, True)

    assert await store.read(idle) is None
    await ended(store, used, seconds=1)


async def test_use_does_not_prolong_the_absolute_lifetime(clients):
    store = make_store(clients, idle_seconds=10, absolute_seconds=0.3)
    token = await store.create({}, user_id="ada")

    async with asyncio.timeout(patience(1)):
        while (await store.update(token, {}))[0]:
            token = await store.rotate(token, {}) or token
            await asyncio.sleep(0.02)

    assert await store.read(token) is None


async def test_a_login_starts_the_absolute_lifetime_again(clients):
    store = make_store(clients, idle_seconds=10, absolute_seconds=0.4)
    token = await store.create({})
    await asyncio.sleep(0.25)
    token = await store.login(token, "ada", {})
    await asyncio.sleep(0.25)

    assert await store.read(token)


async def test_after_a_rotation_the_old_id_opens_the_session_for_the_grace_time_only(clients):
    store = make_store(clients, rotation_grace_seconds=0.3)
    old = await store.create({"role": b'"user"'}, user_id="ada")
    new = await store.rotate(old, {"role": b'"admin"'})

    graced = await store.read(old)
    assert (graced.user_id, graced.current) == ("ada", False)
    assert (await store.read(new)).current
    assert old.secret != new.secret

    await ended(store, old, seconds=1)
    assert await store.read(new)


async def test_the_id_before_a_login_never_opens_the_users_session(store):
    planted = await store.create({"basket": b"[7]"})
    await store.login(planted, "ada", {"role": b'"admin"'})

    record = await store.read(planted)

    assert record.superseded
    assert (record.user_id, dict(record.data)) == (None, {})


async def test_a_logout_ends_the_old_id_in_its_grace_too(store):
    old = await store.create({}, user_id="ada")
    new = await store.rotate(old, {})
    await store.delete(new.ref, user_id="ada")

    assert await store.read(old) is None
    assert await store.read(new) is None
    assert await store.update(old, {"a": b"1"}) == (False, False)


async def test_only_the_holder_of_the_current_id_rotates(store):
    token = await store.create({}, user_id="ada")

    rotated = await asyncio.gather(*(store.rotate(token, {}) for _ in range(10)))

    assert len([new for new in rotated if new]) == 1


async def test_fifty_parallel_writes_of_different_fields_are_all_kept(store):
    token = await store.create({}, user_id="ada")

    await asyncio.gather(*(store.update(token, {f"f{n}": b"%d" % n}) for n in range(50)))

    data = (await store.read(token)).data
    assert data == {f"f{n}": b"%d" % n for n in range(50)}


async def test_a_field_is_removed_alone(store):
    token = await store.create({"a": b"1", "b": b"2"})
    await store.update(token, {"a": None})

    assert (await store.read(token)).data == {"b": b"2"}


async def test_a_user_has_at_most_so_many_sessions_and_the_oldest_goes(clients):
    registry = CollectorRegistry()
    store = make_store(clients, limit_per_user=3, registry=registry)

    tokens = [await store.login(None, "ada", {}) for _ in range(5)]

    alive = [await store.read(token) is not None for token in tokens]
    assert alive == [False, False, True, True, True]
    assert registry.get_sample_value("session_revoked_total", {"reason": "limit"}) == 2


async def test_parallel_logins_stay_within_the_limit(clients):
    store = make_store(clients, limit_per_user=3)

    tokens = await asyncio.gather(*(store.login(None, "ada", {}) for _ in range(20)))

    alive = [token for token in tokens if await store.read(token)]
    assert 1 <= len(alive) <= 3
    assert {info.ref for info in await store.list("ada")} == {token.ref for token in alive}


async def test_a_session_that_ended_by_itself_does_not_push_out_a_living_one(clients):
    store = make_store(clients, limit_per_user=2)
    first = await store.login(None, "ada", {})
    second = await store.login(None, "ada", {})
    await clients.sessions.delete("service:session:" + second.ref)  # as an idle lifetime does

    await store.login(None, "ada", {})

    assert await store.read(first)


async def test_a_user_sees_the_devices_and_ends_one_by_its_reference(store):
    phone = await store.login(None, "ada", {}, device="phone")
    laptop = await store.login(None, "ada", {}, device="laptop")

    listed = await store.list("ada")
    assert [info.device for info in listed] == ["phone", "laptop"]
    assert all(info.last_used_at >= info.created_at for info in listed)

    assert await store.revoke("ada", listed[0].ref)
    assert await store.read(phone) is None
    assert await store.read(laptop)
    assert not await store.revoke("ada", listed[0].ref)


async def test_a_session_that_ended_by_itself_is_not_listed(store, clients):
    ended = await store.login(None, "ada", {})
    living = await store.login(None, "ada", {})
    await clients.sessions.delete("service:session:" + ended.ref)  # as an idle lifetime does

    assert [info.ref for info in await store.list("ada")] == [living.ref]
    assert await clients.sessions.zcard("service:session-user:ada") == 1


async def test_nobody_ends_the_session_of_another_user(store):
    token = await store.login(None, "ada", {})

    assert not await store.revoke("eve", token.ref)
    assert await store.read(token)


async def test_all_sessions_of_a_user_end_or_all_but_one(store):
    tokens = [await store.login(None, "ada", {}) for _ in range(4)]
    other = await store.login(None, "eve", {})

    assert await store.delete_all("ada", keep=tokens[2].ref) == 3
    assert [await store.read(token) is not None for token in tokens] == [False, False, True, False]

    assert await store.delete_all("ada") == 1
    assert await store.read(tokens[2]) is None
    assert await store.read(other)


async def test_a_login_never_takes_over_the_session_of_another_user(store):
    token = await store.login(None, "ada", {"secret": b'"hers"'})

    new = await store.login(token, "eve", {})

    record = await store.read(new)
    assert (record.user_id, dict(record.data)) == ("eve", {})
    assert (await store.read(token)).user_id == "ada"


async def test_a_dead_redis_is_an_error_never_an_empty_session():
    async with RedisClients("redis://127.0.0.1:1") as clients:
        with pytest.raises(StoreUnavailable):
            await make_store(clients).read(SessionToken.new())


async def test_sessions_of_before_the_lifetime_was_lowered_can_all_be_ended(clients):
    before = await make_store(clients, absolute_seconds=3600).login(None, "ada", {})
    store = make_store(clients, absolute_seconds=0.5)
    await asyncio.sleep(0.6)  # by the new setting the first would have ended
    after = await store.login(None, "ada", {})
    assert [info.ref for info in await store.list("ada")] == [before.ref, after.ref]
    await asyncio.sleep(0.6)
    assert await store.delete_all("ada") == 1
    assert await store.read(before) is None


async def test_what_is_known_of_a_users_sessions_does_not_grow_with_the_logins(clients):
    store = make_store(clients, limit_per_user=0)
    for _ in range(3 * UNCOUNTED):
        token = await store.login(None, "ada", {})
        await clients.sessions.delete("service:session:" + token.ref)
    assert await clients.sessions.zcard("service:session-user:ada") <= UNCOUNTED + 1


async def test_a_machine_that_logs_in_all_the_time_goes_on_doing_so(clients, monkeypatch):
    monkeypatch.setattr(index, "LOOKED_AT", 20)
    store = make_store(clients, limit_per_user=0)
    asked = []
    each = store._index._each

    async def note(refs, *command):
        asked.append(len(refs))
        return await each(refs, *command)

    monkeypatch.setattr(store._index, "_each", note)
    for _ in range(100):
        await store.login(None, "ada", {})
    assert len(await store.list("ada")) == 100
    assert max(asked[:-1]) == 20
