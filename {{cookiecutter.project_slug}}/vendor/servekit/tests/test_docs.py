"""What the operations guide of the project says of the library is so."""

import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from servekit import Service, Settings
from servekit.install import entrance
from servekit.workers.view import WorkerCollector

ROOT = Path(__file__).parents[1]
PROJECT = ROOT.parents[1]
GUIDE = PROJECT / "docs" / "operations.md"
ROW = re.compile(r"^\| `([a-z0-9_]+)` \| (?:gauge|counter|histogram)", re.MULTILINE)

pytestmark = pytest.mark.skipif(not GUIDE.is_file(), reason="the library stands alone")


@pytest.fixture(scope="module")
def guide() -> str:
    return GUIDE.read_text()


@pytest.fixture(scope="module")
def sources() -> str:
    """The code of the library and of the project that it lies in."""
    folders = (ROOT / "src", PROJECT / "src")
    return "\n".join(file.read_text() for folder in folders for file in folder.rglob("*.py"))


class NoWorkers:
    slots = ()


@pytest.fixture
def exported(make_settings) -> set[str]:
    """The names of every metric of a worker and of the supervisor."""
    service = Service(make_settings(Settings, rate_limit_per_minute=60))
    app = FastAPI()
    service.install(app)
    entrance(app)
    service.add_upstream("other", "")
    supervisor = CollectorRegistry()
    supervisor.register(WorkerCollector(NoWorkers()))  # type: ignore[arg-type] # has no slots
    return {
        family.name + ("_total" if family.type == "counter" else "")
        for registry in (service.registry, supervisor)
        for family in registry.collect()
    }


def test_every_metric_of_the_library_is_in_the_guide(guide, exported):
    assert exported - set(ROW.findall(guide)) == set()


def test_a_metric_that_the_guide_lists_is_the_librarys_or_the_projects(guide, exported, sources):
    others = set(ROW.findall(guide)) - exported
    assert {name for name in others if name.removesuffix("_total") not in sources} == set()


def test_the_guide_explains_events_that_exist(guide, sources):
    table = guide.split("## What an event")[1].split("##")[0]
    events = re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)
    assert events
    assert [event for event in events if f'"{event}"' not in sources] == []
