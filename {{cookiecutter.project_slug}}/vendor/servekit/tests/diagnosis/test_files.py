"""Whether a file can be written is known before the long look whose end it is."""

import os
import tempfile
from pathlib import Path

import pytest

from servekit.admin.client import AdminError
from servekit.diagnosis.files import writable
from servekit.diagnosis.profile import destination


@pytest.fixture(autouse=True)
def _as_a_user(monkeypatch):
    """Ask as one who is not root, whom no permission stops: by what the modes say."""
    monkeypatch.setattr(os, "access", lambda path, _: bool(Path(path).stat().st_mode & 0o200))


def test_a_file_that_is_overwritten_needs_no_writable_folder(tmp_path):
    file, locked = tmp_path / "f", tmp_path / "locked"
    file.write_text("")
    locked.mkdir()
    (locked / "f").write_text("")
    locked.chmod(0o555)
    assert writable(str(locked / "f")) == locked / "f"
    file.chmod(0o444)
    assert writable(str(file), replaced=True) == file
    for name, replaced in ((locked / "f", True), (locked / "new", False), (file, False)):
        with pytest.raises(AdminError, match="cannot be written"):
            writable(str(name), replaced=replaced)


@pytest.mark.parametrize("name", [".", "no/such/f"])
def test_what_names_no_file_is_a_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AdminError, match="cannot be written"):
        writable(name)


def test_a_profile_without_a_name_goes_where_it_can_be_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert destination("html", "").parent == Path()
    tmp_path.chmod(0o555)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path.parent))
    assert destination("html", "").parent == tmp_path.parent
    assert destination("collapsed", "").suffix == ".txt"
