"""What a session says when it cannot be written."""


class SessionEnded(Exception):  # noqa: N818 - a state of the session, read aloud in `except`
    """A logout, a login or the end of its lifetime was before a write that `save()` was to do."""
