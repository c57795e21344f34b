"""The example is a guest: without it the service and its suite still stand."""

import shutil
from pathlib import Path

import pytest
from running import make

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]


@pytest.fixture
def without_example(bake) -> Path:
    project: Path = bake()
    shutil.rmtree(project / "src" / "service" / "example")
    shutil.rmtree(project / "tests" / "example")
    for name in ("app.py", "settings.py"):
        file = project / "src" / "service" / name
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        file.write_text("".join(line for line in lines if "example" not in line), encoding="utf-8")
    return project


def test_the_suite_passes_without_the_example(without_example):
    done = make(without_example, "test")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_types_hold_without_the_example(without_example):
    done = make(without_example, "check")
    assert done.returncode == 0, done.stdout + done.stderr
