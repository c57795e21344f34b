import pytest
from starlette.testclient import TestClient

from servekit.admin.admin import create_admin
from servekit.admin.client import table
from servekit.supervisor.program import SupervisorConfig
from servekit.supervisor.supervisor import Supervisor
from servekit.supervisor.view import SupervisorView


@pytest.fixture
def view():
    return SupervisorView(Supervisor(SupervisorConfig(program="none:none"), []))


def local_client(view):
    return TestClient(create_admin(view), base_url="http://127.0.0.1:9100")


def test_the_token_is_demanded_everywhere_but_for_the_probes(view):
    client = TestClient(create_admin(view, token="secret"))
    assert client.get("/metrics").status_code == 401
    wrong = {"authorization": "Bearer wrong"}
    assert client.get("/workers", headers=wrong).status_code == 401
    right = {"authorization": "Bearer secret"}
    assert client.get("/workers", headers=right).status_code == 200
    assert client.get("/livez").status_code == 200


def test_a_service_without_ready_workers_is_alive_and_not_ready(view):
    client = local_client(view)
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 503


@pytest.mark.parametrize("body", ["", "[]", '{"count": 0}', '{"count": true}', '{"count": 513}'])
def test_a_senseless_number_of_workers_is_refused(view, body):
    assert local_client(view).post("/workers", content=body).status_code == 400


def test_what_is_not_there_is_said_in_a_problem_document(view):
    client = local_client(view)
    for answer, detail in ((client.get("/no"), "Not Found"), (client.get("/stop"), None)):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"] == (detail or "Method Not Allowed")
    assert client.get("/stop").headers["allow"] == "POST"


def test_a_web_page_cannot_write_through_the_browser_of_an_operator(view):
    client = local_client(view)
    assert client.post("/reload", headers={"origin": "https://evil.test"}).status_code == 403
    assert client.post("/reload", headers={"host": "evil.test:9100"}).status_code == 403


def test_a_slot_that_waits_for_a_worker_is_shown_with_what_happened_to_it(view):
    [slot] = view._supervisor.slots
    slot.restarts["crash"] = 2
    [row] = local_client(view).get("/workers").json()["workers"]
    assert row == {"slot": 0, "pid": None, "state": "waiting", "restarts": {"crash": 2}}
    assert table([row]).splitlines()[1].split()[:2] == ["0", "-"]


@pytest.mark.parametrize(
    "path", ["/debug/heap", "/debug/profile?seconds=1", "/workers", "/metrics"]
)
def test_an_image_or_a_script_of_another_page_asks_for_nothing(view, path):
    """It sends no Origin, and a command is a GET."""
    client = local_client(view)
    for site in ("cross-site", "same-site"):
        assert client.get(path, headers={"sec-fetch-site": site}).status_code == 403
    for site in ("same-origin", "none"):
        assert client.get(path, headers={"sec-fetch-site": site}).status_code != 403
