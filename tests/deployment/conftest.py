"""The project whose files are read, for a slug of usual length and for the longest."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from render import render


@pytest.fixture(scope="module", params=["my-service", "a-slug-of-forty-characters-the-most-give"])
def project(request, template, tmp_path_factory) -> Path:
    answers = {"project_slug": request.param, "python_version": "3.11"}
    return render(template, tmp_path_factory.mktemp("deployment"), **answers)


@pytest.fixture(scope="module")
def objects(project) -> dict[str, Any]:
    """The Kubernetes objects by kind; there is one of each."""
    loaded = [
        yaml.safe_load(path.read_text())
        for path in sorted((project / "deploy" / "kubernetes").glob("*.yaml"))
    ]
    assert len({each["kind"] for each in loaded}) == len(loaded)
    return {each["kind"]: each for each in loaded}


@pytest.fixture(scope="module")
def pod(objects):
    return objects["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod):
    (only,) = pod["containers"]
    return only


@pytest.fixture(scope="module")
def environment(project) -> dict[str, str]:
    """The settings that the pods get."""
    lines = (project / "deploy" / "kubernetes" / "settings.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
