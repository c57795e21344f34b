"""The line that profiles blame: the innermost own one that runs, else the function's `def`."""

import asyncio
import json
import threading
import time
from pathlib import Path

import pytest

from servekit.monitors.names import place_of_code
from servekit.monitors.stack_sampler import StackSampler, name
from servekit.own_code import begins_at


def decorated(*_whatever):
    return lambda function: function


# fmt: off
def plain():
    return None

@decorated("/",
           "def no")
@decorated()
def twice_decorated(seconds):
    ends = time.monotonic() + seconds
    json.dumps({})
    while not (json.dumps([1] * 50_000) and time.monotonic() > ends): pass  # noqa: E701 - one line to sample

@decorated()
async def coroutine():
    await asyncio.sleep(0)
# fmt: on


def line_of(text: str) -> int:
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.startswith(text))


@pytest.mark.parametrize(
    ("function", "begins"),
    [(plain, "def plain"), (twice_decorated, "def twice_"), (coroutine, "async def coroutine")],
)
def test_a_function_begins_at_its_def_whatever_stands_above_it(function, begins):
    code = function.__code__
    assert begins_at(code) == line_of(begins)
    assert name(code).endswith(f"test_blamed_lines.py:{line_of(begins)})")
    assert place_of_code(function).endswith(f":{line_of(begins)}")


def test_what_has_no_source_begins_where_its_code_says():
    names: dict[str, object] = {}
    exec(compile("\n\ndef f(): pass", "nowhere.py", "exec"), names)
    assert begins_at(names["f"].__code__) == 3  # type: ignore[attr-defined] # a function


def test_the_line_of_a_decorated_function_that_runs_is_sampled_and_no_other():
    thread = threading.Thread(target=twice_decorated, args=[0.5])
    thread.start()
    sampler = StackSampler(thread.ident or 0, hertz=200)
    sampler.start()
    thread.join()
    sampler.stop()

    running = line_of("    while not (json")
    frame = f"twice_decorated ({__file__}:{running})"
    seen = [line for line in sampler.collapsed().splitlines() if "twice_decorated" in line]
    assert any(frame in line for line in seen)
    assert not any(f"{__file__}:{line_of('@decorated')}" in line for line in seen)
