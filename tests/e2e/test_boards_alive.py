"""Every panel has something to show of a service that works, as Prometheus itself says."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from programs import need
from running import Guarded, RunningService, patience, reserved_port

FAULTS = {
    "asyncio_eventloop_blocked_total",
    "http_requests_shed_total",
    "http_server_refused_requests_total",
    "session_revoked_total",
}
"""Counted by a label, whose values come with the first fault or logout."""


def prometheus_config(project: Path, folder: Path, admin: str) -> Path:
    """Write a configuration that scrapes the service each second, with the project's rules."""
    source = project / "deploy" / "prometheus"
    config = yaml.safe_load((source / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(source / name) for name in config["rule_files"]]
    (job,) = config["scrape_configs"]
    del job["authorization"]
    job["static_configs"] = [{"targets": [admin.removeprefix("http://")]}]
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


class Prometheus:
    """A Prometheus of its own that scrapes a service."""

    def __init__(self, program: str, project: Path, folder: Path, service: RunningService) -> None:
        config = prometheus_config(project, folder, service.admin_url)
        port = reserved_port()
        self.url = f"http://127.0.0.1:{port}/api/v1"
        with (folder / "prometheus.log").open("ab") as log:
            self.guarded = Guarded(
                [
                    program,
                    f"--config.file={config}",
                    f"--storage.tsdb.path={folder / 'tsdb'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=log,
            )

    def ask(self, query: str) -> list[Any]:
        answer = httpx2.post(f"{self.url}/query", data={"query": query}, timeout=patience(10))
        answer.raise_for_status()
        found: list[Any] = answer.json()["data"]["result"]
        assert not {each["value"][1] for each in found} & {"NaN", "+Inf", "-Inf"}, query
        return found


@pytest.fixture
def service(start_service) -> RunningService:
    return start_service(RATE_LIMIT_PER_MINUTE=100_000, RATES_URL="http://127.0.0.1:9")


@pytest.fixture
def prometheus(rendered_service, service, tmp_path) -> Iterator[Prometheus]:
    program = need("prometheus", "Debian's package of that name")
    prometheus = Prometheus(program, rendered_service, tmp_path, service)
    yield prometheus
    prometheus.guarded.close()


def only_faults(query: str) -> bool:
    """Return whether a query asks for nothing but what comes with a fault."""
    read = re.findall(r"(\w+)\{([^}]*)\}", query)
    return all(name in FAULTS or 'status=~"5.."' in matchers for name, matchers in read)


def use(http: httpx2.Client) -> None:
    """Ask for what each part of the service has a share in."""
    for path in ("/products/1", "/products?q=lamp", "/session", "/overview", "/livez"):
        http.get(path)
    http.post("/reports/price-trend", json={"prices": [10, 12.5, 13]})
    for _ in range(50):  # what is no JSON leaves something to collect, and little else does
        http.post(
            "/reports/price-trend", content=b"{", headers={"content-type": "application/json"}
        )


def test_every_panel_has_something_to_show(
    service, prometheus, client, login, rendered_service
) -> None:
    boards = (rendered_service / "deploy" / "grafana" / "boards").glob("*.json")
    waiting = {
        (panel["title"], target["expr"])
        for board in boards
        for panel in json.loads(board.read_text())["panels"]
        for target in panel["targets"]
        if not only_faults(target["expr"])
    }
    assert len(waiting) > 50
    deadline = time.monotonic() + patience(60)
    with client(service, fresh=True) as http:
        login(http)
        while waiting:
            assert time.monotonic() < deadline, waiting
            use(http)
            waiting = {
                (title, query)
                for title, query in waiting
                if not prometheus.ask(
                    query.replace("$__rate_interval", "10s")
                    .replace("$job", "my-service")
                    .replace("$instance", ".*")
                    .replace("$worker", ".*")
                )
            }

    assert prometheus.ask("max(job:http_errors:burn5m)")[0]["value"][1] == "0"
    routes = prometheus.ask("count by (route) (http_server_request_duration_seconds_count)")
    assert not {"/livez", "/readyz"} & {each["metric"]["route"] for each in routes}
