"""`profile` of the command line, on a running service that a route keeps busy."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from typing import cast

import pytest

from servekit.admin.client import AdminClient, AdminError
from servekit.diagnosis.profile import VIEWS, Sampling, Taken, summary, take_profile
from servekit.diagnosis.stacks import Frame, Profile
from servekit.testing import patience

APPLICATION = """
import asyncio
import time
from fastapi import FastAPI
from servekit import Service, Settings, main

def create_app(settings: Settings) -> FastAPI:
    service = Service(settings)
    app = FastAPI()
    service.install(app)

    @app.get("/")
    async def work() -> None:
        burn()

    @app.get("/wait/{number}")
    async def wait(number: int) -> None:
        await query()

    return app

async def query():
    await asyncio.sleep(0.1)

def burn():
    ends = time.monotonic() + 0.02
    while time.monotonic() < ends:
        pass

if __name__ == "__main__":
    raise SystemExit(main("busy:create_app", settings="servekit:Settings"))
"""


@pytest.fixture
def profile(start_service, tmp_path):
    """Return a function that profiles a busy service by the command line."""
    (tmp_path / "busy.py").write_text(APPLICATION)
    service = start_service("busy", folder=tmp_path, WORKERS=2)
    over = threading.Event()

    def ask(path: str) -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):  # a busy machine has some of them refused
                urllib.request.urlopen(f"{service.url}{path}", timeout=patience(10)).close()

    asking = [threading.Thread(target=ask, args=[path]) for path in ("/", "/", "/", "/wait/1")]
    for each in asking:
        each.start()

    def profile(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "busy", "profile", *arguments],
            cwd=tmp_path,
            env={"ADMIN_PORT": service.admin_url.rpartition(":")[2]},
            capture_output=True,
            text=True,
            timeout=patience(20),
            check=False,
        )

    yield profile
    over.set()
    for each in asking:
        each.join()


def test_the_line_that_keeps_the_workers_busy_is_named(profile, tmp_path):
    done = profile("--seconds", "2", "--output", "p.html")
    assert done.returncode == 0, done.stderr
    line = APPLICATION.splitlines().index("    while time.monotonic() < ends:") + 1
    place, _, callers = done.stdout.splitlines()[1].partition(", called by ")
    assert place.endswith((f"burn  busy.py:{line}", f":{line + 1}"))
    assert callers.startswith("create_app.<locals>.work busy.py:")
    assert "Workers 0, 1; 2 s" in (tmp_path / "p.html").read_text()

    done = profile("--seconds", "1", "--worker", "1", "--format", "speedscope", "--output", "p")
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "p").read_text())
    assert "burn" in {frame["name"] for frame in document["shared"]["frames"]}


def test_where_requests_wait_is_told_by_route_and_line(profile, tmp_path):
    done = profile("--mode", "waits", "--seconds", "2", "--output", "w.html")
    assert done.returncode == 0, done.stderr
    line = APPLICATION.splitlines().index("    await asyncio.sleep(0.1)") + 1
    assert "s of requests, of which they waited" in done.stdout.splitlines()[0]
    assert f"query  busy.py:{line}  /wait/{{number}}" in done.stdout
    page = (tmp_path / "w.html").read_text()
    assert "Where requests wait" in page
    assert "/wait/{number}" in page


@pytest.mark.parametrize(
    ("error", "told"),
    [(AdminError("gone"), "worker 0: gone; worker 1: gone"), (OSError("no"), "no")],
)
def test_workers_that_give_no_profile_are_told_and_nobody_waits_for_them(error, told):
    class Client:
        def ready(self, _: int | None) -> list[dict[str, int]]:
            return [{"slot": 0}, {"slot": 1}]

        def debug(self, *_: object, **__: object) -> bytes:
            raise error

    with pytest.raises(type(error), match=told):
        take_profile(cast("AdminClient", Client()), Sampling(60, 100))


@pytest.mark.usefixtures("ctrl_c_is_heard")
def test_ctrl_c_waits_for_no_worker():
    over = threading.Event()

    class Client:
        def ready(self, _: int | None) -> list[dict[str, int]]:
            return [{"slot": 0}, {"slot": 1}]

        def debug(self, *_: object, **__: object) -> bytes:
            os.kill(os.getpid(), signal.SIGINT)
            over.wait(patience(30))
            return b""

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        take_profile(cast("AdminClient", Client()), Sampling(60, 100))
    assert time.monotonic() - began < patience(10)
    over.set()


def test_what_a_request_awaits_and_holds_meanwhile_stands_behind_its_line():
    """The outermost and the innermost of what is awaited, libraries' between them left out."""
    route, own = Frame("/pay"), Frame("pay", "/srv/shop/a.py", 3)
    get, send, read = (Frame(name, "/x/site-packages/httpx.py", 1) for name in ("get", "send", "r"))
    profile = Profile()
    profile.stacks[route, own, get, send, read, Frame("(holds a database connection)")] = 3000
    profile.stacks[route, own, get] = 1000
    profile.stacks[Frame("/x"), own] = 500
    assert summary(Taken(profile, "", [], VIEWS["waits"])) == [
        "4.5 s of requests, of which they waited",
        " 66.7%  pay  /srv/shop/a.py:3  /pay  awaits get ... r  (holds a database connection)",
        " 22.2%  pay  /srv/shop/a.py:3  /pay  awaits get",
        " 11.1%  pay  /srv/shop/a.py:3  /x",
    ]


def test_time_that_is_computed_is_told_apart_and_a_kept_profile_can_be_drawn(profile, tmp_path):
    seconds = f"{patience(1):g}"  # beside others a worker may compute nothing for a second
    done = profile("--mode", "cpu", "--seconds", seconds, "--format", "collapsed", "--output", "c")
    assert done.returncode == 0, done.stderr
    assert "burn  busy.py:" in done.stdout.splitlines()[1]
    done = profile("--from", "c", "--output", "c.html")
    assert done.returncode == 0, done.stderr
    assert "From c." in (tmp_path / "c.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--from", "none"], "none cannot be read"),
        (["--from", "busy.py"], "busy.py is no profile of collapsed stacks"),
        (["--worker", "7"], "no worker 7 is ready; ready are 0, 1"),
        (["--seconds", "1", "--output", "no/such/folder/p"], "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_one_line(profile, arguments, reason):
    done = profile(*arguments)
    assert done.returncode == 1
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) <= 2
