"""What `make` installs: from hashed locks and from the tree, once, with uv and with pip."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from answers import PYTHONS
from running import clean_environment, make

SEE = """
import importlib.util, service.app, servekit
print(importlib.util.find_spec("mypy") is not None, service.app.__file__, servekit.__file__)
"""


def run(project: Path, *command: str) -> str:
    """Run a program of the project's environment, from a folder that is not the project's."""
    program, *arguments = command
    return subprocess.run(
        [project / ".venv" / "bin" / program, *arguments],
        cwd=project.parent,
        env=clean_environment(),
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def assert_both_parts_are_editable(project: Path, *, tools: bool) -> None:
    has_tools, service, servekit = run(project, "python", "-c", SEE).split()
    assert has_tools == str(tools)
    assert service == str(project / "src" / "service" / "app.py")
    assert servekit == str(project / "vendor" / "servekit" / "src" / "servekit" / "__init__.py")


@pytest.fixture
def path_without_uv(tmp_path) -> str:
    """A PATH with a Python, and no uv beside it."""
    programs = tmp_path / "programs"
    programs.mkdir()
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    (programs / "python3").symlink_to(base)
    path = f"{programs}{os.pathsep}/usr/bin{os.pathsep}/bin"
    if shutil.which("uv", path=path):
        pytest.skip("uv stands in /usr/bin")
    return path


def test_running_needs_no_tools_and_a_second_make_installs_nothing(bake):
    project = bake()
    done = make(project, "install-run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Installing requirements/run.txt" in done.stdout
    assert_both_parts_are_editable(project, tools=False)
    assert make(project, "install-run").stdout == ""


def test_tools_come_when_a_target_asks_for_them(installed_service):
    assert_both_parts_are_editable(installed_service, tools=True)
    assert make(installed_service, "install").stdout == ""
    assert make(installed_service, "install-run").stdout == ""


def test_a_changed_pyproject_is_installed_anew(bake):
    project = bake()
    make(project, "install-run")
    pyproject = project / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace('version = "0.1.0"', 'version = "0.2.0"'))
    assert "Installing" in make(project, "install-run").stdout
    about = "from servekit import read_identity; print(read_identity())"
    assert "0.2.0" in run(project, "python", "-c", about)


def test_a_machine_with_pip_alone_gets_uv_by_its_hash(bake, path_without_uv):
    project = bake()
    done = make(project, "install-run", PATH=path_without_uv)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Installing uv with pip" in done.stdout
    assert "Installing requirements/run.txt with uv" in done.stdout
    assert_both_parts_are_editable(project, tools=False)
    assert make(project, "install-run", PATH=path_without_uv).stdout == ""


@pytest.mark.timeout(600)
def test_where_there_is_no_uv_to_be_had_pip_does(bake, path_without_uv):
    project = bake()
    (project / "requirements" / "uv.txt").unlink()
    done = make(project, "install-run", PATH=path_without_uv)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Installing requirements/run.txt with pip" in done.stdout
    assert_both_parts_are_editable(project, tools=False)


def test_an_old_python_is_refused_with_one_clear_line(rendered_service, tmp_path):
    for python in ("python", "python3", *(f"python{version}" for version in PYTHONS)):
        old = tmp_path / "bin" / python
        old.parent.mkdir(exist_ok=True)
        old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.18"\nexit 1\n')
        old.chmod(0o755)
    path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    done = make(rendered_service, "install", f"VENV={tmp_path / 'venv'}", PATH=path)
    assert done.returncode != 0
    assert "error: Python 3.11 or newer is needed, and there is only: Python 3.9.18" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_the_command_is_named_after_the_slug(installed_service):
    example = (installed_service / ".env.example").read_text()
    assert run(installed_service, "my-service", "settings", "--example") == example
    assert "usage: my-service" in run(installed_service, "my-service", "--help")
