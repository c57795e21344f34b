"""Tasks of one request that write to its session at once lose nothing of each other's."""

import asyncio

import pytest

from servekit.sessions.cookie import SessionCookie
from servekit.sessions.session import Session
from servekit.sessions.store import SessionStore


@pytest.fixture
def open_session(clients):
    store = SessionStore(clients, secret_keys=["key-of-the-tests"])
    cookie = SessionCookie(store.signer)

    def open_session(token=None):
        sent = [(b"cookie", cookie.set(token)[1].split(b";")[0])] if token else []
        return Session(store, cookie, {"type": "http", "headers": sent})

    return open_session


async def saved(session, name):
    session[name] = name
    await session.save()


@pytest.mark.parametrize("is_new", [True, False])
async def test_fields_that_are_saved_at_once_are_all_in_one_session(open_session, is_new):
    session = await open_session().load()
    if not is_new:
        await saved(session, "first")
    await asyncio.gather(*(saved(session, name) for name in "abcdef"))
    assert not session.pending
    created = session._store.metrics.created.labels("anonymous")._value.get()
    assert created == 1
    again = await open_session(session._token).load()
    assert set("abcdef") <= set(again)


@pytest.mark.parametrize("way", ["rotate", "login"])
async def test_what_changes_while_the_id_does_is_written_too(open_session, way):
    session = await open_session().load()
    await saved(session, "first")
    session["before"] = 1

    async def change():
        session["during"] = 2
        session["before"] = 3
        del session["first"]

    calls = {"rotate": session.rotate, "login": lambda **fields: session.login("7", **fields)}
    await asyncio.gather(calls[way](given=4), change())
    expected = {"during": 2, "before": 3, "given": 4}
    assert {name: session[name] for name in session} == expected
    await session.commit()
    again = await open_session(session._token).load()
    assert {name: again[name] for name in again} == expected


async def test_what_is_given_to_a_login_stands_over_what_was_changed_before(open_session):
    session = await open_session().load()
    session["name"] = "visitor"
    await session.login("7", name="ada")
    assert session["name"] == "ada"
    assert not session.pending


async def test_a_login_beside_the_first_save_of_a_visitor_loses_no_field(open_session):
    session = await open_session().load()
    await asyncio.gather(session.login("7"), saved(session, "cart"))
    again = await open_session(session._token).load()
    assert (again.user_id, again.get("cart")) == ("7", "cart")
    session = await open_session().load()
    await asyncio.gather(saved(session, "cart"), session.login("7"))
    again = await open_session(session._token).load()
    assert (again.user_id, again.get("cart")) == ("7", "cart")


async def test_a_session_is_a_mapping_and_keeps_what_is_assigned(open_session):
    session = await open_session().load()
    assert (dict(session), len(session), list(session.items())) == ({}, 0, [])
    session.update(a=1, b=[2])
    assert session.setdefault("a", 9) == 1
    assert session.pop("a") == 1
    session["b"].append(3)  # of a copy, as the documents say
    session["c"] = [*session["b"], 3]
    await session.save()
    assert dict(await open_session(session._token).load()) == {"b": [2], "c": [2, 3]}
    assert session != open_session()
    assert len({session, session, open_session()}) == 2
