"""`run --reload` as a developer uses it: new code answers at once, an error can be read."""

import json
import os
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from servekit.testing import patience
from servekit.testing.guarded import guarded
from tests.processes.running import children_of, parent_of, receives

GREETING = "settings.greeting[: settings.greeting_length]"
CODE = (Path(__file__).parents[1] / "demo" / "app.py").read_text()
COMMAND = [sys.executable, "-m", "demo", "run", "--reload"]


@pytest.fixture
def served(demo, ports):
    """The service under `--reload`; yields its address and a function that reads its log."""
    environment = {"PATH": os.environ["PATH"], "LOG_FORMAT": "json"} | ports
    log = demo / "service.log"
    url = f"http://127.0.0.1:{ports['PORT']}/"
    with (
        log.open("wb") as output,
        guarded(COMMAND, cwd=demo, env=environment, stdout=output, stderr=output),
    ):

        def events(name):
            lines = log.read_text().splitlines()
            records = [json.loads(line) for line in lines if line.startswith("{")]
            return [record for record in records if record["event"] == name]

        until(lambda: events("worker_started"), 20)
        until(lambda: ask(url), 20)
        yield url, events


def until(condition, seconds):
    """Wait until a condition holds; return the seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < patience(seconds)
        time.sleep(0.01)
    return time.monotonic() - began


def ask(url):
    try:
        with urllib.request.urlopen(url, timeout=patience(5)) as answer:
            return json.load(answer)
    except OSError:
        return None


def save(demo, greeting):
    (demo / "demo" / "app.py").write_text(CODE.replace(GREETING, repr(greeting)))


def test_a_save_is_answered_by_new_code_within_a_second(served, demo):
    url, events = served
    took = []
    for greeting in ("try 1", "try 2", "try 3"):
        supervisor = parent_of(parent_of(events("worker_started")[-1]["pid"]))
        until(lambda supervisor=supervisor: any(map(receives, children_of(supervisor))), 20)
        save(demo, greeting)
        took.append(until(lambda greeting=greeting: ask(url) == greeting, 10))
    assert min(took) < patience(1), took


def test_of_saves_one_after_the_other_each_is_answered(served, demo):
    url, _ = served
    for greeting in ("try 1", "try 2", "try 3", "try 4"):  # of one size, some in one second
        save(demo, greeting)
        until(lambda greeting=greeting: ask(url) == greeting, 10)


def test_a_save_that_hangs_is_overtaken_by_the_next(served, demo):
    url, events = served
    hanging = "import pathlib, time\npathlib.Path('hangs').touch()\ntime.sleep(600)\n"
    (demo / "demo" / "app.py").write_text(hanging + CODE)
    until((demo / "hangs").exists, 10)
    save(demo, "mended")
    until(lambda: ask(url) == "mended", 30)
    assert events("reload_overtaken")


def test_an_error_of_syntax_is_one_event_with_its_place_and_the_old_code_serves_on(served, demo):
    url, events = served
    (demo / "demo" / "app.py").write_text("def (:\n")
    until(lambda: events("reload_failed"), 10)
    [failed] = events("reload_failed")
    assert failed["reason"].startswith("SyntaxError: ")
    assert "demo/app.py:1" in failed["reason"]
    assert ask(url) == "hello"
