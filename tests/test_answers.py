"""Hostile answers arrive as data in every file, whatever its format."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from answers import COMBINATIONS, HOSTILE, PYTHONS, TYPED, name
from render import ROOT, SERVICE

TEXTS = ("project_name", "description", "author")


def one_line(text: str) -> str:
    return " ".join(text.split())


def parse_all(project: Path) -> None:
    for path in project.rglob("*"):
        if path.suffix == ".toml":
            tomllib.loads(path.read_text(encoding="utf-8"))
        elif path.suffix in {".yaml", ".yml"}:
            list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))


def assert_arrived(project: Path, text: str) -> None:
    """Find the text, on one line, in each place that carries it."""
    parse_all(project)
    package = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert package["name"] == "shop"
    assert package["description"] == text
    assert package["authors"] == [{"name": text}]
    readme = (project / "README.md").read_text(encoding="utf-8")
    assert readme.startswith(f"# {text}\n")
    assert f"\n{text}\n" in readme
    assert text in (project / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("licence", ["MIT", "Apache-2.0", "proprietary"])
def test_hostile_texts_arrive_as_data(bake, kind, licence):
    text = HOSTILE[kind]
    project = bake(project_slug="shop", license=licence, **dict.fromkeys(TEXTS, text))
    assert_arrived(project, one_line(text))


def test_template_syntax_that_is_typed_arrives_as_data(type_answers):
    project = type_answers(project_slug="shop", **dict.fromkeys(TEXTS, TYPED))
    assert_arrived(project, one_line(TYPED))


def test_hostile_texts_change_no_other_file(bake):
    plain = bake(project_slug="shop")
    hostile = bake(project_slug="shop", **dict.fromkeys(TEXTS, " ".join(HOSTILE.values())))
    changed = {
        path.relative_to(plain).as_posix()
        for path in plain.rglob("*")
        if path.is_file() and path.read_bytes() != (hostile / path.relative_to(plain)).read_bytes()
    }
    assert changed == {"LICENSE", "README.md", "pyproject.toml"}


def test_the_slug_follows_the_name(bake):
    assert bake(project_name="The Fast Shop 2").name == "the-fast-shop-2"
    assert bake(project_name="🚀").name == "my-service"
    assert bake(project_name="123 go").name == "go"
    assert bake(project_name="2024").name == "my-service"
    assert len(bake(project_name="long " * 20).name) <= 40


@pytest.mark.parametrize("answers", COMBINATIONS, ids=name)
def test_every_combination_parses(bake, answers):
    project = bake(**answers)
    parse_all(project)
    spdx = {"proprietary": "LicenseRef-Proprietary"}
    licence = str(answers.get("license", "MIT"))
    package = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert package["license"] == spdx.get(licence, licence)


@pytest.mark.parametrize("version", PYTHONS)
def test_the_python_version_reaches_the_image_and_the_makefile(bake, version):
    project = bake(python_version=version)
    assert f'ARG PYTHON_VERSION="{version}"\n' in (project / "Dockerfile").read_text()
    assert f"PYTHON_VERSION := {version}\n" in (project / "Makefile").read_text()


def test_every_python_to_choose_is_tested_found_and_documented():
    oldest, *_, newest = sorted(PYTHONS, key=lambda version: int(version.split(".")[1]))
    assert PYTHONS[0] == newest

    workflows = {path.name: path.read_text() for path in (ROOT / ".github/workflows").iterdir()}
    tested = yaml.safe_load(workflows["ci.yml"])["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert sorted(tested) == sorted(PYTHONS)
    alone = re.findall(r'python-version: "(.*)"', "".join(workflows.values()))
    assert set(alone) <= set(PYTHONS)  # other projects' own tests run on what those name

    installer = (ROOT / SERVICE / "requirements/install.sh").read_text()
    assert sorted(re.findall(r" python(3\.\d+)", installer)) == sorted(PYTHONS)
    assert f"| {newest} | the image's Python" in (ROOT / "README.md").read_text()
    for document in ("README.md", "docs/decisions.md"):
        assert f"source works on {oldest} to {newest}" in (ROOT / document).read_text()
