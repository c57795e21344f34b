"""What the guides say to type is what there is to run."""

import re
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def guides(template) -> str:
    [service] = template.glob("{{*")
    pages = [service / "README.md", *(service / "docs").glob("*.md")]
    pages += (service / "vendor" / "servekit" / "docs").glob("*.md")
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


@pytest.fixture(scope="module")
def service(template) -> Path:
    [service] = template.glob("{{*")
    return Path(service)


def test_an_image_is_given_commands_of_its_entry_point(guides, service):
    entry = re.search(r"^ENTRYPOINT (.*)$", (service / "Dockerfile").read_text(), re.MULTILINE)
    assert entry
    assert entry[1] == '["python", "-m", "service"]'
    given = re.findall(r"docker run [^`\n]*\bIMAGE ([a-z]+)", guides)
    assert given
    assert set(given) <= {"run", "settings", "status", "doctor"}


def test_paths_of_a_machine_are_those_of_its_unit(guides, service):
    [unit] = (service / "deploy" / "systemd").glob("*.service")
    text = unit.read_text().replace("{{ cookiecutter.project_slug }}", "NAME")
    assert set(re.findall(r"/opt/[\w.-]+/\.venv|/opt/venv", guides)) == {"/opt/NAME/.venv"}
    assert "/opt/NAME/.venv/bin/NAME run" in text
    folders = set(re.findall(r"unix:(/run/[\w.-]+)/", guides))
    assert folders == {"/run/NAME"}
    assert "RuntimeDirectory=NAME" in text


def test_modules_that_are_run_are_there_or_said_to_be_added(guides, service):
    locked = "\n".join(lock.read_text() for lock in (service / "requirements").glob("*.txt"))
    library = service / "vendor" / "servekit"
    for line in guides.splitlines():
        for name in re.findall(r"(?:python|python3) -m ([a-z_]+)", line):
            ours = {"service", "module"} | {folder.name for folder in library.iterdir()}
            known = name in ours or name in sys.stdlib_module_names
            is_locked = re.search(rf"^{name}==", locked, re.MULTILINE)
            is_told = "add it to the group" in line or "installs that" in line
            assert known or is_locked or is_told, line


def test_every_limit_on_logins_that_is_named_is_one(guides, service):
    source = (service / "src" / "service" / "accounts" / "limits.py").read_text()
    for name in set(re.findall(r"`(login-[a-z]+)`", guides)):
        assert f'"{name}"' in source


def test_a_stop_has_the_time_that_the_unit_leaves_it(service):
    [unit] = (service / "deploy" / "systemd").glob("*.service")
    given = dict(
        re.findall(
            r"(TimeoutStopSec|GRACE_PERIOD_SECONDS)=(\d+)$",
            re.sub(r" ", "\n", unit.read_text()),
            re.MULTILINE,
        )
    )
    assert given["TimeoutStopSec"] == given["GRACE_PERIOD_SECONDS"]


def test_what_is_to_be_looked_at_is_shown_by_commands_that_there_are(service):
    source = (service / "vendor/servekit/src/servekit/start/command_line.py").read_text()
    commands = set(re.findall(r'add_parser\(\s*"([a-z]+)"', source))
    page = (service / "docs" / "operations.md").read_text()
    [table] = re.findall(r"\n\| to see \| do \|\n.*?\n\n", page, re.DOTALL)
    for row in table.strip().splitlines()[2:]:
        shown = re.findall(r"`([a-z]+)[ `]", row.split("|")[2])
        assert {word for word in shown if word != "collapsed"} & commands, row
        assert set(shown) <= {*commands, "collapsed", "kubectl"} | {"profile_kept"}, row
