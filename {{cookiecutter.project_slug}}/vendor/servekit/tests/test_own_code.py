"""Whose code a file is, wherever the service lies, and the line of it that an error names."""

import asyncio
import importlib
import sys
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from servekit import own_code
from servekit.own_code import kind_of, line_of, place_of_error
from servekit.supervisor.program import reason_of
from servekit.worker.application import Application, StartFailedError

VENV = "/srv/shop/.venv/lib/python3.11/site-packages"


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("/srv/shop/src/service/shop/__init__.py", "own"),
        (f"{VENV}/fastapi/routing.py", "library"),
        (f"{VENV}/six.py", "library"),
        (f"{VENV}/servekit/service.py", "servekit"),
        ("/srv/shop/vendor/servekit/src/servekit/service.py", "servekit"),
        ("/srv/shop/vendor/servekit/tests/test_own_code.py", "own"),
        ("/usr/lib/python3.11/asyncio/runners.py", "python"),
        ("/usr/lib/python3/dist-packages/yaml/__init__.py", "library"),
        ("<frozen importlib._bootstrap>", "python"),
        ("<string>", "python"),
        ("asyncpg/protocol/protocol.pyx", "library"),
        ("src/service/fast.pyx", "own"),
        ("/srv/shop/src/service/fast.pyx", "own"),
    ],
)
def test_a_file_is_somebodys(monkeypatch, file, kind):
    monkeypatch.setattr(own_code, "_installed_applications", set())
    own_code.claim("service.app:create_app")
    try:
        assert kind_of(file) == kind
    finally:
        kind_of.cache_clear()


def test_the_application_is_own_code_where_it_is_installed_beside_libraries(monkeypatch):
    monkeypatch.setattr(own_code, "_installed_applications", set())
    assert kind_of(f"{VENV}/service/shop/__init__.py") == "library"
    own_code.claim("service.app:create_app")
    try:
        assert kind_of(f"{VENV}/service/shop/__init__.py") == "own"
        assert kind_of(f"{VENV}/services/app.py") == "library"
    finally:
        kind_of.cache_clear()


BROKEN = {
    "at import": ('\nraise RuntimeError("at import")', "RuntimeError: at import ({}:2)"),
    "no syntax": ("def f(:\n    pass", "SyntaxError: invalid syntax ({}:1)"),
    "no indentation": (
        "\ndef f():\npass",
        "IndentationError: expected an indented block after function definition on line 2 ({}:3)",
    ),
    "in a library": ('\n\nimport json\njson.loads("{")', "({}:4)"),
    "in a function": (
        "def f():\n    return 1 / 0\nf()",
        "ZeroDivisionError: division by zero ({}:2)",
    ),
    "no module": ("import not_there", "ModuleNotFoundError: No module named 'not_there' ({}:1)"),
    "without a word": ("assert False", "AssertionError: no message ({}:1)"),
    "in several lines": ('raise ValueError("one\\ntwo")', "ValueError: one ({}:1)\ntwo"),
}


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return what writes a module `broken` below this folder, and its place there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text: str) -> str:
        Path("broken.py").write_text(text)
        importlib.invalidate_caches()
        sys.modules.pop("broken", None)
        return "broken.py"

    return write


@pytest.mark.parametrize("how", BROKEN)
def test_code_that_cannot_be_imported_says_where(how, module):
    text, reason = BROKEN[how]
    place = module(text)
    with pytest.raises(Exception) as raised:  # noqa: PT011 - of any kind
        importlib.import_module("broken")
    assert reason_of(raised.value).endswith(reason.format(place))


@pytest.mark.parametrize("grouped", [False, True])
async def test_an_application_that_cannot_start_says_where(module, grouped):
    body = (
        "async with asyncio.TaskGroup() as group: group.create_task(fail())"
        if grouped
        else "await fail()"
    )
    place = module(f"""import asyncio
from contextlib import asynccontextmanager
from fastapi import FastAPI
async def fail():
    await asyncio.sleep(0)
    raise OSError("the pump is away")
@asynccontextmanager
async def lifespan(app):
    {body}
    yield
app = FastAPI(lifespan=lifespan)
""")
    with pytest.raises(StartFailedError) as raised:
        await Application(importlib.import_module("broken").app, keep_alive=1).start()
    assert str(raised.value).endswith(f"({place}:6)")
    assert grouped or str(raised.value).startswith("OSError: the pump is away")


def through_library(call, depth: int):
    """Return what calls something through so many functions of a library."""
    for _ in range(depth):
        names = {"call": call}
        exec(compile("def through(): call()", f"{VENV}/lib.py", "exec"), names)
        call = names["through"]
    return call


@given(st.integers(0, 5), st.integers(0, 5))
def test_it_is_the_innermost_own_line_whatever_lies_around(inside, outside):
    def fail():
        through_library([].pop, inside)()

    with pytest.raises(IndexError) as raised:
        through_library(fail, outside)()
    line = fail.__code__.co_firstlineno + 1
    assert place_of_error(raised.value).endswith(f"test_own_code.py:{line}")


def test_an_error_that_passed_no_own_line_has_no_place():
    assert place_of_error(ValueError("never raised")) == ""
    assert reason_of(ValueError("never raised")) == "ValueError: never raised"
    assert place_of_error(asyncio.CancelledError()) == ""


def kept(lines):
    result: list[int] = []
    for line in lines:
        if line not in result:
            result.append(line)
    return result


def test_each_instruction_belongs_to_a_line():
    seen = []

    def watch(frame, event, _):
        if frame.f_code is not kept.__code__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            seen.append((frame.f_lineno, line_of(frame)))
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        kept([1, 1, 2, 2])
    finally:
        sys.settrace(before)
    first = kept.__code__.co_firstlineno
    assert {line for _, line in seen} == {*range(first + 1, first + 6)}
    assert all(told in (line, None) for told, line in seen)
