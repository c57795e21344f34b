"""Each render passes its own checks, and the default one its tests and the library's."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from answers import COMBINATIONS, name
from render import SERVICE, render
from repository import commit_all
from running import make


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """One path for all, so that the environment and mypy's and ruff's caches hold for the next."""
    path: Path = tmp_path_factory.mktemp("checks")
    return path


@pytest.mark.parametrize("answers", COMBINATIONS, ids=name)
def test_a_render_passes_its_own_checks(template, place, answers):
    project = render(template, place / "render", **answers)
    try:
        done = make(
            project,
            "check",
            f"VENV={place / 'venv'}",
            MYPY_CACHE_DIR=place / "mypy",
            RUFF_CACHE_DIR=place / "ruff",
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in done.stdout
    finally:
        shutil.rmtree(project)


TARGETS = "help run dev status test check format env bench chaos lock upgrade image up down"


def test_make_alone_lists_every_target(rendered_service):
    listed = make(rendered_service).stdout
    for target in TARGETS.split():
        assert f"  make {target} " in listed


def test_a_change_of_the_library_is_a_warning(template, tmp_path):
    project = render(template, tmp_path)
    compare = [sys.executable, str(project / "vendor" / "fingerprint.py"), "--compare"]
    assert subprocess.run(compare, check=True, capture_output=True).stdout == b""
    (project / "vendor" / "servekit" / "src" / "servekit" / "cpus.py").write_text("")
    said = subprocess.run(compare, check=True, capture_output=True, text=True).stdout
    assert said.startswith("warning: vendor/servekit was changed here")
    assert said.count("\n") == 1  # without git nobody knows more


def test_the_warning_names_what_changed_committed_or_not(template, tmp_path):
    project = render(template, tmp_path)
    (project / ".gitignore").write_text("*.log\n")
    commit_all(project, "start")
    sources = project / "vendor" / "servekit" / "src" / "servekit"
    (sources / "cpus.py").write_text("")
    commit_all(project, "a repair")
    (sources / "parent.py").unlink()
    (sources / "news.py").touch()
    (sources / "some.log").touch()
    (project / "src" / "service" / "app.py").touch()
    compare = [sys.executable, str(project / "vendor" / "fingerprint.py"), "--compare"]
    said = subprocess.run(compare, check=True, capture_output=True, text=True).stdout
    assert [Path(line).name for line in said.splitlines()[1:]] == [
        "cpus.py",
        "parent.py",
        "news.py",
    ]


@pytest.mark.parametrize("outcome", [0, 1])
@pytest.mark.parametrize("target", ["check", "format"])
@pytest.mark.parametrize("folder", [".", SERVICE, f"{SERVICE}/vendor/servekit"])
def test_every_tool_runs_whatever_those_before_it_found(
    template, tmp_path, folder, target, outcome
):
    said = tmp_path / "said"
    for tool in ("ruff", "python", "yamllint", "actionlint", "zizmor"):
        (tmp_path / tool).write_text(f'#!/bin/sh\necho "{tool} $*" >> {said}\nexit {outcome}\n')
        (tmp_path / tool).chmod(0o755)
    done = make(template / folder, "-o", "install", target, f"BIN={tmp_path}")
    ran = said.read_text()
    assert ran.startswith("ruff check ")
    assert "\nruff format " in ran
    if target == "check":
        assert "\npython -m mypy\n" in ran
        assert ("zizmor" in ran) is (folder == ".")
    assert (done.returncode != 0) is bool(outcome), done.stdout + done.stderr
    # None of these tools tells the settings: that is a warning, and no failure.
    assert ("`make env`" in done.stdout) is (target == "check" and folder == SERVICE)


HANDLER = '''"""A handler as FastAPI asks for it."""

from fastapi import Request, Response


async def gone(request: Request, error: Exception) -> Response:
    """Answer 410."""
    return Response(str(error), 410)
'''


def test_a_handler_need_not_use_what_fastapi_passes_to_it(rendered_service):
    ruff = [f"{sys.prefix}/bin/ruff", "check", "--stdin-filename", "src/service/gone.py", "-"]
    done = subprocess.run(
        ruff, cwd=rendered_service, input=HANDLER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.live
@pytest.mark.timeout(300)
def test_the_default_render_passes_its_own_tests(installed_service):
    done = make(installed_service, "test", "ARGS=-v --durations=5")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.live
@pytest.mark.timeout(3600)
def test_the_library_passes_its_own_checks_and_tests(installed_service):
    done = make(installed_service / "vendor" / "servekit", "check", "test")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Installing" not in done.stdout
