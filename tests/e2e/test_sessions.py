import json
import time

from running import patience


def workers_that_served(service, path: str) -> set[int]:
    lines = (json.loads(line) for line in service.log.splitlines() if line.startswith("{"))
    return {line["worker"] for line in lines if line.get("path") == path}


def test_a_session_holds_on_every_worker(start_service, client, login):
    service = start_service(WORKERS=2)
    with client(service, fresh=True) as http:
        login(http)
        deadline = time.monotonic() + patience(20)
        while workers_that_served(service, "/session") != {0, 1}:
            assert time.monotonic() < deadline
            answer = http.get("/session")
            assert answer.status_code == 200
            assert answer.json()["username"] == "alice"


def test_a_session_survives_a_restart_of_the_service(start_service, valkey, client, login):
    service = start_service(REDIS_URL=valkey.url)
    with client(service) as http:
        login(http)
        cookies = http.cookies
    service.stop()

    again = start_service(REDIS_URL=valkey.url)
    with client(again) as http:
        http.cookies = cookies
        assert http.get("/session").json()["username"] == "alice"
