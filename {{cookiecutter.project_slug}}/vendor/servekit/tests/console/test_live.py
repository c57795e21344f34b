"""The stream of a service that runs, as the page and `top` read it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from servekit.admin.client import AdminClient
from servekit.testing import patience


@contextlib.contextmanager
def asked(service, path):
    """Ask the service something and leave it waiting."""

    def ask() -> None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(service.url + path, timeout=patience(30)).close()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    yield


def follow(service, token=""):
    return AdminClient("127.0.0.1", int(service.admin_url.rpartition(":")[2]), token=token).follow(
        "/console/stream"
    )


def until(stream, wanted, seconds=10.0):
    """Return the first document that is as wanted, and the seconds until it came."""
    began = time.monotonic()
    for document in stream:
        if "workers" in document and wanted(document):
            return document, time.monotonic() - began
        assert time.monotonic() - began < patience(seconds), document
    pytest.fail("the stream has ended")


@pytest.fixture
def service(start_looked_at):
    return start_looked_at()


def test_a_request_that_waits_is_shown_with_route_age_and_own_line(service):
    with contextlib.closing(follow(service)) as stream, asked(service, "/wait/id-7"):
        began = time.monotonic()
        document, _ = until(
            stream, lambda each: each["running"] and each["running"][0]["seconds"] > 1
        )
        elapsed = time.monotonic() - began
    [request] = document["running"]
    assert request["seconds"] < elapsed + 1
    assert (request["method"], request["route"]) == ("GET", "/wait/{what}")
    assert request["path"] == "/wait/id-7"
    assert " create_app.<locals>.wait awaits " in request["place"]
    assert "looked_at.py:" in request["place"]


def test_a_killed_worker_is_seen_within_two_seconds(service):
    with contextlib.closing(follow(service)) as stream:
        document, _ = until(stream, lambda each: each["ready"])
        pid = document["workers"][1]["pid"]
        os.kill(pid, signal.SIGKILL)
        document, seconds = until(
            stream,
            lambda each: any(
                event["event"] == "worker_ended" and f"pid={pid}" in event["detail"]
                for event in each["events"]
            ),
        )
        assert seconds < patience(2)
        assert pid not in [row["pid"] for row in document["workers"]]
        until(stream, lambda each: [row["state"] for row in each["workers"]] == ["ready"] * 2)


def test_a_loop_that_stands_still_is_seen_while_it_does_and_in_the_journal_after(service):
    with contextlib.closing(follow(service)) as stream:
        until(stream, lambda each: all(row.get("answers") for row in each["workers"]))
        with asked(service, "/block/2.5"):
            document, _ = until(
                stream, lambda each: not all(row["answers"] for row in each["workers"])
            )
            assert any(row["answers"] for row in document["workers"])
            document, _ = until(
                stream,
                lambda each: any(
                    event["event"] == "event_loop_blocked" for event in each["events"]
                ),
            )
    [stall] = [each for each in document["events"] if each["event"] == "event_loop_blocked"]
    assert "route=/block/{seconds}" in stall["detail"]


def test_a_level_set_at_run_time_reaches_every_worker_and_those_to_come(service):
    def everybody_logs(level):
        return lambda each: [row.get("log_level") for row in each["workers"]] == [level] * 2

    with contextlib.closing(follow(service)) as stream:
        until(stream, everybody_logs("info"))
        request = urllib.request.Request(
            f"{service.admin_url}/console/log-level", json.dumps({"level": "debug"}).encode()
        )
        urllib.request.urlopen(request, timeout=patience(5)).close()
        document, _ = until(stream, everybody_logs("debug"))
        os.kill(document["workers"][0]["pid"], signal.SIGKILL)
        until(
            stream,
            lambda each: (
                document["workers"][0]["pid"] not in [row["pid"] for row in each["workers"]]
                and everybody_logs("debug")(each)
            ),
        )
    urllib.request.urlopen(f"{service.url}/chat", timeout=patience(5)).close()
    assert service.events("chatted")


def test_the_service_ends_at_once_though_somebody_looks(service):
    with contextlib.closing(follow(service)) as stream:
        until(stream, lambda each: each["ready"])
        began = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - began < patience(5)
        assert not [line for line in service.log.splitlines() if "graceful" in line]


def test_top_prints_one_moment_for_a_pipe(service, tmp_path):
    port = service.admin_url.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-m", "looked_at", "top", "--once"],
        cwd=tmp_path, env={"ADMIN_PORT": port}, capture_output=True, text=True,
        timeout=patience(20), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 of 2 workers answer" in done.stdout
    assert "\x1b" not in done.stdout
