"""Each `run:` step of the workflows is run here as it stands, or is named with what runs it."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from programs import need
from render import ROOT, SERVICE
from repository import commit_all, git

ELSEWHERE = {
    "make check": "tests/test_checks.py runs it in renders, CI of the template in place",
    "make test": "tests/test_checks.py",
    'make test ARGS="--ignore tests/e2e"': "this run is it, with the end-to-end tests",
    "make test ARGS=tests/deployment": "this run",
    "make install": "tests/test_install.py",
    "make -C vendor/servekit test": "tests/test_checks.py",
    "make -C vendor/servekit conformance": "by hand: 15 minutes",
    "make conformance": "by hand: 15 minutes",
    "make e2e": "this run",
    "make audit": "by hand: checkov has to be installed",
    "make image": "by hand: a Docker engine has to be there",
    'make -C "${LIBRARY}" check test wheel': "tests/test_checks.py, in a render",
    'make -C "${LIBRARY}" walk SEED="${GITHUB_RUN_NUMBER}"': "with fewer steps, its tests",
    "docker compose up --build --wait": "tests/test_image.py",
    "docker compose logs": "tests/test_image.py",
}
BY_NAME = {
    "It is ready, and ends without an error when it is told to": "tests/test_image.py",
    "Read the SBOM back": "GitHub alone: it reads from a registry",
    "Install what tests run for real": "GitHub alone: it needs root",
    "Install promtool": "GitHub alone: it needs root",
    "Break the running service on purpose": "by hand: 25 minutes",
}


@dataclass(frozen=True)
class Step:
    workflow: str
    name: str
    text: str
    environment: dict[str, str]


@dataclass(frozen=True)
class Done:
    code: int
    shown: str
    output: str
    summary: str


def steps(project: Path) -> Iterator[Step]:
    for path in sorted((project / ".github/workflows").iterdir()):
        workflow = yaml.safe_load(path.read_text())
        for job in workflow["jobs"].values():
            for step in job.get("steps", ()):
                if "run" in step:
                    variables: dict[str, Any] = workflow.get("env", {}) | step.get("env", {})
                    yield Step(path.name, step.get("name", ""), step["run"].strip(), variables)


def find(project: Path, workflow: str, name: str) -> Step:
    first, *others = (s for s in steps(project) if (s.workflow, s.name) == (workflow, name))
    assert all(other == first for other in others), name
    return first


RUN = {
    "Read the version of Python that the image runs",
    "Test the alerts",
    "Check that the boards are what their table says",
    "Name the image after the repository, in lower case",
    "Say how to verify and deploy it",
    "The tag is the version",
    "Push",
    "Render the defaults",
}


def test_every_step_is_run_by_a_test_or_named_with_what_runs_it(rendered_service):
    found = [*steps(ROOT), *steps(rendered_service)]
    for step in found:
        known = step.name in RUN or step.name in BY_NAME or step.text in ELSEWHERE
        assert known, (step.workflow, step.name, step.text)
    assert RUN | BY_NAME.keys() <= {step.name for step in found}
    assert ELSEWHERE.keys() <= {step.text for step in found}


@pytest.fixture
def do(rendered_service, tmp_path) -> Callable[..., Done]:
    """Run a step as GitHub does, in a repository of the project or in another folder."""
    folder = tmp_path / "repository"
    shutil.copytree(rendered_service, folder)
    commit_all(folder, "Rendered")

    def do(step: Step, where: Path = folder, **variables: str) -> Done:
        given = {name: text for name, text in step.environment.items() if "${{" not in text}
        output, summary = tmp_path / "output", tmp_path / "summary"
        for file in (output, summary):
            file.write_text("")
        files = {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step.text],
            cwd=where,
            env=os.environ | given | files | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Done(done.returncode, done.stdout, output.read_text(), summary.read_text())

    return do


def test_ci_runs_on_the_python_of_the_image(do, rendered_service):
    step = find(rendered_service, "ci.yml", "Read the version of Python that the image runs")
    newest = json.loads((ROOT / "cookiecutter.json").read_text())["python_version"][0]
    assert do(step).output == f"python={newest}\n"


def test_the_alerts_are_tested(do, rendered_service, tmp_path):
    need("promtool", "prometheus")
    (tmp_path / "bin").mkdir()
    sudo = tmp_path / "bin/sudo"  # what installs promtool, which is there
    sudo.write_text("#!/bin/sh\n")
    sudo.chmod(0o755)
    step = find(rendered_service, "ci.yml", "Test the alerts")
    done = do(step, PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert done.code == 0, done.shown
    assert done.shown.count("SUCCESS") == 4


def test_boards_that_are_not_those_of_their_table_end_it(do, rendered_service, tmp_path):
    step = find(rendered_service, "ci.yml", "Check that the boards are what their table says")
    assert do(step).code == 0
    folder = tmp_path / "repository"
    board = next((folder / "deploy/grafana/boards").glob("*.json"))
    board.write_text("{}")
    commit_all(folder, "Edit a board")
    assert do(step).code == 1


def test_a_release_names_its_image_in_lower_case_and_says_how_to_verify_it(do, rendered_service):
    step = find(
        rendered_service, "release.yml", "Name the image after the repository, in lower case"
    )
    done = do(step, GITHUB_REPOSITORY="Org/My-Service")
    assert done.output == "image=ghcr.io/org/my-service\n"
    step = find(rendered_service, "release.yml", "Say how to verify and deploy it")
    image = "ghcr.io/org/my-service@sha256:0"
    done = do(step, GITHUB_REPOSITORY="Org/My-Service", IMAGE=image)
    assert done.summary == (
        "```\n"
        f"gh attestation verify oci://{image} --repo Org/My-Service\n"
        f"docker pull {image}\n"
        "```\n"
    )


@pytest.mark.parametrize("of_the_library", [True, False])
def test_a_tag_of_the_library_is_its_version(do, of_the_library):
    step = find(ROOT, "release-servekit.yml", "The tag is the version")
    text = (ROOT / SERVICE / "vendor/servekit/src/servekit/__init__.py").read_text()
    (version,) = re.findall(r'__version__ = "(.*)"', text)
    tag = f"servekit-v{version}{'' if of_the_library else '0'}"
    assert (do(step, ROOT, GITHUB_REF_NAME=tag).code == 0) is of_the_library


@pytest.mark.parametrize("is_version", [True, False])
def test_a_release_of_the_service_has_the_version_of_its_tag(do, rendered_service, is_version):
    step = find(rendered_service, "release.yml", "The tag is the version")
    text = (rendered_service / "pyproject.toml").read_text()
    (version,) = re.findall(r'^version = "(.*)"', text, re.MULTILINE)
    tag = f"v{version}{'' if is_version else '0'}"
    done = do(step, rendered_service, GITHUB_REF_NAME=tag)
    assert (done.code == 0) is is_version, done.shown


def test_the_rendered_defaults_are_pushed_when_they_changed(do, rendered_service, tmp_path):
    step = find(ROOT, "demo.yml", "Push")
    (tmp_path / "render").mkdir()
    shutil.copytree(rendered_service, tmp_path / "render/my-service")
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "org/demo")
    variables = {
        "GITHUB_SERVER_URL": f"file://{tmp_path}",
        "DEMO_REPOSITORY": "org/demo",
        "GITHUB_REPOSITORY": "org/perf-template",
        "GITHUB_SHA": "0" * 40,
        "RUNNER_TEMP": str(tmp_path),
    }
    assert "DEMO_TOKEN is not set" in do(step, DEMO_TOKEN="", **variables).shown
    done = do(step, DEMO_TOKEN="token", **variables)
    assert done.code == 0, done.shown
    shown = git(tmp_path / "org/demo", "log", "--format=%s", "main")
    assert shown == f"Render org/perf-template@{'0' * 40}\n"
    # Not removed: git may still be tidying it up in the background.
    (tmp_path / "demo").rename(tmp_path / "pushed")
    assert "did not change" in do(step, DEMO_TOKEN="token", **variables).shown


def test_the_defaults_are_rendered(do, tmp_path):
    step = find(ROOT, "demo.yml", "Render the defaults")
    done = do(step, ROOT, RUNNER_TEMP=str(tmp_path), VENV=sys.prefix)
    assert done.code == 0, done.shown
    assert (tmp_path / "render/my-service/Makefile").is_file()
