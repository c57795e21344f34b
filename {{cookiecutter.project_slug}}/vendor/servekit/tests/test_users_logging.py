"""What a user tells structlog and logging stands, and the library's own lines stay as they are."""

import json
import re
import subprocess
import sys

import pytest

from servekit.testing import patience
from tests.test_imports import FILES
from tests.test_logs import lines_of, run

OURS = """
from servekit.event_log import get_logger
from servekit.logs import name_worker
ours = get_logger()
"""
SAY = """
def say(word):
    structlog.get_logger().info(word, a=1)
    structlog.get_logger("named").warning(word)
    kept.bind(b=2).error(word)
    structlog.get_logger().bind(c=3).info(word)
"""
PROCESSORS = """
from structlog.processors import JSONRenderer, add_log_level
def mine(logger, method, fields): return fields | {"mine": True}
def plainly(logger, method, fields): return f"{method} {fields}"
"""
CONFIGURATIONS = {
    "a list": "processors=[mine, add_log_level, JSONRenderer()]",
    "a tuple": "processors=(mine, add_log_level, JSONRenderer())",
    "cached": "processors=[mine, JSONRenderer()], cache_logger_on_first_use=True",
    "bytes": "processors=[mine, lambda *a: JSONRenderer()(*a).encode()],"
    "logger_factory=structlog.BytesLoggerFactory()",
    "stdlib": "processors=[mine, plainly], logger_factory=structlog.stdlib.LoggerFactory(),"
    "wrapper_class=structlog.stdlib.BoundLogger, cache_logger_on_first_use=True",
}
PLACES = ["before us", "at import", "in the worker"]


def configured(arguments: str, place: str, *, with_us: bool) -> str:
    """Return a program that logs in its import and in its worker, configured at one place."""
    configure = f"structlog.configure({arguments})\n"
    steps = [
        "structlog.reset_defaults(); logging.getLogger().handlers.clear()\n",
        "sys.stdout = os.fdopen(1, 'w', buffering=1)\n",
        configure if place == "before us" else "",
        "configure_logs('info', 'json')\n" if with_us else "",
        "logging.basicConfig(stream=sys.stdout, level='INFO', format='%(message)s')\n",
        configure if place == "at import" else "",
        "kept = structlog.get_logger('kept')\n",
        "say('imported')\n" if place != "in the worker" else "",
        "kept.info('used before')\n" if with_us else "",
        "name_worker(3)\n" if with_us else "",
        configure if place == "in the worker" else "",
        "ours.warning('of the library')\n" if with_us else "",
        "say('working')\n",
    ]
    return OURS + PROCESSORS + SAY + "".join(steps)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("arguments", CONFIGURATIONS.values(), ids=list(CONFIGURATIONS))
def test_a_configuration_of_structlog_is_the_users_and_not_the_librarys(arguments, place):
    bare = run(configured(arguments, place, with_us=False)).decode().splitlines()
    lines = run(configured(arguments, place, with_us=True)).decode().splitlines()

    ours = [line for line in lines if "of the library" in line]
    [line] = map(json.loads, ours)
    assert (line["event"], line["worker"], line["level"]) == ("of the library", 3, "warning")
    lines = [line for line in lines if line not in ours and "used before" not in line]
    if "stdlib" in arguments:  # the root logger's handler is ours, and puts them in our form
        lines = [json.loads(line)["event"] for line in lines]
    assert lines == bare


@pytest.mark.parametrize(
    "arguments",
    [
        "wrapper_class=structlog.make_filtering_bound_logger(30)",
        "logger_factory=structlog.PrintLoggerFactory()",
        "cache_logger_on_first_use=False",
        "context_class=dict",
    ],
)
def test_whoever_configures_a_part_of_structlog_keeps_our_lines_for_the_rest(arguments):
    lines = lines_of(
        f"{OURS}structlog.reset_defaults(); configure_logs('info', 'json')\n"
        f"structlog.configure({arguments})\n"
        "sys.stdout = os.fdopen(1, 'w', buffering=1)\n"
        "name_worker(3); ours.warning('library'); structlog.get_logger('a').warning('user')"
    )
    assert [(line["event"], line["worker"]) for line in lines] == [("library", 3), ("user", 3)]


def test_a_processor_that_a_user_puts_among_ours_stays():
    lines = lines_of(
        f"{OURS}{PROCESSORS}structlog.reset_defaults(); configure_logs('info', 'json')\n"
        "structlog.get_config()['processors'].insert(-1, mine)\n"
        "copied = [mine, *structlog.get_config()['processors']]\n"
        "configure_logs('info', 'json', worker=3)\n"
        "structlog.get_logger().info('in place')\n"
        "structlog.configure(processors=copied)\n"
        "structlog.get_logger('of mine').info('copied')"
    )
    assert [(line["event"], line["mine"], line["worker"]) for line in lines] == [
        ("in place", True, 3),
        ("copied", True, 3),
    ]


def test_a_logger_has_its_name_on_the_line_wherever_it_is_made_and_bound():
    lines = lines_of(
        "structlog.reset_defaults()\n"
        "early = structlog.get_logger('early')\n"
        "configure_logs('info', 'json', worker=1)\n"
        "late = structlog.get_logger('late', part='p')\n"
        "for each in (early, early, late, late.bind(b=1), structlog.getLogger(7, 'x')):\n"
        "    each.info('said')\n"
        "structlog.get_logger('mine').info('said', logger='forged')\n"
        "structlog.get_logger().info('said', logger='own')\n"
        "structlog.get_logger().info('said')"
    )
    assert [line.get("logger") for line in lines] == [
        *("early", "early", "late", "late", "7", "mine", "own", None)
    ]
    assert lines[2]["part"] == "p"
    assert lines[3]["b"] == 1
    assert lines[5]["extra_logger"] == "forged"


def test_no_module_of_the_library_takes_a_logger_whose_configuration_is_the_users():
    wrong = [
        name
        for name, file in FILES.items()
        if re.search(r"structlog\.get_?[lL]ogger\(|import get_logger as", file.read_text())
        or re.search(r"from structlog import .*get_?[lL]ogger", file.read_text())
    ]
    assert wrong == []


def test_the_library_logs_where_it_is_imported_after_a_users_configuration_and_not_set_up():
    program = (
        "import structlog; structlog.configure(processors=())\n"
        "from servekit.event_log import get_logger\n"
        "get_logger().info('said', a=1)"
    )
    printed = subprocess.check_output([sys.executable, "-c", program], timeout=patience(20))
    assert json.loads(printed) == {"event": "said", "a": 1, "level": "info"}


LISTENING = """
class Heard(logging.Handler):
    def emit(self, record): heard.append(record)
heard = []
logging.getLogger().addHandler(Heard())
configure_logs('info', 'json')
called = []
original = logging.Logger.callHandlers
def patched(logger, record): called.append(record); original(logger, record)
logging.Logger.callHandlers = patched  # as Sentry does it
from servekit.hang_up import HUNG_UP
import asyncio
server = logging.getLogger('uvicorn.error')
def told(error):
    server.error('Exception in ASGI application', exc_info=error)
    structlog.get_logger().info('told', heard=len(heard), called=len(called))
    heard.clear(); called.clear()
"""


def test_handlers_of_others_get_the_servers_record_of_an_error_that_our_line_has_told():
    lines = lines_of(
        f"{LISTENING}error = ValueError(); error.is_logged = True\ntold(error); told(KeyError())"
    )
    assert [(line["event"], line.get("heard"), line.get("called")) for line in lines] == [
        ("told", 1, 1),
        ("Exception in ASGI application", None, None),
        ("told", 1, 1),
    ]


def test_a_request_that_we_have_ended_is_told_to_no_handler():
    lines = lines_of(
        f"{LISTENING}told(asyncio.CancelledError(HUNG_UP))\n"
        "late = asyncio.CancelledError('late'); late.is_logged = True\ntold(late)\n"
        "told(asyncio.CancelledError())"
    )
    assert [(line["event"], line.get("called")) for line in lines] == [
        ("told", 0),
        ("told", 0),
        ("Exception in ASGI application", None),
        ("told", 1),
    ]


def test_a_worker_is_named_without_touching_what_the_user_made_of_the_root_logger():
    output = run(
        f"{OURS}configure_logs('info', 'json')\n"
        "logging.basicConfig(force=True, level='DEBUG', format='mine %(message)s',\n"
        "    stream=os.fdopen(1, 'w', buffering=1))\n"
        "name_worker(3); logging.getLogger('x').debug('said'); ours.info('library')"
    ).decode()
    first, second = output.splitlines()
    assert first == "mine said"
    assert json.loads(second)["worker"] == 3
