import io
import json
import shutil
import signal
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path

import httpx2
import pytest

from servekit.testing.running_service import answers
from tests.processes.running import alive


def test_a_service_runs_with_workers_and_stops_when_asked(start_service, demo):
    service = start_service("demo", folder=demo, GREETING="moin")
    with httpx2.Client(base_url=service.url) as client:
        assert client.get("/").json() == "moin"
    workers = json.loads(urllib.request.urlopen(f"{service.admin_url}/workers").read())["workers"]
    assert [worker["state"] for worker in workers] == ["ready", "ready"]
    [started] = service.events("service_started")
    assert started["url"] == service.url
    assert service.stop(signal.SIGTERM) == 0
    assert service.events("stopped")
    assert not any(alive(worker["pid"]) for worker in workers)


def test_redis_has_as_much_time_as_in_other_tests_unless_the_test_says(start_service, demo):
    service = start_service("demo", folder=demo, WORKERS=1, TIMEOUT_SESSION_MS=77)
    environment = Path(f"/proc/{service.process.pid}/environ").read_text().split("\0")
    assert "TIMEOUT_CACHE_MS=10000" in environment
    assert "TIMEOUT_SESSION_MS=77" in environment


def test_the_log_is_that_of_this_process_and_lines_of_others_are_no_events(start_service, demo):
    first = start_service("demo", folder=demo, WORKERS=1)
    assert first.stop() == 0
    assert first.events("stopped")
    with (demo / "service.log").open("a") as log:
        log.write("{'order': 1}\n[1]\n")
    second = start_service("demo", folder=demo, WORKERS=1)
    with (demo / "service.log").open("a") as log:
        log.write("{'order': 1}\n[1]\n")
    assert second.events("service_started")
    assert not second.events("stopped")


def test_what_is_started_is_found_where_the_tests_find_it(start_service, demo, monkeypatch):
    monkeypatch.chdir(demo.parent)
    monkeypatch.setenv("PYTHONPATH", demo.name)
    service = start_service("demo", folder=demo.parent, WORKERS=1, GREETING="moin")
    assert service.events("service_started")


def test_a_service_that_cannot_start_says_why(start_service, demo):
    with pytest.raises(AssertionError, match=r"exit 1 at start:\s+GREETING_LENGTH: "):
        start_service("demo", folder=demo, GREETING_LENGTH="long")


def test_an_answer_other_than_200_is_closed(monkeypatch):
    refusal = urllib.error.HTTPError("", 503, "", Message(), io.BytesIO(b"{}"))

    def urlopen(*arguments, **options):
        raise refusal

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    assert not answers("http://127.0.0.1:1/readyz")
    assert refusal.closed


def test_two_services_share_the_redis_of_the_test(start_service, demo, tmp_path):
    other = shutil.copytree(demo, tmp_path / "other")
    one = start_service("demo", folder=demo, WORKERS=1)
    two = start_service("demo", folder=other, WORKERS=1)
    with httpx2.Client() as client:
        assert client.put(f"{one.url}/kept/a?value=1").status_code == 200
        assert client.get(f"{two.url}/kept/a").json() == 1
