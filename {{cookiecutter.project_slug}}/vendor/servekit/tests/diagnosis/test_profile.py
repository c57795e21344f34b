"""`profile` of the command line, on a running service that a route keeps busy."""

import json
import subprocess
import sys
import threading
import urllib.request

import pytest

from servekit.testing import patience

APPLICATION = """
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

    return app

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

    def ask() -> None:
        while not over.is_set():
            urllib.request.urlopen(service.url, timeout=patience(10)).close()

    asking = [threading.Thread(target=ask) for _ in range(4)]
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
    assert "burn  busy.py:" in done.stdout.splitlines()[1]
    assert "Workers 0, 1; 2 s" in (tmp_path / "p.html").read_text()

    done = profile("--seconds", "1", "--worker", "1", "--format", "speedscope", "--output", "p")
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "p").read_text())
    assert "burn" in {frame["name"] for frame in document["shared"]["frames"]}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--worker", "7"], "there is no worker 7"),
        (["--seconds", "0"], "seconds must be above 0"),
        (["--seconds", "1", "--output", "no/such/folder/p"], "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_one_line(profile, arguments, reason):
    done = profile(*arguments)
    assert done.returncode == 1
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) <= 2
