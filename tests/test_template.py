import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from render import ROOT, SERVICE, tracked_files

PYTHON = [path for path in tracked_files() if path.endswith(".py")]
QUESTIONS = json.loads((ROOT / "cookiecutter.json").read_text())
FOLDERS = tuple(f"{SERVICE}/{folder}/" for folder in QUESTIONS["_copy_without_render"])
COPIED = [path for path in tracked_files() if path.startswith(FOLDERS)]


@pytest.mark.parametrize("path", PYTHON)
def test_every_python_file_parses_before_rendering(path):
    ast.parse((ROOT / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", COPIED)
def test_what_is_copied_holds_no_question(path):
    assert "cookiecutter." not in (ROOT / path).read_text(encoding="utf-8")


def test_the_service_pyproject_is_valid_before_rendering():
    tomllib.loads((ROOT / SERVICE / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_manifest_lists_paths_that_exist_of_questions_that_are_asked():
    for option, paths in QUESTIONS["_files_by_option"].items():
        assert option in QUESTIONS
        for path in paths:
            assert any(f"{name}/".startswith(f"{SERVICE}/{path}/") for name in tracked_files()), (
                path
            )


def test_the_recorded_hash_of_the_library_is_current(template):
    vendor = template / SERVICE / "vendor"
    command = [sys.executable, str(vendor / "fingerprint.py")]
    now = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert (vendor / "servekit.sha256").read_text() == now, "make vendor-hash"


def test_at_most_eight_questions_each_with_a_prompt():
    asked = [name for name in QUESTIONS if not name.startswith("_")]
    assert len(asked) <= 8
    assert sorted(QUESTIONS["__prompts__"]) == sorted(asked)


def test_hooks_stay_small_and_hold_one_expression():
    for name, limit in (("pre_gen_project.py", 25), ("post_gen_project.py", 40)):
        text = (ROOT / "hooks" / name).read_text()
        assert text.count("\n") <= limit
        assert re.findall(r"{{.*?}}|{%.*?%}", text) == ["{{ cookiecutter | jsonify }}"]


LIBRARY = ROOT / SERVICE / "vendor" / "servekit"


# The template's README also says what the generated service's own commands show.
@pytest.mark.parametrize(
    ("folder", "makefiles"),
    [
        (ROOT, [ROOT, ROOT / SERVICE]),
        (ROOT / SERVICE, [ROOT / SERVICE]),
        (LIBRARY, [LIBRARY]),
    ],
    ids=["template", "service", "library"],
)
def test_readme_commands_exist(folder, makefiles):
    texts = [(each / "Makefile").read_text() for each in makefiles]
    targets = re.findall(r"^([a-z0-9-]+):", "\n".join(texts), re.MULTILINE)
    readme = (folder / "README.md").read_text()
    named = re.findall(r"(?:^|`|\$ )make ([a-z0-9][a-z0-9-]*)", readme, re.MULTILINE)
    assert set(named)
    assert set(named) <= set(targets)


def test_readme_links_lead_to_files():
    for path in tracked_files():
        if not path.endswith(".md"):
            continue
        for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / path).read_text(encoding="utf-8")):
            assert ((ROOT / path).parent / target).exists(), f"{path}: {target}"


def run(*command: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_replay_file_gives_the_same_project(template, tmp_path):
    command = ["cookiecutter", str(template), "--default-config", "-o"]
    run(
        *command,
        "first",
        "--no-input",
        "project_name=The Shop",
        "license=Apache-2.0",
        folder=tmp_path,
    )
    replay = Path.home() / ".cookiecutter_replay" / f"{template.name}.json"
    assert json.loads(replay.read_text())["cookiecutter"]["project_name"] == "The Shop"
    run(*command, "second", "--replay-file", str(replay), folder=tmp_path)

    first, second = tmp_path / "first" / "the-shop", tmp_path / "second" / "the-shop"
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
