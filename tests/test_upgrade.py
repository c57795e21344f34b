"""`make upgrade`: a newer template reaches a project whose user edited what is the user's."""

import json
import re
import subprocess
import sys
from pathlib import Path

from render import SERVICE, copy_tracked, render
from repository import commit_all, git
from running import make

EDITED = {
    "src/service/app.py": "\n\nAPP_NAME = 'ours'\n",
    "tests/example/__init__.py": "# Ours.\n",
    "README.md": "\nOurs.\n",
}


def run(*command: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def edit_as_a_user_does(project: Path) -> None:
    for name, text in EDITED.items():
        with (project / name).open("a", encoding="utf-8") as file:
            file.write(text)


def release_a_library(template: Path) -> None:
    """Change, add and remove files of the library, and record its hash."""
    library = template / SERVICE / "vendor" / "servekit"
    sources = library / "src" / "servekit"
    (sources / "news.py").write_text('"""New."""\n')
    with (sources / "__init__.py").open("a", encoding="utf-8") as file:
        file.write("\n# A later version.\n")
    (library / "tests" / "test_cpus.py").unlink()
    record = run(str(library.parent / "fingerprint.py"), folder=template)
    library.with_suffix(".sha256").write_text(record)


def test_an_upgrade_of_the_library_merges_without_a_conflict(tmp_path):
    template = copy_tracked(tmp_path / "perf-template")
    commit_all(template, "one")
    run("-m", "cruft", "create", str(template), "-y", "--output-dir", ".", folder=tmp_path)
    project = tmp_path / "my-service"
    commit_all(project, "start")
    edit_as_a_user_does(project)
    commit_all(project, "ours")
    release_a_library(template)
    commit_all(template, "two")

    done = make(project, "upgrade", "ARGS=-y")

    assert done.returncode == 0, done.stdout + done.stderr
    assert list(project.rglob("*.rej")) == []
    for name, text in EDITED.items():
        assert (project / name).read_text(encoding="utf-8").endswith(text)
    library = project / "vendor" / "servekit"
    assert (library / "src" / "servekit" / "news.py").exists()
    assert "A later version" in (library / "src" / "servekit" / "__init__.py").read_text()
    assert not (library / "tests" / "test_cpus.py").exists()
    assert run("vendor/fingerprint.py", "--compare", folder=project) == ""


def test_a_changed_question_file_arrives_too(tmp_path):
    template = copy_tracked(tmp_path / "perf-template")
    commit_all(template, "one")
    run("-m", "cruft", "create", str(template), "-y", "--output-dir", ".", folder=tmp_path)
    project = tmp_path / "my-service"
    commit_all(project, "start")

    (template / SERVICE / "docs" / "news.md").write_text("New in the template.\n")
    manifest = json.loads((template / "cookiecutter.json").read_text())
    manifest["_files_by_option"]["kubernetes"].append("docs/news.md")
    (template / "cookiecutter.json").write_text(json.dumps(manifest))
    commit_all(template, "two")

    run("-m", "cruft", "update", "-y", folder=project)
    assert (project / "docs" / "news.md").read_text() == "New in the template.\n"
    run("-m", "cruft", "check", folder=project)


def test_a_project_that_is_linked_late_gets_what_came_since_it_was_made(tmp_path):
    template = copy_tracked(tmp_path / "perf-template")
    commit_all(template, "one")
    made_from = git(template, "rev-parse", "HEAD")
    manifest = json.loads((template / "cookiecutter.json").read_text())
    questions = [name for name in manifest if not name.startswith("_")]
    project = render(template, tmp_path)
    commit_all(project, "start")
    (template / SERVICE / "docs" / "news.md").write_text("New in the template.\n")
    commit_all(template, "two")

    done = make(project, "upgrade", "ARGS=-y")
    assert done.returncode != 0
    (command,) = re.findall(r"(build/upgrade/bin/python -m cruft link) URL\.", done.stderr)
    subprocess.run(
        [*command.split(), str(template)],
        cwd=project,
        check=True,
        capture_output=True,
        input="\n" * len(questions) + made_from,
        text=True,
    )
    commit_all(project, "linked")

    done = make(project, "upgrade", "ARGS=-y")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project / "docs" / "news.md").exists()
