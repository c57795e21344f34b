"""Workflows and image files are clean under their own linters, in the template and in a render."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from render import ROOT

BIN = Path(sys.prefix) / "bin"


def assert_clean(folder: Path, *command: str) -> None:
    program, *arguments = command
    done = subprocess.run(
        [str(BIN / program), *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(params=["template", "render"])
def project(request, rendered_service) -> Path:
    return ROOT if request.param == "template" else rendered_service


def test_zizmor_finds_nothing(project):
    assert_clean(project, "zizmor", "--quiet", "--offline", "--persona", "auditor", ".github")


def test_actionlint_finds_nothing(project):
    workflows = [str(path) for path in (project / ".github" / "workflows").iterdir()]
    assert_clean(project, "actionlint", *workflows)


def test_yamllint_finds_nothing(project):
    assert_clean(project, "yamllint", "--strict", "-c", str(ROOT / ".yamllint.yaml"), ".")


def test_hadolint_finds_nothing(rendered_service):
    assert_clean(rendered_service, "hadolint", "Dockerfile")


def test_kubernetes_files_are_valid(rendered_service):
    manifests = [
        str(path)
        for path in sorted((rendered_service / "deploy" / "kubernetes").glob("*.yaml"))
        if "k8s.io/" not in path.name and is_core(path)
    ]
    assert manifests
    assert_clean(rendered_service, "kubernetes-validate", "--strict", *manifests)


def is_core(path: Path) -> bool:
    """Whether the kind is Kubernetes' own: kustomize's and operators' have no schema."""
    kind = re.search(r"^apiVersion: (\S+)", path.read_text(), re.MULTILINE)
    return kind is not None and ("/" not in kind[1] or "." not in kind[1] or "k8s.io/" in kind[1])


def test_every_action_is_pinned_by_commit_with_its_release_beside_it(project):
    for path in (project / ".github" / "workflows").iterdir():
        for line in re.findall(r"uses: (.*)", path.read_text()):
            assert line.startswith(("./", "$/")) or re.fullmatch(
                r"[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)+", line
            ), line


def test_every_workflow_starts_without_permissions(project):
    for path in (project / ".github" / "workflows").iterdir():
        assert "\npermissions: {}\n" in path.read_text(), path.name


def test_every_requirement_is_hashed_and_no_index_is_named(project):
    locks = [
        *project.glob("requirements/*.txt"),
        *project.glob("vendor/*/requirements/*.txt"),
    ]
    assert locks
    for lock in locks:
        text = lock.read_text()
        assert re.findall(r"^[a-z0-9].*\\$", text, re.MULTILINE), lock
        assert re.findall(r"^[a-z0-9].*[^\\]$", text, re.MULTILINE) == [], lock
        assert "://" not in text, lock
