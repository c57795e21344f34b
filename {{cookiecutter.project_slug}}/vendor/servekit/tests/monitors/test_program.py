"""The lines that add to what a name holds are found in the program's own source."""

import importlib
import sys

import pytest

from servekit.monitors import program
from servekit.monitors.program import Program
from servekit.monitors.sources import Source, read

SHOP = """
import collections

SEEN, OTHER = {}, {}
BODIES = []
COUNTS = collections.Counter()
SEEN["at import"] = 1

class Poller:
    def __init__(self):
        self.samples = []

    def poll(self):
        self.samples.append(1)

def keep(number):
    SEEN[number] = number
    OTHER[number] = SEEN.get(number)
    COUNTS[number] += 1
    SEEN.setdefault(number, [])

def closing():
    kept = []
    async def call():
        nonlocal kept
        kept += [1]
    return call

def unlike():
    kept, SEEN, samples = [], {}, []
    kept.append(1)
    SEEN["x"] = 1
    samples.append(1)
    return lambda: kept

def remember():
    calls = []
    def call(number):
        calls.append(number)
    return call

call = remember()

class Registry:
    orders: object = None
    first = last = None

def swap(SEEN):
    global BODIES
    SEEN["argument"] = 1
    BODIES += [1]

def make():
    class Local:
        def grow(self):
            self.grown.append(1)

COUNTS = collections.Counter()
try:
    import orjson_of_old as json
except ImportError:
    if COUNTS:
        PARSED = {1: 1}
    else:
        PARSED = {}
"""
CART = """
from shop import BODIES, OTHER as SEEN

async def keep():
    BODIES.append(1)
    SEEN["x"] = 1

def set_up(app):
    app.other.poller = 0
    app.state.poller = 1
    app.state.poller.append(2)
"""
NAMES = {
    "shop.SEEN": ["shop.py SEEN[number] = number", "shop.py SEEN.setdefault(number, [])"],
    "shop.SEEN['x']": ["shop.py SEEN[number] = number", "shop.py SEEN.setdefault(number, [])"],
    "shop.COUNTS": ["shop.py COUNTS[number] += 1"],
    "shop.BODIES": ["shop.py BODIES += [1]", "cart.py BODIES.append(1)"],
    "app.state.poller": ["cart.py app.state.poller.append(2)"],
    "shop.registry.grown": ["shop.py self.grown.append(1)"],
    "timer shop.Poller.poll.samples": ["shop.py self.samples.append(1)"],
    "shop.closing.<locals>.call closure kept": ["shop.py kept += [1]"],
    "shop.unlike.<locals>.<lambda> closure kept": ["shop.py kept.append(1)"],
    "shop.call closure calls": ["shop.py calls.append(number)"],
    "task shop.nothing": [],
    "(no name)": [],
}


@pytest.fixture
def added_at(tmp_path, monkeypatch):
    for name, source in (("shop", SHOP), ("cart", CART)):
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("shop", "cart"):
        monkeypatch.setitem(sys.modules, name, importlib.import_module(name))

    def added_at(name, program=None):
        found = []
        for place in (program or Program()).added_at(name, f"{tmp_path}/shop.py:3"):
            file, _, line = place.rpartition(":")
            text = (SHOP if file.endswith("shop.py") else CART).splitlines()[int(line) - 1]
            found.append(f"{file.rpartition('/')[2]} {text.strip()}")
        return found

    return added_at


@pytest.mark.parametrize("name", NAMES)
def test_lines_in_functions_that_add_to_what_a_name_holds(added_at, name):
    assert added_at(name) == NAMES[name]


def test_the_attribute_of_an_own_class_and_of_the_applications_state_is_found_where_it_is_bound(
    added_at, tmp_path
):
    asked, poller = Program(), sys.modules["shop"].Poller
    line = SHOP.splitlines().index("        self.samples = []") + 1
    assert (
        asked.attribute_of_class(poller, "app.state.poller.samples") == f"{tmp_path}/shop.py:{line}"
    )
    assert asked.attribute_of_class(poller, "app.state.poller.other") == ""
    line = SHOP.splitlines().index("    first = last = None") + 1
    assert asked.attribute_of_class(sys.modules["shop"].Registry, "x.last").endswith(f":{line}")
    assert asked.attribute_of_class(dict, "app.state.poller.samples") == ""
    line = CART.splitlines().index("    app.state.poller = 1") + 1
    assert asked.attribute_of_state("app.state.poller.samples") == f"{tmp_path}/cart.py:{line}"
    assert (
        asked.attribute_of_state("app.state.other") == asked.attribute_of_state("shop.SEEN") == ""
    )


def test_a_name_is_bound_by_the_first_statement_that_does_in_its_module_or_class(
    added_at, tmp_path
):
    lines = {
        "shop.OTHER['x'][...]": "SEEN, OTHER = {}, {}",
        "shop.COUNTS": "COUNTS = collections.Counter()",
        "shop.Registry.orders.following": "    orders: object = None",
        "shop.Poller.poll": "    def poll(self):",
        "shop.PARSED": "        PARSED = {1: 1}",
        "shop.closing.<locals>.call closure kept": "def closing():",
        "shop.Registry.none": "class Registry:",
    }
    asked = Program()
    for name, line in lines.items():
        assert asked.place_of(name) == f"{tmp_path}/shop.py:{SHOP.splitlines().index(line) + 1}"
    assert asked.place_of("shop.none") == asked.place_of("none.SEEN") == ""


def test_a_file_that_is_gone_or_no_python_has_no_lines(tmp_path):
    (tmp_path / "bad.py").write_text("def (")
    assert read(f"{tmp_path}/bad.py") == read(f"{tmp_path}/none.py") == Source()


def test_each_file_is_read_once_whatever_is_asked(added_at, monkeypatch):
    opened = []

    def counted(file):
        opened.append(file)
        return read(file)

    monkeypatch.setattr(program, "read", counted)
    asked = Program()
    for name in (*NAMES, *(f"app.state.attribute_{number}" for number in range(30))):
        added_at(name, asked)
        asked.place_of(name)
        asked.attribute_of_state(name)
        asked.attribute_of_class(sys.modules["shop"].Poller, name)
    assert len(opened) == len(set(opened)) > 2
