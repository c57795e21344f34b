import subprocess
import sys

from servekit.testing import patience


def run(program):
    path = f"import sys; sys.path[:] = {sys.path!r}\n"
    subprocess.run([sys.executable, "-c", path + program], check=True, timeout=patience(20))


def test_what_is_loaded_is_frozen_and_a_full_collection_is_short():
    run("""
import time, gc
from servekit.tuning import tune
held = [[number] for number in range(200_000)]
started = time.thread_time()
gc.collect()
untuned = time.thread_time() - started
tune()
started = time.thread_time()
gc.collect()
assert time.thread_time() - started < untuned / 5
assert gc.get_freeze_count() > 200_000
""")


def test_no_ordinary_collection_looks_at_more_than_thirty_thousand_objects():
    run("""
import gc
from servekit.tuning import tune
tune()
young, middle, old = gc.get_threshold()
assert young * (middle + 1) <= 30_000
assert young * middle * old >= 1_000_000
""")


def test_what_the_application_has_set_itself_stays():
    run("""
import gc, sys
from servekit.tuning import tune
gc.set_threshold(5_000, 3, 4)
sys.setswitchinterval(0.02)
tune()
assert gc.get_threshold() == (5_000, 3, 4)
assert sys.getswitchinterval() == 0.02
""")


def test_a_thread_that_computes_gives_the_interpreter_back_after_a_millisecond():
    run("""
import sys
from servekit.tuning import tune
tune()
assert sys.getswitchinterval() <= 0.001
""")
