"""The example is a guest: without it the service and its suite still stand."""

import re
import shutil
from pathlib import Path

import pytest
from running import make

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

OF_THE_EXAMPLE = re.compile(r"(?<!\.)example/|/products|of the example|RATES_URL")
LEFT_ALONE = ("vendor", ".venv")


@pytest.fixture
def without_example(bake) -> Path:
    project: Path = bake()
    shutil.rmtree(project / "src" / "service" / "example")
    shutil.rmtree(project / "tests" / "example")
    for name in ("app.py", "settings.py"):
        file = project / "src" / "service" / name
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        file.write_text("".join(line for line in lines if "example" not in line), encoding="utf-8")
    done = make(project, "env")
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def test_the_readme_names_every_page_that_still_speaks_of_the_example(without_example):
    readme = (without_example / "README.md").read_text(encoding="utf-8")
    paragraph = readme.partition("To start from an empty service")[2].partition("\n\n")[0]
    speaking = {
        path.relative_to(without_example).as_posix()
        for path in without_example.rglob("*")
        if path.is_file()
        and path.relative_to(without_example).parts[0] not in LEFT_ALONE
        and OF_THE_EXAMPLE.search(path.read_text(encoding="utf-8", errors="replace"))
    }
    named = {"README.md", *re.findall(r"`(docs/\S+)`", paragraph)}
    assert speaking == named


def test_the_suite_passes_without_the_example(without_example):
    done = make(without_example, "test")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_types_hold_without_the_example(without_example):
    done = make(without_example, "check")
    assert done.returncode == 0, done.stdout + done.stderr
