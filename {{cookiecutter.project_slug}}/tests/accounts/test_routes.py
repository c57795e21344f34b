import pytest

from tests.bad_input import bad_fields

ADA = {"username": "ada", "password": "correct horse"}


@pytest.fixture
async def ada(client):
    response = await client.post("/users", json=ADA)
    assert response.status_code == 201
    return response.json()


async def test_a_user_registers_and_logs_in_and_out(client, ada):
    assert (await client.get("/session")).status_code == 401
    login = await client.post("/session", json=ADA)
    assert login.json() == {"user_id": ada["id"], "username": "ada"}
    assert (await client.get("/session")).json() == login.json()
    assert (await client.delete("/session")).status_code == 204
    assert (await client.get("/session")).status_code == 401


async def test_a_name_is_taken_whatever_its_capitals(client, ada):
    response = await client.post("/users", json=ADA | {"username": "Ada"})
    assert response.status_code == 409
    assert response.headers["content-type"] == "application/problem+json"


async def test_a_login_with_wrong_name_or_password_is_the_same_401(client, ada):
    wrong = [ADA | {"password": "wrong"}, ADA | {"username": "bob"}]
    answers = [await client.post("/session", json=credentials) for credentials in wrong]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].json()["detail"] == answers[1].json()["detail"]
    assert "set-cookie" not in answers[0].headers


async def test_bad_credentials_are_a_422_problem(client):
    for fields, field in (
        ({"username": "ab"}, "body.username"),
        ({"username": "a" * 33}, "body.username"),
        ({"username": "a b c"}, "body.username"),
        ({"username": "-abc"}, "body.username"),
        ({"username": "abc\n"}, "body.username"),
        ({"username": "äöü"}, "body.username"),
        ({"password": ""}, "body.password"),
        ({"password": "p" * 129}, "body.password"),
        ({"password": 12345678}, "body.password"),
        ({"admin": True}, "body.admin"),
    ):
        for path in ("/users", "/session"):
            response = await client.post(path, json=ADA | fields)
            assert bad_fields(response) == [field], fields


async def test_a_new_password_has_eight_characters(client):
    response = await client.post("/users", json=ADA | {"password": "7 chars"})
    assert bad_fields(response) == ["body.password"]


async def test_a_user_sees_and_ends_sessions_on_other_devices(new_client, client, ada):
    phone = new_client()
    await client.post("/session", json=ADA)
    await phone.post("/session", json=ADA, headers={"user-agent": "phone"})
    listed = (await client.get("/sessions")).json()
    assert [session["current"] for session in listed] == [True, False]
    assert listed[1]["device"] == "phone"
    assert listed[1]["last_used_at"] >= listed[1]["created_at"]

    assert (await client.delete(f"/sessions/{listed[1]['id']}")).status_code == 204
    assert (await phone.get("/session")).status_code == 401
    assert (await client.get("/session")).status_code == 200
    assert (await client.delete(f"/sessions/{listed[1]['id']}")).status_code == 404


async def test_logging_out_everywhere_ends_every_session(new_client, client, ada):
    phone = new_client()
    for device in (client, phone):
        await device.post("/session", json=ADA)
    assert (await client.delete("/sessions")).status_code == 204
    assert [(await device.get("/session")).status_code for device in (client, phone)] == [401, 401]


async def test_without_a_login_there_is_a_401_problem(client):
    for method, path in (
        ("GET", "/session"),
        ("GET", "/sessions"),
        ("DELETE", "/sessions"),
        ("DELETE", "/sessions/x"),
    ):
        response = await client.request(method, path)
        assert response.status_code == 401, path
        assert response.headers["content-type"] == "application/problem+json"


async def test_logging_out_without_a_login_does_nothing(client):
    assert (await client.delete("/session")).status_code == 204


def test_every_answer_is_documented(app):
    paths = app.openapi()["paths"]
    assert set(paths["/users"]["post"]["responses"]) == {"201", "409", "422", "429", "default"}
    assert set(paths["/sessions"]["delete"]["responses"]) == {"204", "401", "default"}
