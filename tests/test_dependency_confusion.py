"""Nothing ever looks the library up by name: in an index, that name could be anybody's."""

import re
import tomllib
from itertools import chain

import pytest

INSTALLERS = ("Makefile", "Dockerfile", "install.sh", "*.yml", "*.yaml")


def requirement_lists(pyproject):
    """Yield every list of requirements that a pyproject.toml holds."""
    package = pyproject.get("project", {})
    yield package.get("dependencies", [])
    yield from package.get("optional-dependencies", {}).values()
    yield from pyproject.get("dependency-groups", {}).values()
    yield pyproject["build-system"]["requires"]


@pytest.mark.parametrize("part", [".", "vendor/servekit"])
def test_no_lock_and_no_requirement_names_a_part(rendered_service, part):
    pyproject = tomllib.loads((rendered_service / part / "pyproject.toml").read_text())
    required = [str(one) for one in chain.from_iterable(requirement_lists(pyproject))]
    assert required
    for lock in (rendered_service / part / "requirements").glob("*.txt"):
        required += re.findall(r"^[^\s#].*", lock.read_text(), re.MULTILINE)
    assert not [one for one in required if re.match(r"(servekit|my-service|service)\b", one)]


def installs(rendered_service):
    """Return the commands that install something, each on one line."""
    paths = chain.from_iterable(rendered_service.rglob(pattern) for pattern in INSTALLERS)
    text = "\n".join(path.read_text() for path in paths).replace("\\\n", " ")
    commands = chain.from_iterable(re.split(r"&&|\|\||;", line) for line in text.splitlines())
    names = r"pip wheel|\bpip\S* (?:--python \S+ )?install|\b(?:install|with_uv|with_pip|pip) -"
    return [
        command.strip()
        for command in commands
        if re.search(names, command) and "apt-get" not in command
    ]


def test_whatever_is_installed_has_a_hash_or_a_path_and_no_index(rendered_service):
    commands = installs(rendered_service)
    assert len(commands) > 5
    for command in commands:
        by_hash = "--require-hashes" in command
        by_path = {"--no-deps", "--no-index"} <= set(command.split())
        passed_on = '"$@"' in command or '"$$@"' in command
        assert by_hash or by_path or passed_on, command
        assert "servekit" not in command.replace("./vendor/servekit", ""), command
