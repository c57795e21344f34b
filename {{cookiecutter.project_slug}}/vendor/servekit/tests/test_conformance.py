"""What compares other people's tests: its table, and where it takes the tests from."""

import tarfile
from importlib.metadata import version

import pytest

from conformance.deviations import Deviation, explain, matches, read_table
from conformance.sources import SourcesError, locked, unpack
from conformance.suites import SUITES

PROJECTS = sorted({suite.project for suite in SUITES.values()})


def test_only_a_star_has_a_meaning_in_the_name_of_a_test():
    assert matches("tests/a.py::test[x-*]", "tests/a.py::test[x-1]")
    assert not matches("tests/a.py::test[x-*]", "tests/a.py::testx")
    assert not matches("tests/a.py::test", "tests/a.py::test_more")


def test_each_deviation_has_a_reason_or_is_told_and_so_is_an_idle_entry():
    table = [
        Deviation(frozenset({"one"}), "why", ("a*", "never")),
        Deviation(frozenset({"other"}), "not here", ("*",)),
    ]
    reasons, unexplained, idle = explain("one", ["a1", "a2", "b"], table)
    assert reasons == {"why": ["a1", "a2"]}
    assert (unexplained, idle) == (["b"], ["never"])


def test_the_table_names_suites_that_exist_and_gives_reasons():
    for entry in read_table():
        assert entry.suites <= set(SUITES), entry
        assert entry.reason.endswith("."), entry
        assert entry.tests, entry


@pytest.mark.parametrize("project", PROJECTS)
def test_a_lock_knows_the_hash_of_the_installed_versions_source_distribution(project):
    assert locked(project).startswith(f"{project}=={version(project)}")
    assert locked(project).count("--hash=sha256:") >= 2


def test_what_no_lock_names_is_not_downloaded():
    with pytest.raises(SourcesError, match="SDISTS"):
        locked("pytest_xdist")


def test_a_source_distribution_is_unpacked_without_its_package(tmp_path):
    name = f"uvicorn-{version('uvicorn')}"
    for path in (f"{name}/uvicorn/main.py", f"{name}/tests/test_main.py"):
        file = tmp_path / "tree" / path
        file.parent.mkdir(parents=True)
        file.write_text("")
    folder = tmp_path / "sdists"
    folder.mkdir()
    with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "tree" / name, name)

    target = unpack("uvicorn", python=tmp_path, cache=tmp_path / "cache", folder=folder)

    assert [one.name for one in target.rglob("*.py")] == ["test_main.py"]
    with pytest.raises(SourcesError, match="no "):
        unpack("starlette", python=tmp_path, cache=tmp_path / "cache", folder=folder)
