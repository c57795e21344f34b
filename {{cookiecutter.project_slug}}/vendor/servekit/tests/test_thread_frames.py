"""Threads are looked at while they run, and while garbage is collected: the process survives it."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

import servekit
from servekit.testing import patience
from servekit.thread_frames import current_frames

SOURCE = Path(servekit.__file__).parent

LOOKED_AT = """
import gc, sys, threading, time
from servekit.monitors.other_threads import functions
from servekit.thread_frames import current_frames

sys.setswitchinterval(1e-5)
gc.set_threshold(5)
gc.callbacks.append(lambda phase, info: [None for _ in range(200)])
ended = threading.Event()

def look(thread):
    while not ended.is_set():
        with current_frames() as frames:
            functions(frames.get(thread))

def deep(depth):
    kept = [{}]
    return deep(depth - 1) if depth else kept

threading.Thread(target=look, args=[threading.get_ident()]).start()
until = time.monotonic() + 4
while time.monotonic() < until:
    for depth in (3, 300, 40, 900):
        deep(depth)
ended.set()
print("survived")
"""


def test_a_thread_that_is_looked_at_while_garbage_is_collected_does_not_crash():
    done = subprocess.run(
        [sys.executable, "-c", LOOKED_AT],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patience(40),
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "survived\n"), done.stderr


FORKED = """
import gc, os, signal, threading, time
from servekit.thread_frames import current_frames

looking = threading.Event()

def look():
    with current_frames():
        looking.set()
        time.sleep(0.2)

threading.Thread(target=look).start()
looking.wait()
child = os.fork()
if not child:
    signal.alarm(60)
    with current_frames():
        pass
    os._exit(0 if gc.isenabled() else 1)
print(os.waitpid(child, 0)[1])
"""


def test_a_process_that_is_forked_while_threads_are_looked_at_collects_garbage():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patience(90),
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_frames_of_other_threads_come_from_one_place():
    places = [file.name for file in SOURCE.rglob("*.py") if "_current_frames()" in file.read_text()]
    assert places == ["thread_frames.py"]


@pytest.mark.parametrize("collects", [True, False])
def test_the_collector_is_afterwards_as_it_was(collects):
    (gc.enable if collects else gc.disable)()
    try:
        with pytest.raises(KeyError), current_frames():
            raise KeyError
        assert gc.isenabled() is collects
    finally:
        gc.enable()
