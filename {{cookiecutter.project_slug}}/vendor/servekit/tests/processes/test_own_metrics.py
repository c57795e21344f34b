"""What a user's module counts with prometheus_client, seen on the admin port of a real service."""

import urllib.request

import httpx2
from prometheus_client import REGISTRY, CollectorRegistry, Counter, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from servekit.start.program import AllMetrics
from servekit.testing import patience
from tests.supervisor.test_exposition import check

MAIN = """
import sys
from servekit import main
sys.exit(main("counted.app:create_app", settings="servekit:Settings"))
"""
TEXT = '\u2028\x85\n\r"\\n'
APP = f"""
import os
from fastapi import FastAPI
from prometheus_client import Counter
from servekit import Service

MADE = Counter("orders_made", "Orders.", ["worker", "text"])
TEXT = {TEXT!r}

def create_app(settings):
    app = FastAPI()
    Service(settings).install(app)

    @app.post("/orders")
    async def order() -> int:
        MADE.labels("own", TEXT).inc()
        return os.getpid()

    return app
"""


def test_a_counter_of_a_module_is_counted_over_all_workers(start_service, tmp_path):
    package = tmp_path / "counted"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(MAIN)
    (package / "app.py").write_text(APP)
    service = start_service("counted", folder=tmp_path, WORKERS=2)
    pids: set[int] = set()
    asked = 0
    while len(pids) < 2:
        assert asked < 200, "a worker never answers"
        pids.add(httpx2.post(f"{service.url}/orders", timeout=patience(5)).json())
        asked += 1

    with urllib.request.urlopen(f"{service.admin_url}/metrics", timeout=patience(5)) as response:
        text = response.read().decode()
    check(text)
    made = {
        sample.labels["worker"]: (sample.value, sample.labels["exported_worker"])
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "orders_made_total" and sample.labels["text"] == TEXT
    }
    assert sum(value for value, _ in made.values()) == asked
    assert {own for _, own in made.values()} == {"own"}
    assert set(made) == {"0", "1"}


def test_a_metric_that_has_a_name_of_ours_is_told_once():
    own = CollectorRegistry()
    Counter("servekit_told", "Ours.", registry=own).inc()
    theirs = Counter("servekit_told", "A user's.", registry=REGISTRY)
    try:
        with capture_logs() as logs:
            for _ in range(3):
                text = generate_latest(AllMetrics(own)).decode()
    finally:
        REGISTRY.unregister(theirs)
    assert "# HELP servekit_told_total Ours.\n" in text
    assert [(log["event"], log["metric"]) for log in logs] == [("metric_hidden", "servekit_told")]
