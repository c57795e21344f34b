import json
import re
import subprocess
from pathlib import Path

import pytest
from answers import REFUSED_SLUGS, TAKEN_SLUGS
from render import COOKIECUTTER


def refuse(template: Path, out: Path, **answers: str) -> str:
    """Run cookiecutter on answers that it must refuse; return the line that says why."""
    out.mkdir()
    given = [f"{name}={text}" for name, text in answers.items()]
    done = subprocess.run(
        [*COOKIECUTTER, str(template), "--no-input", "-o", str(out), *given],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert list(out.iterdir()) == []
    assert "Traceback" not in done.stderr
    (reason, *_) = [line for line in done.stderr.splitlines() if line]
    return reason


@pytest.mark.parametrize("slug", REFUSED_SLUGS)
def test_a_bad_slug_is_refused_in_one_line_and_leaves_nothing(template, tmp_path, slug):
    reason = refuse(template, tmp_path / "out", project_slug=slug)
    assert reason.startswith(f"project_slug {slug!r} is refused: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize("slug", TAKEN_SLUGS)
def test_a_slug_that_is_the_name_of_what_is_installed_is_refused(template, tmp_path, slug):
    reason = refuse(template, tmp_path / "out", project_slug=slug)
    assert reason.startswith(f"project_slug {slug!r} is refused: ")
    assert f"{slug}-service" in reason


def test_no_command_of_the_service_replaces_one_that_is_installed_with_it(
    template, installed_service
):
    # All of them: where a machine has no uv, uv itself is installed too.
    locks = (lock.read_text() for lock in (installed_service / "requirements").glob("*.txt"))
    lines = (line for lock in locks for line in lock.splitlines())
    locked = {line.partition("==")[0] for line in lines if "==" in line}
    commands = {path.name for path in (installed_service / ".venv" / "bin").iterdir()}
    slugs = {name for name in commands if re.fullmatch("[a-z][a-z0-9]*(-[a-z0-9]+)*", name)}
    taken = json.loads((template / "cookiecutter.json").read_text())["_names_taken"]
    assert "pytest" in commands
    assert slugs - locked - set(taken) == {installed_service.name}


@pytest.mark.parametrize("question", ["project_name", "description", "author"])
@pytest.mark.parametrize("text", ["", " \n ", "bell \a", "escape \x1b[31m", "delete \x7f"])
def test_an_empty_or_unprintable_text_is_refused(template, tmp_path, question, text):
    reason = refuse(template, tmp_path / "out", project_slug="shop", **{question: text})
    assert reason.startswith(f"{question} ")
    assert " is refused: " in reason


def test_a_manifest_entry_that_does_not_exist_is_an_error(template, tmp_path):
    out = tmp_path / "out"
    manifest = template / "cookiecutter.json"
    original = manifest.read_text()
    manifest.write_text(original.replace('"deploy/kubernetes"', '"deploy/kubernets"'))
    try:
        done = subprocess.run(
            [*COOKIECUTTER, str(template), "--no-input", "-o", str(out), "kubernetes=no"],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        manifest.write_text(original)
    assert done.returncode == 1
    assert "deploy/kubernets" in done.stderr
    assert list(out.iterdir()) == []


def test_what_tools_left_in_the_template_stays_there(template, bake):
    left = template / "{{cookiecutter.project_slug}}" / "src" / "service" / "__pycache__"
    left.mkdir()
    (left / "app.cpython-311.pyc").touch()
    try:
        assert list(bake().rglob("__pycache__")) == []
    finally:
        (left / "app.cpython-311.pyc").unlink()
        left.rmdir()
