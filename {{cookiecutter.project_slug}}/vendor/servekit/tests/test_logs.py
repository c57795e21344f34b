import json
import os
import warnings
from typing import Any

import pytest

PRELUDE = """
import logging, os, sys, warnings
import structlog
warnings.simplefilter('default')
from servekit.logs import configure_logs, event_writer, listeners, set_level
structlog.reset_defaults()
log = structlog.get_logger()
"""
ATTACK = "a\r\n{}\x1b[2K\x9b31m\u2028\u2029\u202e\x00"


def run(program: str) -> bytes:
    """Run a program in a forked process, for logging is the state of a process."""
    reader, writer = os.pipe()
    with warnings.catch_warnings(action="ignore"):
        child = os.fork()  # newer Pythons warn about the threads of other tests
    if not child:
        status = 1
        try:
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            exec(PRELUDE + program, {})
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        output = stream.read()
    assert os.waitpid(child, 0)[1] == 0, output.decode()
    return output


def lines_of(program: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(program).splitlines()]


def test_an_event_is_one_json_object_with_its_time_level_and_worker():
    (line,) = lines_of(
        "configure_logs('info', 'json', worker=3)\n"
        "structlog.contextvars.bind_contextvars(request_id='r1')\n"
        "log.debug('hidden')\n"
        "log.info('cache_warmed', keys=2)"
    )
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "event": "cache_warmed",
        "worker": 3,
        "request_id": "r1",
        "keys": 2,
    }


def test_records_of_libraries_and_warnings_take_the_same_form():
    lines = lines_of(
        "configure_logs('info', 'json', worker=1)\n"
        "logging.getLogger('uvicorn.error').info('Started %s', 'x')\n"
        "logging.getLogger('asyncio').debug('hidden')\n"
        "warnings.warn('old')"
    )
    assert [line["logger"] for line in lines] == ["uvicorn.error", "py.warnings"]
    assert lines[0]["event"] == "Started x"
    assert {line["worker"] for line in lines} == {1}
    assert lines[1]["level"] == "warning"


def test_a_traceback_is_one_field_of_one_line():
    lines = lines_of(
        "configure_logs('info', 'json')\n"
        "try: 1 / 0\n"
        "except Exception:\n"
        "    log.exception('ours')\n"
        "    logging.getLogger('uvicorn.error').exception('theirs')"
    )
    assert [line["event"] for line in lines] == ["ours", "theirs"]
    for line in lines:
        assert "ZeroDivisionError" in line["exception"]
        assert line["level"] == "error"


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_value_can_forge_a_line_or_command_a_terminal(form):
    text = run(
        f"configure_logs('info', {form!r})\n"
        f"attack = {ATTACK!r}\n"
        "log.info(attack, path=attack)\n"
        "logging.getLogger('x').info(attack)\n"
        "event_writer()([('info', {'event': 'http_request', 'path': attack})])\n"
    ).decode()
    assert len(text.splitlines()) == 3, "also by the wider notion of a line that Python has"
    for character in set(ATTACK) - set("a{}[2K31m\n\x1b"):
        assert character not in text
    assert "\x1b[2K" not in text


def test_the_text_of_an_exception_cannot_forge_a_line_on_a_terminal():
    text = run(
        "configure_logs('info', 'console')\n"
        "try: raise ValueError('x\\n2026-01-01 [info] forged\\x1b[2K')\n"
        "except Exception: log.exception('failed')"
    ).decode()
    lines = text.splitlines()
    assert all(line.startswith("    ") for line in lines[1:])
    assert "\x1b[2K" not in text


def test_values_that_json_does_not_know_are_written_all_the_same():
    lines = lines_of(
        "configure_logs('info', 'json')\n"
        "log.info('odd', surrogate='\\ud800', large=2**80, kind=object, raw=b'x', n={1: 2})\n"
    )
    assert lines[0]["large"] == 2**80
    assert lines[0]["raw"] == "b'x'"


def test_a_forked_process_names_itself_even_through_loggers_used_before():
    lines = lines_of(
        "configure_logs('info', 'json')\n"
        "log.info('zygote')\n"
        "write = event_writer()\n"
        "if not (child := os.fork()):\n"
        "    configure_logs('info', 'json', worker=7)\n"
        "    log.info('forked'); write([('info', {'event': 'written'})])\n"
        "    logging.getLogger('x').info('record')\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\n"
        "log.info('parent')"
    )
    assert [(line["event"], line.get("worker")) for line in lines] == [
        ("zygote", None),
        ("forked", 7),
        ("written", 7),
        ("record", 7),
        ("parent", None),
    ]


def test_the_writer_heeds_the_level_and_lines_that_cannot_be_written_are_dropped():
    assert run("configure_logs('warning', 'json')\nevent_writer()([('info', {})])") == b""
    run("configure_logs('info', 'json')\nos.close(1)\nlog.info('x'); os.open(os.devnull, 1)")


def test_auto_writes_json_where_there_is_no_terminal():
    assert lines_of("configure_logs()\nlog.info('x')")[0]["event"] == "x"


def test_the_servers_record_of_a_logged_exception_is_dropped():
    lines = lines_of(
        "configure_logs('info', 'json')\n"
        "error = ValueError()\n"
        "logging.getLogger('uvicorn.error').error('first', exc_info=error)\n"
        "error.is_logged = True\n"
        "logging.getLogger('uvicorn.error').error('second', exc_info=error)\n"
    )
    assert [line["event"] for line in lines] == ["first"]


def test_the_writer_works_where_nobody_configured_logs():
    output = run("structlog.reset_defaults(); event_writer()([('info', {'event': 'asked'})])")
    assert b"asked" in output


def test_extra_fields_of_a_record_are_kept_and_ours_are_not_forged():
    (line,) = lines_of(
        "configure_logs('info', 'json', worker=1)\n"
        "structlog.contextvars.bind_contextvars(request_id='r1')\n"
        "extra = {'order': 7, 'level': 'debug', 'worker': 9, 'request_id': 'forged', 'event': '',\n"
        "    'timestamp': 0, 'logger': 'l', 'exception': 'e', 'extra_level': 'own',\n"
        "    'color_message': 'again'}\n"
        "logging.getLogger('shop').warning('sold', extra=extra)"
    )
    line.pop("timestamp")
    assert line == {
        "level": "warning",
        "event": "sold",
        "worker": 1,
        "request_id": "r1",
        "logger": "shop",
        "order": 7,
        "extra_level": "own",
        "extra_extra_level": "debug",
        "extra_worker": 9,
        "extra_request_id": "forged",
        "extra_event": "",
        "extra_timestamp": 0,
        "extra_logger": "l",
        "extra_exception": "e",
    }


def test_fields_of_an_event_do_not_forge_ours():
    (line,) = lines_of(
        "configure_logs('info', 'json', worker=1)\n"
        "log.warning('sold', level='debug', worker=9, timestamp=0)"
    )
    assert (line["level"], line["worker"], line["extra_worker"]) == ("warning", 1, 9)
    assert line["timestamp"].endswith("Z")


ODD = """
import collections, decimal, math, uuid
class Silent:
    def __repr__(self): raise RuntimeError
class Loud:
    def __repr__(self): return 'a\\n2026-01-01 [info] forged\\x1b[2K\\u2028'
endless = {}
endless['self'] = endless
odd = {'silent': Silent(), 'loud': Loud(), 'endless': endless, 'nan': math.nan, 'large': 10**5000,
    'bytes': b'a', 'lone': '\\ud800', 'inner': {'a': [Silent(), Loud()], 1: 2}, 'a\\nb': 1,
    'set': {1}, 'decimal': decimal.Decimal(1), 'uuid': uuid.UUID(int=1), 'none': None}
"""


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("way", ["extra=odd", "extra={name: odd[name]}"])
def test_no_extra_field_costs_a_record_or_forges_a_line(form, way):
    program = (
        f"{ODD}\nconfigure_logs('info', {form!r})\n"
        f"for name in odd: logging.getLogger('x').warning('still said', {way})"
    )
    text = run(program).decode()
    lines = text.splitlines()
    assert len(lines) == 13
    assert all("still said" in line for line in lines)
    assert "\x1b[2K" not in text
    if form == "json":
        assert all(json.loads(line)["event"] == "still said" for line in lines)


def test_a_level_that_changes_reaches_every_logger_in_use():
    lines = lines_of(
        "configure_logs('info', 'json')\n"
        "write, record = event_writer(), logging.getLogger('x')\n"
        "def all_say(level):\n"
        "    getattr(log, level)('event'); getattr(record, level)('record')\n"
        "    write([(level, {'event': 'written'})])\n"
        "all_say('debug'); set_level('debug'); all_say('debug')\n"
        "set_level('error'); all_say('warning'); all_say('error')"
    )
    assert [(line["level"], line["event"]) for line in lines] == [
        (level, event) for level in ("debug", "error") for event in ("event", "record", "written")
    ]


def test_listeners_hear_what_is_written_and_nothing_else():
    lines = lines_of(
        "configure_logs('info', 'json', worker=2)\n"
        "listeners.append(lambda fields: heard.append(dict(fields)))\n"
        "heard = []\n"
        "log.debug('hidden'); log.warning('seen', a=1); log.info(len(heard), w=heard[0]['worker'])"
    )
    assert [(line["event"], line.get("w")) for line in lines] == [("seen", None), (1, 2)]
