import asyncio
import logging
import traceback

import pytest

from servekit.worker.application import Application, first_line


def trace_of(error: Exception) -> str:
    return 'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n' + "".join(
        traceback.format_exception_only(error)
    )


@pytest.mark.parametrize(
    ("trace", "line"),
    [
        (
            trace_of(ValueError("no such host\n(Background: https://example.org)")),
            "ValueError: no such host",
        ),
        (trace_of(ValueError("first\n  File indented\nthird")), "ValueError: first"),
        (trace_of(ValueError("")), "ValueError"),
        ("the application gave no reason", "the application gave no reason"),
        ("", ""),
    ],
)
def test_the_reason_of_a_failed_start_is_what_the_error_says_first(trace, line):
    assert first_line(trace) == line


async def test_of_several_errors_in_a_group_the_group_is_named():
    async def fail():
        raise KeyError("cold")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
    except ExceptionGroup:
        assert "unhandled errors" in first_line(traceback.format_exc())


def test_no_root_level_puts_uvicorns_messages_about_messages_around_the_application():
    async def app(scope, receive, send):
        raise NotImplementedError

    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.NOTSET)
    try:
        assert Application(app, keep_alive=1).config.loaded_app is app
    finally:
        root.setLevel(before)
