"""Alerts are tested, explained, and read what is exported."""

import re
import urllib.request
from typing import Any

import pytest
import yaml
from programs import need, run


@pytest.fixture
def rules(project) -> list[dict[str, Any]]:
    groups = yaml.safe_load((project / "deploy/prometheus/alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_every_alert_is_tested_and_explained(project, rules):
    tests = (project / "deploy/prometheus/alerts_test.yaml").read_text()
    guide = (project / "docs" / "deployment.md").read_text()
    for rule in rules:
        name = rule["alert"]
        assert tests.count(f"alertname: {name}\n") == 2, f"{name}: one that fires, one not"
        assert f"\n### {name}\n" in guide
        assert rule["annotations"]["runbook"] == f"docs/deployment.md#{name.lower()}"
        assert rule["labels"]["severity"] in {"page", "ticket"}


def test_the_scrape_job_of_each_file_is_the_one_that_the_alerts_select(project, objects, rules):
    jobs = {job for rule in rules for job in re.findall(r'job="([^"]+)"', rule["expr"])}
    config = yaml.safe_load((project / "deploy/prometheus/prometheus.yaml").read_text())
    assert jobs == {scrape["job_name"] for scrape in config["scrape_configs"]}
    label = objects["PodMonitor"]["spec"]["jobLabel"]
    assert jobs == {objects["Deployment"]["spec"]["template"]["metadata"]["labels"][label]}


def test_promtool_accepts_the_rules_and_their_tests_pass(project):
    promtool = need("promtool", "Debian's package prometheus")
    folder = project / "deploy" / "prometheus"
    for command in (
        ("check", "rules", "alerts.yaml"),
        ("test", "rules", "alerts_test.yaml"),
        ("check", "config", "--syntax-only", "prometheus.yaml"),
    ):
        done = run(folder, promtool, *command)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_that_an_alert_reads_is_exported(start_service, rendered_service):
    alerts = (rendered_service / "deploy" / "prometheus" / "alerts.yaml").read_text()
    series = re.findall(r"(\w+)\{job=", alerts)
    read = {re.sub("_(count|bucket)$", "", name) for name in series} - {"up"}
    assert len(read) >= 7
    service = start_service()
    with urllib.request.urlopen(f"{service.admin_url}/metrics", timeout=5) as answer:
        exported = re.findall(r"^# TYPE (\w+)", answer.read().decode(), re.MULTILINE)
    assert read <= set(exported), sorted(read - set(exported))
