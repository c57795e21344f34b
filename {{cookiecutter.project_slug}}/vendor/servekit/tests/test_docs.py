"""What the operations guide says is so."""

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
from servekit.supervisor.view import WorkerCollector

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "operations.md"
ROW = re.compile(r"^\| `([a-z0-9_]+)` \| (?:gauge|counter|histogram)", re.MULTILINE)


@pytest.fixture(scope="module")
def guide() -> str:
    return GUIDE.read_text()


@pytest.fixture(scope="module")
def sources() -> str:
    """The code of the library."""
    return "\n".join(file.read_text() for file in (ROOT / "src").rglob("*.py"))


@pytest.fixture
def exported(make_settings) -> set[str]:
    """The names of every metric of a worker and of the supervisor."""
    service = Service(make_settings(Settings, rate_limit_per_minute=60))
    app = FastAPI()
    service.install(app)
    entrance(app)
    service.add_upstream("other", "")
    service.add(Database("sqlite:///never.db"))
    supervisor = CollectorRegistry()
    supervisor.register(WorkerCollector(Supervisor(SupervisorConfig(program="any:thing"), [])))
    return {
        family.name + ("_total" if family.type == "counter" else "")
        for registry in (service.registry, supervisor)
        for family in registry.collect()
    }


def test_the_guide_lists_every_metric_and_no_other(guide, exported):
    assert set(ROW.findall(guide)) == exported


def test_the_guide_explains_events_that_exist(guide, sources):
    table = guide.split("## What an event")[1].split("##")[0]
    events = re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)
    assert events
    assert [event for event in events if f'"{event}"' not in sources] == []
