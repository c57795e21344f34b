import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.app import create_app
from service.parts import Parts
from service.runtime.workers.view import WorkerCollector
from service.settings import Settings

ROOT = Path(__file__).parent.parent
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
SOURCE = "\n".join(file.read_text() for file in (ROOT / "src").rglob("*.py"))


class NoWorkers:
    slots = ()


@pytest.fixture
def exported(monkeypatch) -> set[str]:
    """The names of every metric of a worker and of the supervisor."""
    monkeypatch.setenv("REDIS_URL", "redis://localhost")
    monkeypatch.setenv("RATE_LIMIT_PER_MINUTE", "60")
    settings = Settings()
    parts = Parts(settings)
    create_app(settings, parts).build_middleware_stack()
    supervisor = CollectorRegistry()
    supervisor.register(WorkerCollector(NoWorkers()))  # type: ignore[arg-type] # has no slots
    return {
        family.name + ("_total" if family.type == "counter" else "")
        for registry in (parts.registry, supervisor)
        for family in registry.collect()
    }


def test_the_guide_lists_every_metric_and_no_other(exported):
    listed = set(
        re.findall(r"^\| `([a-z0-9_]+)` \| (?:gauge|counter|histogram)", OPERATIONS, re.MULTILINE)
    )

    assert listed == exported


def test_the_guide_explains_events_that_exist():
    table = OPERATIONS.split("## What an event")[1].split("##")[0]
    events = re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)

    assert events
    assert [event for event in events if f'"{event}"' not in SOURCE] == []
