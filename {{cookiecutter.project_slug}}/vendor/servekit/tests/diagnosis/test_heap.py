"""`heap` of the command line, on a running service that leaks in ten ways and caches in one."""

import json
import subprocess
import sys
import urllib.request

import pytest

from servekit.diagnosis.heap import difference, held
from servekit.testing import patience

APPLICATION = """
import asyncio
import functools
from collections import OrderedDict

from fastapi import FastAPI
from servekit import Service, Settings, main

class Studio:
    def __init__(self):
        self.drawn = []

    def draw(self):
        self.drawn.append(bytes(900))

SEEN = {}
BODIES = []
FULL = OrderedDict((number, b"%d" % number) for number in range(1000))

class Order:
    pass

class Registry:
    orders = None

class Poller:
    def __init__(self):
        self.samples = []

    def poll(self):
        self.samples.append(bytes(1000))
        asyncio.get_running_loop().call_later(0.01, self.poll)

@functools.lru_cache(maxsize=None)
def price(item):
    return [item]

def remember():
    calls = []
    def call(number):
        calls.append((number, str(number)))
    return call

call = remember()

def create_app(settings: Settings) -> FastAPI:
    service = Service(settings)
    app = FastAPI()
    service.install(app)

    @app.get("/timer")
    async def timer() -> None:
        Poller().poll()

    @app.get("/leak")
    async def leak(number: int) -> None:
        SEEN[f"client {number}"] = {"body": b"%d" % number}
        BODIES.append(bytes(500))
        price(number)
        call(number)
        asyncio.create_task(asyncio.sleep(3600))
        new, old = Order(), Registry.orders
        new.following = old
        if old:
            old.previous = new
        Registry.orders = new

    kept = []
    app.state.callbacks = []
    app.state.studio = Studio()

    @app.get("/closures")
    async def closures(number: int) -> None:
        kept.append([number])
        app.state.callbacks.append(lambda: number)
        app.state.studio.draw()

    @app.get("/twin")
    async def twin(number: int) -> None:
        FULL[1000 + number] = b"%d" % number
        FULL.popitem(last=False)

    return app

if __name__ == "__main__":
    raise SystemExit(main("leaky:create_app", settings="servekit:Settings"))
"""

HELD = {
    "leaky.SEEN": ("dict", "SEEN = {}"),
    "leaky.BODIES": ("bytes", "BODIES = []"),
    "timer leaky.Poller.poll.samples": ("bytes", "    def poll(self):"),
    "leaky.price": ("dict -> list", "def price(item):"),
    "leaky.call closure calls": ("tuple", "call = remember()"),
    "leaky.create_app.<locals>.closures closure kept": (
        "list",
        "    async def closures(number: int) -> None:",
    ),
    "app.state.callbacks": ("function", "    app.state.callbacks = []"),
    "app.state.studio.drawn": ("bytes", "    app.state.studio = Studio()"),
    "leaky.Registry.orders": ("leaky.Order", "    orders = None"),
    "task asyncio.tasks.sleep": ("_asyncio.Task", None),
}
"""Who holds what, and the line that says so."""
ADDS = {
    "leaky.SEEN": """        SEEN[f"client {number}"] = {"body": b"%d" % number}""",
    "leaky.BODIES": "        BODIES.append(bytes(500))",
    "timer leaky.Poller.poll.samples": "        self.samples.append(bytes(1000))",
    "leaky.call closure calls": "        calls.append((number, str(number)))",
    "leaky.create_app.<locals>.closures closure kept": "        kept.append([number])",
    "app.state.callbacks": "        app.state.callbacks.append(lambda: number)",
    "app.state.studio.drawn": "        self.drawn.append(bytes(900))",
}
"""The lines that add to those of which the source tells it."""


@pytest.fixture
def service(start_service, tmp_path):
    (tmp_path / "leaky.py").write_text(APPLICATION)
    return start_service("leaky", folder=tmp_path, WORKERS=1)


@pytest.fixture
def heap(service, tmp_path):
    def heap(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "leaky", "heap", *arguments],
            cwd=tmp_path,
            env={"ADMIN_PORT": service.admin_url.rpartition(":")[2]},
            capture_output=True,
            text=True,
            timeout=patience(60),
            check=False,
        )

    return heap


def ask(service, path, times):
    for number in range(times):
        urllib.request.urlopen(f"{service.url}{path}".format(number), timeout=patience(10)).close()


def test_ten_leaks_are_found_by_the_names_that_hold_them_and_a_full_cache_is_none(
    service, heap, tmp_path
):
    ask(service, "/timer", 1)
    for path in ("leak", "closures", "twin"):
        ask(service, f"/{path}?number={{}}", 50)
    heap("--out", "a")
    for path in ("leak", "closures", "twin"):
        ask(service, f"/{path}?number={{}}", 150)
    heap("--out", "b")

    def at(line):
        return f"{tmp_path / 'leaky.py'}:{APPLICATION.splitlines().index(line) + 1}"

    before, after = (json.loads((tmp_path / name).read_text()) for name in "ab")
    found = {one.name: one for one in held(after, before)}
    assert set(HELD) == set(found)
    assert after["requests"] - before["requests"] == 450
    told = heap("--diff", "a", "b").stdout
    for name, (path, line) in HELD.items():
        assert f"{name}[...] -> {path}" in told
        if line is not None:
            assert found[name].place == at(line)
    assert {one.name: one.added_at for one in found.values() if one.added_at} == {
        name: (at(line),) for name, line in ADDS.items()
    }
    [bodies] = [row for row in told.splitlines() if "leaky.BODIES" in row]
    assert bodies.split()[:4] == ["+150", "0.333", "a", "request"]


def test_what_is_held_now_and_what_grew_in_a_while_need_no_files(heap):
    now = heap("--top", "300")
    assert now.returncode == 0
    assert "  leaky.FULL[...] -> " in now.stdout
    grown = heap("--growth", "0.1")
    assert grown.returncode == 0
    assert "0 requests between the two" in grown.stdout
    assert "nobody holds 20 of a type more" in grown.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--worker", "7"], "no worker 7 is ready; ready are 0"),
        (["--diff", "none", "none"], "none cannot be read: No such file"),
        (["--diff", "leaky.py", "leaky.py"], "leaky.py is no snapshot of a heap"),
        (["--out", "no/such/folder/h"], "cannot be written: there is no folder"),
    ],
)
def test_what_cannot_be_done_is_one_line(heap, arguments, reason):
    done = heap(*arguments)
    assert done.returncode == 1
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1


def snapshot(pid, **rows):
    held_by = [
        {"held_by": name, "through": ["builtins.bytes"], "count": count, "bytes": 100 * count}
        | {"place": ""}
        for name, count in rows.items()
    ]
    return {"pid": pid, "worker": 0, "requests": 0, "at": 0, "types": [], "holders": held_by}


def test_what_was_too_few_to_be_listed_has_not_grown_by_all_that_there_is():
    assert held(snapshot(1, few=38), snapshot(1)) == []
    assert [one.count for one in held(snapshot(1, many=60), snapshot(1))] == [41]


def test_snapshots_of_two_processes_are_said_to_be_such():
    told = difference(snapshot(1), snapshot(2, grown=100), 15)
    assert "compared with another process" in told
    assert "grown[...] -> bytes" in told
