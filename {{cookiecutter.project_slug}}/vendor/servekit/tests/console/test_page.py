"""The page's way past the guard: its files are open and hold nothing; all else stays guarded."""

import re
from typing import Any, cast

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from servekit.admin.admin import create_admin
from servekit.console.feed import VIEWERS_MAX, Feed
from servekit.console.journal import Journal
from servekit.console.page import FILES, Console
from servekit.supervisor.program import SupervisorConfig
from servekit.supervisor.supervisor import Supervisor
from servekit.supervisor.view import SupervisorView
from servekit.supervisor.worker_process import CommandError

RIGHT = {"authorization": "Bearer secret"}
PROBES = {"/livez", "/readyz"}


@pytest.fixture
def console():
    view = SupervisorView(Supervisor(SupervisorConfig(program="none:none"), []))
    feed = Feed(view, Journal(), {"name": "the-name"})
    inline = "'sha256-a'", "'sha256-b'"
    return Console(view, feed, draw=lambda *_: "", inline=inline, asks_token=True)


@pytest.fixture
def app(console):
    return create_admin(console._view, token="secret", routes=console.routes, shell=console.shell)


def test_the_page_and_its_files_load_without_the_token_and_hold_no_data(app, console):
    client = TestClient(app)
    assert len(console.shell) == len(FILES)
    for path in console.shell:
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "the-name" not in answer.text
        assert "secret" not in answer.text


def test_whatever_is_no_file_of_the_page_demands_the_token(app, console):
    client = TestClient(app)
    guarded = [route for route in app.routes if route.path not in PROBES | console.shell]
    assert len(guarded) > 8
    for route in guarded:
        for method in route.methods:
            path = route.path.replace("{command}", "stacks")
            assert client.request(method, path).status_code == 401, path


@pytest.mark.parametrize("path", ["/console", "/console/", "/console/../metrics", "/console/x"])
def test_what_looks_like_the_page_and_is_not_demands_the_token(app, path):
    assert TestClient(app).get(path).status_code == 401


def test_the_policy_allows_nothing_inline_but_the_flame_graph_and_no_other_host(app):
    policy = TestClient(app).get("/").headers["content-security-policy"]
    assert "script-src 'self' 'sha256-a';" in policy
    assert "style-src 'self' 'sha256-b';" in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"unsafe|\*|https?:|data:", policy)


def test_the_page_is_told_that_there_is_a_token_to_ask_for(app, console):
    assert 'data-asks-token="yes"' in TestClient(app).get("/").text


def test_the_files_name_no_other_host_and_nothing_inline(app, console):
    client = TestClient(app)
    for path in console.shell:
        text = client.get(path).text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"""https?:|//[a-z]|\sstyle=|\son[a-z]+=|innerHTML|eval\(""", text), (
            path
        )


def test_without_a_token_another_name_of_this_host_is_refused_the_page_too(console):
    app = create_admin(console._view, routes=console.routes, shell=console.shell)
    local = TestClient(app, base_url="http://127.0.0.1:9100")
    assert local.get("/").status_code == 200
    assert local.get("/", headers={"host": "rebound.test:9100"}).status_code == 403


def test_a_page_of_another_site_can_set_no_level(app):
    client = TestClient(app)
    headers = RIGHT | {"origin": "https://evil.test"}
    answer = client.post("/console/log-level", json={"level": "debug"}, headers=headers)
    assert answer.status_code == 403


@pytest.mark.parametrize("body", ["", "[]", '{"level": "loud"}', '{"level": ["debug"]}', "{}"])
def test_a_level_that_is_none_is_refused_with_those_that_are(app, body):
    answer = TestClient(app).post("/console/log-level", content=body, headers=RIGHT)
    assert answer.status_code == 400
    assert "debug, info, warning, error" in answer.json()["detail"]


def test_one_viewer_too_many_is_told_so(app, console):
    console._feed.viewers = VIEWERS_MAX
    answer = TestClient(app).get("/console/stream", headers=RIGHT)
    assert (answer.status_code, answer.json()["detail"][:8]) == (503, "too many")


@pytest.mark.parametrize("query", ["seconds=0", "seconds=x", "seconds=nan", "seconds=61"])
def test_a_senseless_time_for_a_profile_is_refused(app, query):
    assert TestClient(app).get(f"/console/profile?{query}", headers=RIGHT).status_code == 400


def test_who_is_missing_in_a_profile_of_all_is_said(monkeypatch):
    class Half:
        """Two workers, of which one answers."""

        serving = dict.fromkeys((0, 1))

        async def call(self, slot, *_):
            if slot:
                raise CommandError("the worker died")
            return b"main;work 7\n"

    told: list[tuple[list[str], str]] = []

    def draw(stacks: list[str], text: str) -> str:
        told.append((stacks, text))
        return ""

    console = Console(
        cast("Any", Half()),
        cast("Any", None),
        draw=draw,
        inline=("", ""),
        asks_token=False,
    )
    client = TestClient(Starlette(routes=console.routes))
    assert client.get("/console/profile?seconds=1").status_code == 200
    [(stacks, text)] = told
    assert stacks == ["main;work 7\n"]
    assert text.startswith("Workers: 0; 1 s")
    assert "Not in it: worker 1: the worker died." in text
    assert "worker 1: the worker died" in client.get("/console/profile?worker=1").text


def test_a_profile_of_nobody_says_so(app):
    answer = TestClient(app).get("/console/profile?worker=7", headers=RIGHT)
    assert answer.json()["detail"] == "there is no worker 7 that serves"
