"""What a line of the log keeps whatever it is given, and what it never does to who logs."""

import json

import pytest

from tests.test_logs import lines_of, run


@pytest.mark.parametrize("logger", ["log", "logging.getLogger('x')"])
def test_what_is_bound_to_the_context_does_not_forge_ours(logger):
    (line,) = lines_of(
        "configure_logs('info', 'json', worker=1)\n"
        "from structlog.contextvars import bind_contextvars\n"
        "bind_contextvars(event='order', level='gold', worker=9, tenant='t')\n"
        f"{logger}.warning('sold')"
    )
    ours = {name: line[name] for name in ("event", "level", "worker", "tenant")}
    assert ours == {"event": "sold", "level": "warning", "worker": 1, "tenant": "t"}
    assert (line["extra_event"], line["extra_level"], line["extra_worker"]) == ("order", "gold", 9)


@pytest.mark.parametrize("logger", ["log", "logging.getLogger('x')"])
@pytest.mark.parametrize("form", ["json", "console"])
def test_a_stack_that_is_asked_for_is_on_the_line(logger, form):
    text = run(
        f"configure_logs('info', {form!r})\n"
        "def asking(): \n"
        f"    {logger}.info('here', stack_info=True)\n"
        "asking()"
    ).decode()
    if form == "json":
        (line,) = [json.loads(each) for each in text.splitlines()]
        text = line["stack"]
    assert "in asking" in text
    assert "servekit/logs" not in text


def test_no_key_of_a_table_is_left_out():
    (line,) = lines_of(
        "configure_logs('info', 'json')\n"
        "log.info('x', counts={(1, 2): 3, 'a': {frozenset(): 4}, 5: [{(6,): 7}]})"
    )
    assert line["counts"] == {"(1, 2)": 3, "a": {"frozenset()": 4}, "5": [{"(6,)": 7}]}


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_event_and_no_listener_raises_into_who_logs(form):
    text = run(
        f"configure_logs('info', {form!r})\n"
        "from servekit.console.journal import note_events\n"
        "class Silent:\n"
        "    def __str__(self): raise RuntimeError\n"
        "    __repr__ = __str__\n"
        "note_events(lambda entry: None)\n"
        "log.info({'order': 1}); log.info(['a']); log.info('worker_hung', what=Silent())\n"
        "log.error('failed', exception=ValueError('x')); log.error('failed', stack=3)"
    ).decode()
    assert len(text.splitlines()) >= 5
    assert "ValueError('x')" in text


def test_a_line_that_was_cut_has_an_end_before_the_next():
    """A pipe that does not wait takes a part of a line, and then no more."""
    lines = run(
        "reader, writer = os.pipe(); os.set_blocking(writer, False)\n"
        "kept = os.dup(1); os.dup2(writer, 1)\n"
        "configure_logs('info', 'json')\n"
        "log.info('long', text='x' * 200_000); log.info('lost')\n"
        "part = os.read(reader, 100_000); log.info('next'); log.info('last')\n"
        "os.set_blocking(reader, False); os.dup2(kept, 1)\n"
        "os.write(1, part[-9:] + os.read(reader, 100_000))"
    ).splitlines()
    assert lines[0].endswith(b"xxx")
    assert [json.loads(line)["event"] for line in lines[1:]] == ["next", "last"]


def test_lines_that_are_written_together_carry_nothing_of_one_another():
    text = run(
        "configure_logs('info', 'console')\n"
        "from structlog.contextvars import bind_contextvars\n"
        "bind_contextvars(user='ada')\n"
        "event_writer()([('info', {'event': 'http_request', 'path': '/bob'})])"
    ).decode()
    assert "/bob" in text
    assert "ada" not in text
