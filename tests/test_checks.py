"""Each render passes its own checks, with the environment that the tests themselves run in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from answers import COMBINATIONS, name
from render import render


def make(project: Path, *targets: str, **variables: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "-C", str(project), *targets, f"VENV={sys.prefix}"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {name: str(value) for name, value in variables.items()},
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """One path for all, so that mypy's and ruff's caches hold from combination to combination."""
    path: Path = tmp_path_factory.mktemp("checks")
    return path


@pytest.mark.parametrize("answers", COMBINATIONS, ids=name)
def test_a_render_passes_its_own_checks(template, place, answers):
    project = render(template, place / "render", **answers)
    try:
        done = make(project, "check", MYPY_CACHE_DIR=place / "mypy", RUFF_CACHE_DIR=place / "ruff")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Installing" not in done.stdout
    finally:
        shutil.rmtree(project)


def test_make_alone_lists_every_target(rendered_service):
    listed = make(rendered_service).stdout
    for target in ("help", "run", "dev", "test", "check", "bench", "chaos", "lock", "image", "up"):
        assert f"  make {target} " in listed


def test_an_old_python_is_refused_with_one_clear_line(rendered_service, tmp_path):
    for python in ("python", "python3", *(f"python3.{minor}" for minor in range(11, 15))):
        old = tmp_path / "bin" / python
        old.parent.mkdir(exist_ok=True)
        old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.18"\nexit 1\n')
        old.chmod(0o755)
    done = subprocess.run(
        ["make", "-C", str(rendered_service), "install", f"VENV={tmp_path / 'venv'}"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"},
    )
    assert done.returncode != 0
    assert "error: Python 3.11 or newer is needed, and there is only: Python 3.9.18" in done.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.live
@pytest.mark.timeout(900)
def test_the_default_render_passes_its_own_tests(rendered_service):
    done = make(rendered_service, "test")
    assert done.returncode == 0, done.stdout + done.stderr
