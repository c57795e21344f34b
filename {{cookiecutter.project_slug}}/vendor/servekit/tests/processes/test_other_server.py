"""An application runs under a plain uvicorn too: everything but the supervisor."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import httpx2
import pytest

from servekit.testing import patience
from servekit.testing.guarded import guarded
from servekit.testing.running_service import reserved_port

UVICORN = [sys.executable, "-m", "uvicorn", "demo.app:create_app", "--factory"]


@contextlib.contextmanager
def started(folder, **settings):
    """Run a plain uvicorn; yield a client, the process and its log."""
    log = folder / "log"
    with reserved_port() as port, log.open("wb") as output:
        options = {"cwd": folder, "env": {"PATH": os.environ["PATH"]} | settings}
        command = [*UVICORN, "--port", str(port)]
        with (
            guarded(command, **options, stdout=output, stderr=subprocess.STDOUT) as process,
            httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=patience(5)) as client,
        ):
            yield client, process, log


def wait_until_ready(client, process, log):
    deadline = time.monotonic() + patience(20)
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx2.HTTPError):
            if client.get("/readyz").status_code == 200:
                return
        time.sleep(0.05)
    pytest.fail(log.read_text())


def test_one_process_serves_with_a_redis_of_its_own_that_ends_with_it(demo):
    patient = {"TIMEOUT_CACHE_MS": "5000", "TIMEOUT_SESSION_MS": "5000"}
    with started(demo, GREETING="hi", LOG_FORMAT="json", **patient) as (client, process, log):
        wait_until_ready(client, process, log)
        assert client.get("/").json() == "hi"
        assert client.put("/kept/a?value=7").status_code == 200
        assert client.get("/kept/a").json() == 7
        client.post("/session/ada", headers={"origin": str(client.base_url)})
        assert client.get("/session").json() == "ada"
        assert client.get("/nowhere").headers["content-type"] == "application/problem+json"
        process.send_signal(signal.SIGTERM)
        process.wait(patience(15))
    text = log.read_text()
    assert '"no_supervisor"' in text
    assert '"http_request"' in text
    assert "Traceback" not in text


def test_settings_that_cannot_be_used_are_a_line_each_and_no_trace(demo):
    given = {"ENVIRONMENT": "production", "GREETING_LENGTH": "long", "REDIS_NAMESPACE": "demo"}
    with started(demo, **given) as (_, process, log):
        assert process.wait(patience(15)) == 1
    lines = log.read_text().splitlines()
    assert {line.partition(":")[0] for line in lines} == {
        "GREETING_LENGTH",
        "REDIS_URL",
        "SECRET_KEY",
    }
