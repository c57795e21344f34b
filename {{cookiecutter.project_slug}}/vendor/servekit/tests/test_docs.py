"""What the operations guide says is so."""

import ast
import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from servekit import Service, Settings
from servekit.install import entrance
from servekit.sql import Database
from servekit.supervisor.program import SupervisorConfig
from servekit.supervisor.supervisor import Supervisor
from servekit.supervisor.view import REASONS, WorkerCollector

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "operations.md"
LABELS = re.compile(
    r"^\| `([a-z0-9_]+)` \| (?:gauge|counter|histogram) \| ([^|]+) \|", re.MULTILINE
)
ROW = re.compile(r"^\| `([a-z0-9_]+)` \| (?:gauge|counter|histogram)", re.MULTILINE)


@pytest.fixture(scope="module")
def guide() -> str:
    return GUIDE.read_text()


@pytest.fixture(scope="module")
def sources() -> str:
    """The code of the library."""
    return "\n".join(file.read_text() for file in (ROOT / "src").rglob("*.py"))


@pytest.fixture
def exported(make_settings) -> dict[str, set[str]]:
    """The labels of every metric of a worker and of the supervisor, by its name."""
    service = Service(make_settings(Settings, rate_limit_per_minute=60))
    app = FastAPI()
    service.install(app)
    entrance(app)
    service.add_upstream("other", "")
    service.add(Database("sqlite:///never.db"))
    supervisor = CollectorRegistry()
    supervisor.register(WorkerCollector(Supervisor(SupervisorConfig(program="any:thing"), [])))
    labels = {}
    for registry in (service.registry, supervisor):
        for collector in registry._collector_to_names:
            for family in collector.collect():
                name = family.name + ("_total" if family.type == "counter" else "")
                told = (
                    getattr(collector, "_labelnames", None)
                    or getattr(family, "_labelnames", None)
                    or ()
                )
                labels[name] = set(told) - {"worker", "pid"}
    return labels


def test_the_guide_lists_every_metric_and_no_other(guide, exported):
    assert set(ROW.findall(guide)) == exported.keys()


def test_the_guide_names_the_labels_of_each_metric(guide, exported):
    found = dict(LABELS.findall(guide))
    told = {name: set(text.split(", ")) - {"\u2013"} for name, text in found.items()}
    assert told == exported


def test_the_guide_names_every_reason_of_a_restart(guide):
    [row] = [line for line in guide.splitlines() if line.startswith("| `worker_restarts_total`")]
    assert f": {', '.join(REASONS)}." in row


def test_the_guide_explains_events_that_exist(guide, sources):
    table = guide.split("## What an event")[1].split("##")[0]
    events = re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)
    assert events
    assert [event for event in events if f'"{event}"' not in sources] == []


def alarming(code: str) -> set[str]:
    """Return the events that code logs as warnings and errors."""
    found = set()
    for call in ast.walk(ast.parse(code)):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        if call.func.attr in {"warning", "error", "exception"} and call.args:
            found |= {one.value for one in ast.walk(call.args[0]) if isinstance(one, ast.Constant)}
        if call.func.attr == "say":
            named = [each.value for each in call.keywords if each.arg == "event"]
            found |= {one.value for one in named if isinstance(one, ast.Constant)}
    return {event for event in found if isinstance(event, str) and re.fullmatch("[a-z_]+", event)}


def test_the_guide_explains_every_event_that_may_alarm(guide):
    table = guide.split("## What an event")[1].split("\n## ")[0]
    events = "".join(re.findall(r"^\|([^|]+)\|", table, re.MULTILINE))
    told = set(re.findall(r"`([a-z_]+)`", events))
    files = (ROOT / "src" / "servekit").rglob("*.py")
    found = set().union(*(alarming(file.read_text()) for file in files))
    assert {"hook_failed", "host_refused", "event_loop_blocked"} <= found
    assert sorted(found - told) == []
