"""Alerts are tested, explained, and read what is exported."""

import re
import urllib.request
from typing import Any

import pytest
import yaml
from programs import need, run
from running import patience

FILES = ("alerts", "slo")


@pytest.fixture
def rules(project) -> list[dict[str, Any]]:
    """Every rule, of alerts and of what they read."""
    return [
        rule
        for name in FILES
        for group in yaml.safe_load((project / f"deploy/prometheus/{name}.yaml").read_text())[
            "groups"
        ]
        for rule in group["rules"]
    ]


@pytest.fixture
def alerts(rules) -> list[dict[str, Any]]:
    return [rule for rule in rules if "alert" in rule]


def test_every_alert_is_seen_to_fire_and_to_be_silent(project, alerts):
    seen: dict[str, set[bool]] = {rule["alert"]: set() for rule in alerts}
    for name in FILES:
        file = project / f"deploy/prometheus/{name}_test.yaml"
        for test in yaml.safe_load(file.read_text())["tests"]:
            for case in test["alert_rule_test"]:
                seen[case["alertname"]].add(bool(case["exp_alerts"]))
    assert seen == {name: {True, False} for name in seen}


def test_every_alert_is_explained(project, alerts):
    guide = (project / "docs" / "operations.md").read_text()
    for rule in alerts:
        name = rule["alert"]
        assert f"\n### {name}\n" in guide
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}"
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
        ("check", "rules", "alerts.yaml", "slo.yaml"),
        ("test", "rules", "alerts_test.yaml", "slo_test.yaml"),
        ("check", "config", "--syntax-only", "prometheus.yaml"),
    ):
        done = run(folder, promtool, *command)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_that_an_alert_reads_is_exported(start_service, rendered_service):
    folder = rendered_service / "deploy" / "prometheus"
    texts = "".join((folder / f"{name}.yaml").read_text() for name in FILES)
    series = re.findall(r"(\w+)\{job=", texts)
    read = {re.sub("_(count|bucket)$", "", name) for name in series} - {"up"}
    assert len(read) >= 9
    service = start_service()
    with urllib.request.urlopen(f"{service.admin_url}/metrics", timeout=patience(5)) as answer:
        exported = re.findall(r"^# TYPE (\w+)", answer.read().decode(), re.MULTILINE)
    assert read <= set(exported), sorted(read - set(exported))
