"""What users import stays as it is; a change here is one that they must be told of."""

from tests.public_face import PINNED, public_face, undocumented


def test_names_and_signatures_are_those_that_users_know():
    """A change that is meant: `python -m tests.public_face`, and a line in the CHANGELOG."""
    assert public_face() == PINNED.read_text()


def test_each_has_a_docstring():
    assert undocumented() == []
