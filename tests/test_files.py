"""Exactly these files, for every combination of answers."""

from pathlib import Path

import pytest
from answers import COMBINATIONS, name
from render import SERVICE

COPIED = ("src", "tests", "vendor", "docs")
"""Folders whose files are compared with the template's own, byte for byte."""

ALWAYS = """
.dockerignore
.editorconfig
.env.example
.gitignore
.vscode/launch.json
Dockerfile
LICENSE
Makefile
README.md
compose.yaml
deploy/caddy/Caddyfile
deploy/grafana/boards.py
deploy/grafana/boards/servekit-cache.json
deploy/grafana/boards/servekit-databases.json
deploy/grafana/boards/servekit-memory.json
deploy/grafana/boards/servekit-offload.json
deploy/grafana/boards/servekit-overview.json
deploy/grafana/boards/servekit-sessions.json
deploy/grafana/boards/servekit-workers.json
deploy/grafana/provisioning/dashboards/boards.yaml
deploy/grafana/provisioning/datasources/prometheus.yaml
deploy/grafana/queries.py
deploy/grafana/table.py
deploy/nginx/service.conf
deploy/prometheus/alerts.yaml
deploy/prometheus/alerts_test.yaml
deploy/prometheus/prometheus.yaml
deploy/prometheus/slo.yaml
deploy/prometheus/slo_test.yaml
deploy/systemd/SLUG.service
deploy/systemd/SLUG.socket
pyproject.toml
requirements/build.txt
requirements/dev.txt
requirements/install.sh
requirements/run.txt
requirements/runtime.txt
requirements/upgrade.txt
requirements/uv.txt
"""

WITH_OPTION = {
    "kubernetes": """
        deploy/kubernetes/autoscaler.yaml
        deploy/kubernetes/deployment.yaml
        deploy/kubernetes/disruption-budget.yaml
        deploy/kubernetes/external-secret.yaml
        deploy/kubernetes/kustomization.yaml
        deploy/kubernetes/namespace.yaml
        deploy/kubernetes/network-policy.yaml
        deploy/kubernetes/pod-monitor.yaml
        deploy/kubernetes/service-account.yaml
        deploy/kubernetes/service.yaml
        deploy/kubernetes/settings.env
    """,
    "github_actions": """
        .github/dependabot.yml
        .github/workflows/ci.yml
        .github/workflows/release.yml
    """,
}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def copied(template: Path) -> set[str]:
    return {path for path in files(template / SERVICE) if path.split("/")[0] in COPIED}


@pytest.mark.parametrize("answers", COMBINATIONS, ids=name)
def test_exactly_these_files(template, bake, answers):
    slug = answers.get("project_slug", "my-service")
    expected = set(ALWAYS.replace("SLUG", slug).split()) | copied(template)
    for option, names in WITH_OPTION.items():
        if answers.get(option, True):
            expected |= set(names.split())
    project = bake(**answers)
    assert files(project) == expected
    assert [path for path in project.rglob("*") if path.is_dir() and not any(path.iterdir())] == []


def test_copied_folders_arrive_byte_for_byte(template, bake):
    project = bake()
    for path in copied(template):
        assert (project / path).read_bytes() == (template / SERVICE / path).read_bytes(), path


@pytest.mark.parametrize("answers", COMBINATIONS, ids=name)
def test_no_template_syntax_is_left(bake, answers):
    project = bake(**answers)
    for path in files(project):
        text = (project / path).read_text(encoding="utf-8")
        assert "cookiecutter." not in text, path
        if path.split("/")[0] not in COPIED:
            assert "{%" not in text, path
            assert "\n#%" not in text, path
