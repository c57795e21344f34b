"""A release is attested, and what it is built from is looked after."""

import re
import tomllib

import pytest
import yaml
from programs import need, run


@pytest.fixture
def job(project):
    release = yaml.safe_load((project / ".github/workflows/release.yml").read_text())
    assert release["jobs"]["image"]["needs"] == "ci"
    return release["jobs"]["image"]


def test_the_image_has_an_sbom_and_provenance_and_no_cached_layer(job):
    (build,) = [step for step in job["steps"] if step.get("id") == "build"]
    assert build["with"]["sbom"] is True
    assert build["with"]["provenance"] == "mode=max"
    assert build["with"]["no-cache"] is True


def test_both_are_attested_for_the_digest_that_was_built(job):
    attested = [
        step["with"] for step in job["steps"] if step.get("uses", "").startswith("actions/attest")
    ]
    assert ["sbom-path" in inputs for inputs in attested] == [False, True]
    for inputs in attested:
        assert inputs["subject-digest"] == "${{ steps.build.outputs.digest }}"
        assert inputs["push-to-registry"] is True
    assert job["permissions"] == {
        "contents": "read",
        "packages": "write",
        "id-token": "write",
        "attestations": "write",
    }


def test_dependabot_looks_after_packages_images_and_actions_and_waits_a_week(project):
    updates = yaml.safe_load((project / ".github/dependabot.yml").read_text())["updates"]
    assert [update["package-ecosystem"] for update in updates] == [
        "pip",
        "docker-compose",
        "github-actions",
    ]
    assert all(update["cooldown"]["default-days"] >= 7 for update in updates)


def test_checkov_finds_nothing(project):
    checkov = need("checkov", "pip install checkov, in an environment of its own")
    frameworks = ("dockerfile", "github_actions", "kubernetes")
    done = run(
        project,
        checkov,
        "-d",
        ".",
        "--framework",
        *frameworks,
        "--skip-download",
        "--quiet",
        "--compact",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "checkov:skip" not in "".join(path.read_text() for path in project.rglob("*.yaml"))


@pytest.mark.parametrize("part", [".", "vendor/servekit"])
def test_locked_packages_are_those_of_pyproject(project, part):
    package = tomllib.loads((project / part / "pyproject.toml").read_text())["project"]
    declared = package["dependencies"]
    locked = (project / "requirements" / "runtime.txt").read_text()
    for requirement in declared:
        match = re.match(r"[\w.-]+", requirement)
        assert match
        assert re.search(rf"^{match[0].lower()}==", locked, re.MULTILINE), requirement
